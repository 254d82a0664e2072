"""From a fine grid to a scanner's voxels: averaging, rigid motion, blur by decay, zero filling."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment.simulate.protocol import Readout

Float = NDArray[np.float64]
Image = NDArray[np.float32]


def averaging(n_in: int, size_in: float, start: float, width: float, pitch: float, n_out: int) -> Image:
    """Matrix (n_out, n_in) that averages fine samples over boxes; what lies outside the fine grid is air (0).

    Args:
        n_in: fine samples, the first centred at 0.
        size_in: their spacing.
        start: centre of the first box.
        width: of a box, e.g. the slice thickness; all lengths in one unit.
        pitch: from box to box.
        n_out: number of boxes.
    """
    left = (np.arange(n_in) - 0.5) * size_in
    low = start + np.arange(n_out)[:, None] * pitch - width / 2
    overlap = np.minimum(low + width, left + size_in) - np.maximum(low, left)
    share: Image = (np.clip(overlap, 0, None) / width).astype(np.float32)
    return share


def apply(matrices: tuple[Image, Image, Image], image: Image) -> Image:
    """Average an image (X, Y, Z) along each axis by its matrix."""
    x, y, z = matrices
    slices = np.tensordot(image, z, (2, 1))  # the axis that shrinks most first
    rows = np.tensordot(y, slices, (1, 1))
    averaged: Image = np.tensordot(x, rows, (1, 1))
    return averaged


def rotation(degrees: ArrayLike) -> Float:
    """Rotation matrix (3, 3), active, from angles about x, y and z, applied in this order."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    turn: Float = about_z @ about_y @ about_x
    return turn


def move(image: Image, voxel: ArrayLike, turn: Float, shift: ArrayLike) -> Image:
    """The image (X, Y, Z) after a rigid motion about the grid's centre, by trilinear interpolation.

    Args:
        image: what lies still.
        voxel: (3,) mm.
        turn: (3, 3) active rotation.
        shift: (3,) mm, after the rotation.
    """
    shape, size = np.array(image.shape), np.asarray(voxel, float)
    back = np.diag(1 / size) @ turn.T @ np.diag(size)
    centre = (shape - 1) / 2
    offset = centre - back @ (centre + np.asarray(shift, float) / size)
    x, y, z = (np.arange(n, dtype=np.float32) for n in image.shape)
    padded = np.pad(image, 1)
    corner: list[NDArray[np.int32]] = []
    fraction: list[Image] = []
    for row, start in zip(back.astype(np.float32), offset.astype(np.float32), strict=True):
        index = row[0] * x[:, None, None] + row[1] * y[:, None] + row[2] * z + start + 1
        index = np.clip(index, 0, padded.shape[len(corner)] - 1.001)
        corner.append(index.astype(np.int32))
        fraction.append(index - corner[-1])
    moved = np.zeros_like(image)
    for i in (0, 1):
        for j in (0, 1):
            for k in (0, 1):
                weight = np.ones_like(image)
                for up, f in zip((i, j, k), fraction, strict=True):
                    weight *= f if up else 1 - f
                moved += weight * padded[corner[0] + i, corner[1] + j, corner[2] + k]
    return moved


def decay_weights(n: int, readout: Readout) -> Float:
    """Weights (n,) of the k-space lines, in FFT order, 1 at the centre.

    EPI reads line after line, so that one side of k-space is brighter: exp(-k/n · duration/T2*) (Farzaneh
    et al. 1990, MRM 14:123). FSE reads centre out, a low-pass: exp(-2|k|/n · duration/T2) (Constable & Gore
    1992, MRM 28:9).
    """
    k = np.fft.fftfreq(n)  # -0.5 to 0.5
    weights: Float = np.ones(n)
    if readout.kind == "epi":
        weights = np.exp(-k * readout.duration / readout.decay)
    if readout.kind == "fse":
        weights = np.exp(-2 * np.abs(k) * readout.duration / readout.decay)
    return weights


def blur(image: Image, readout: Readout) -> Image:
    """Magnitude of the image (X, Y, Z) as the readout's decay of k-space leaves it."""
    if readout.kind == "none":
        return image
    axis = readout.axis
    weights = decay_weights(image.shape[axis], readout)
    k_space = np.fft.fft(image, axis=axis) * np.expand_dims(weights, [i for i in range(3) if i != axis])
    return np.abs(np.fft.ifft(k_space, axis=axis)).astype(np.float32)


def zero_fill(image: Image, factor: int) -> Image:
    """Interpolate in plane by zero filling k-space: (X, Y, Z) -> (fX, fY, Z).

    Sample 0 stays where it was, intensities and the noise's variance are kept, neighbours become correlated
    (Bernstein, Fain & Riederer 2001, JMRI 14:270).
    """
    for axis in (0, 1):
        n = image.shape[axis]
        if factor == 1 or n == 1:
            continue
        half = np.fft.rfft(image, axis=axis)
        if n % 2 == 0:  # the Nyquist line is shared between +n/2 and -n/2
            nyquist = [slice(None)] * 3
            nyquist[axis] = slice(n // 2, None)
            half[tuple(nyquist)] *= 0.5
        image = (np.fft.irfft(half, n * factor, axis=axis) * factor).astype(np.float32)
    return image
