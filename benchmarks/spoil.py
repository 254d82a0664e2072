"""Scans as users have them: a known head, scanned and then treated as consoles and pipelines treat scans.

A `Head` is the noise-free signal of tensors fitted to a real scan (scalp and eyes included), so that any treatment can
be given to the noisy scan and to the noise-free one alike, and the truth on the treated grid is the noise-free scan's.
Everything here is simulated but for the heads.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from edge_pigment.acquisition import Acquisition
from edge_pigment.brainmask import brain_mask, otsu
from edge_pigment.gradients import GradientTable
from edge_pigment.physics.tensor import quadratic_form
from edge_pigment.simulate.directions import electrostatic
from edge_pigment_prior.references import fit_reference

Array = np.ndarray[Any, Any]
TISSUE = 0.5
"""Of Otsu's threshold on the b=0 image: scalp, eyes and brain are above, air is not."""
SLICES = 16
"""In the middle of the brain: enough for the prior, and quick."""
LEVEL = 1000.0
"""The b=0 signal's median in the brain, as scanners write it."""


@dataclass(frozen=True, eq=False)
class Head:
    """theta (X, Y, Z, 7): log S0 (0 is the brain's median) and D in µm²/ms; inside and brain (X, Y, Z); affine."""

    name: str
    theta: Array
    inside: Array
    brain: Array
    affine: Array

    @classmethod
    def of(cls, acquisition: Acquisition, name: str) -> "Head":
        """The head of a real scan."""
        b0 = acquisition.mean_b0
        reference = fit_reference(acquisition, name, mask=b0 > TISSUE * otsu(b0))
        brain, _ = brain_mask(b0, acquisition.mean_dwi, acquisition.voxel_size)
        area = np.flatnonzero(brain.any(axis=(0, 1)))
        middle = max(int(np.median(area)) - SLICES // 2, 0)
        part = (slice(None), slice(None), slice(middle, middle + SLICES))
        theta = reference.theta.T[part].astype(np.float64)
        theta[..., 0] -= np.median(theta[..., 0][brain[part]])
        return cls(name, theta, reference.mask.T[part], brain[part], acquisition.affine)

    def signal(self, bvals: Array, bvecs: Array) -> Array:
        """Noise-free (X, Y, Z, N); b in s/mm²."""
        rows = bvals[:, None] / 1000 * quadratic_form(bvecs)
        S = LEVEL * np.exp(np.clip(self.theta[..., :1], -4, 2) - self.theta[..., 1:] @ rows.T)
        return np.where(self.inside[..., None], S, 0)


class Noisy(NamedTuple):
    """A scan (X, Y, Z, N), what it would be without noise, its table, and the voxels that are judged."""

    signal: Array
    clean: Array
    bvals: Array
    bvecs: Array
    judged: Array
    affine: Array

    @property
    def acquisition(self) -> Acquisition:
        """The scan."""
        return Acquisition(self.signal, GradientTable(self.bvals, self.bvecs), self.affine)


def scanned(
    head: Head,
    rng: np.random.Generator,
    directions: int = 6,
    b0: int = 1,
    b: float = 1000.0,
    snr: float = 20.0,
    coils: int = 1,
    gain: Array | float = 1.0,
    bvals: Array | None = None,
) -> Noisy:
    """A scan with Rician or non-central χ noise, whose σ is LEVEL / snr times `gain`."""
    bvecs = np.concatenate([np.zeros((b0, 3)), electrostatic(directions, rng)])
    bvals = np.r_[np.zeros(b0), np.full(directions, b)] if bvals is None else bvals
    clean = head.signal(bvals, bvecs)
    sigma = LEVEL / snr * np.broadcast_to(np.asarray(gain)[..., None] if np.ndim(gain) else gain, clean.shape)
    square = (clean + sigma * rng.standard_normal(clean.shape)) ** 2
    for _ in range(2 * coils - 1):
        square += (sigma * rng.standard_normal(clean.shape)) ** 2
    return Noisy(np.sqrt(square), clean, bvals, bvecs, head.brain, head.affine)


def complex_zero_filled(scan: Noisy, rng: np.random.Generator, factor: float, snr: float) -> Noisy:
    """The scan zero-filled in both axes of the slices before the magnitude is taken."""

    def fill(image: Array) -> Array:
        shape = image.shape[:2]
        n = [round(k * factor / 2) * 2 for k in shape]
        k = np.fft.fftshift(np.fft.fft2(image, axes=(0, 1)), axes=(0, 1))
        big = np.zeros((*n, *image.shape[2:]), complex)
        o = [n[a] // 2 - shape[a] // 2 for a in (0, 1)]
        big[o[0] : o[0] + shape[0], o[1] : o[1] + shape[1]] = k
        return np.fft.ifft2(np.fft.ifftshift(big, axes=(0, 1)), axes=(0, 1)) * (n[0] * n[1] / (shape[0] * shape[1]))

    noise = LEVEL / snr * (rng.standard_normal(scan.clean.shape) + 1j * rng.standard_normal(scan.clean.shape))
    noisy, clean = np.abs(fill(scan.clean + noise)), np.abs(fill(scan.clean))
    scale = np.array([noisy.shape[a] / scan.signal.shape[a] for a in range(2)] + [1.0])
    judged = np.abs(fill(scan.judged[..., None].astype(float)))[..., 0] > 0.9
    return replace_grid(scan, noisy, clean, judged, scale)


def resampled(scan: Noisy, factor: tuple[float, float, float], order: int) -> Noisy:
    """The magnitudes interpolated by splines of this order (1: linear), as registration pipelines do."""

    def zoom(image: Array) -> Array:
        return ndimage.zoom(image, factor, order=order, grid_mode=True, mode="nearest")

    signal, clean = (
        np.stack([zoom(image[..., n]) for n in range(image.shape[3])], -1) for image in (scan.signal, scan.clean)
    )
    judged = zoom(scan.judged.astype(float)) > 0.9
    return replace_grid(scan, signal, clean, judged, np.array(factor))


def moved(scan: Noisy, order: int, voxels: float = 0.5) -> Noisy:
    """Every volume but the first shifted by part of a voxel along each axis, as motion correction does."""

    def shift(image: Array) -> Array:
        parts = [image[..., 0]]
        for n in range(1, image.shape[3]):
            by = voxels * np.array([np.cos(2.4 * n), np.sin(2.4 * n), np.cos(1.1 * n)])
            parts.append(ndimage.shift(ndimage.shift(image[..., n], by, order=3), -by, order=order))
        return np.stack(parts, -1)

    return scan._replace(signal=shift(scan.signal), clean=shift(scan.clean))


def replace_grid(scan: Noisy, signal: Array, clean: Array, judged: Array, scale: Array) -> Noisy:
    """The scan on a grid that is finer by `scale` along each axis."""
    affine = scan.affine @ np.diag([*1 / scale, 1.0])
    return scan._replace(signal=signal, clean=clean, judged=judged, affine=affine)


def treated(scan: Noisy, treatment: Callable[[Array], Array]) -> Noisy:
    """The scan after some treatment of its noisy images; the truth stays."""
    return scan._replace(signal=treatment(scan.signal))


def denoised(scan: Noisy, method: str, sigma: float) -> Noisy:
    """By DIPY's MP-PCA or non-local means."""
    from dipy.denoise.localpca import mppca
    from dipy.denoise.nlmeans import nlmeans

    y = scan.signal
    if method == "MP-PCA":
        return scan._replace(signal=mppca(y, patch_radius=2))
    images = [nlmeans(y[..., n], sigma=sigma, patch_radius=1, block_radius=2, rician=True) for n in range(y.shape[3])]
    return scan._replace(signal=np.stack(images, -1))


def with_volumes(scan: Noisy, images: Array, bvals: Array, bvecs: Array) -> Noisy:
    """The scan with volumes appended that are no measurement of their own."""
    return scan._replace(
        signal=np.concatenate([scan.signal, images], -1),
        bvals=np.append(scan.bvals, bvals),
        bvecs=np.concatenate([scan.bvecs, bvecs]),
    )


def only_slices(head: Head, count: int) -> Head:
    """The head's middle slices."""
    first = max((head.theta.shape[2] - count) // 2, 0)
    part = (slice(None), slice(None), slice(first, first + count))
    return replace(head, theta=head.theta[part], inside=head.inside[part], brain=head.brain[part])
