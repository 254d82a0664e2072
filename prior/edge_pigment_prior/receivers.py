"""What scanners do to a training patch's signal: noise of one or many coils, uneven noise, and faults.

Faults are not told to the summary, since a run is not told either: the prior learns not to trust its surroundings to
the last digit.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_pigment.physics.backend import Array
from edge_pigment_prior.changes import smooth_field
from edge_pigment_prior.schemes import Scheme

MANY_COILS = 0.1
COILS = (2, 33)
"""Combined by the root of the sum of squares: non-central χ."""
UNEVEN = 0.3
UNEVEN_SD = 0.25
"""Of log σ over a patch: parallel imaging, or an intensity correction that scales the noise with the signal."""
GAINS, GAIN_SD = 0.2, 0.02
"""Receiver gain that drifts between volumes."""
SCALED, SCALE_SD = 0.2, 0.02
"""Error of the gradients' strength, so of b: each axis of its own, about 2 % on clinical scanners."""
BLANKED = 0.1
BLANK = (0.3, 0.9)
"""A slice of one volume that lost signal to motion while it was measured."""
MOVED, MOST_MOVED = 0.15, 0.4
"""Small motion between volumes, voxels: each volume's own, in plane."""
SHADED, SHADE_SD = 0.15, 0.03
"""A smooth gain of each volume: eddy currents, the coupling of a coil to a head that moved."""
SMOOTHED = (1.05, 1.5)
SMOOTHED_PART = 0.15
"""Zero filling of the slices before the magnitude is taken, which makes neighbours' noise alike. By 2 and more, a run
finds it and takes the grids apart; less stays, and the prior has to live with it."""


def faulty(scheme: Scheme, rng: np.random.Generator) -> Scheme:
    """The protocol as the gradients play it, or unchanged."""
    if rng.random() >= SCALED:
        return scheme
    factors = np.exp(0.5 * SCALE_SD * rng.standard_normal(3))
    gradient = scheme.bvecs * factors
    length = np.linalg.norm(gradient, axis=1)
    unit = gradient / np.maximum(length, 1e-9)[:, None]
    # a trace image has no direction, but a third of it from each axis
    scaled = np.where(length > 0, length**2, np.mean(factors**2))
    return replace(scheme, b=scheme.b * scaled, bvecs=unit)


def sigma_field(mask: NDArray[np.bool_], sigma: float, rng: np.random.Generator) -> Array:
    """σ of the mask's voxels, (V,); even or not."""
    out = np.full(int(mask.sum()), sigma, np.float32)
    if rng.random() < UNEVEN:
        grid = (mask.shape[0], mask.shape[1], mask.shape[2])
        out *= np.exp(np.float32(UNEVEN_SD) * smooth_field(grid, rng)[mask])
    return out


def magnitudes(S: Array, sigma: Array, mask: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """Noisy magnitudes, Rician or non-central χ (Constantinides, Atalar & McVeigh 1997, MRM 38:852), with faults.

    Args:
        S: (N, V) noise-free signal of the mask's voxels, changed in place.
        sigma: (V,).
        mask: (Z, Y, X).
        rng: source of chance.
    """
    if rng.random() < GAINS:
        S *= np.exp(np.float32(GAIN_SD) * rng.standard_normal((len(S), 1), np.float32))
    if rng.random() < BLANKED:
        piece = np.nonzero(mask)[0] == rng.integers(len(mask))
        S[rng.integers(len(S)), piece] *= np.float32(rng.uniform(*BLANK))
    if rng.random() < SHADED:
        for image in S:
            image *= np.exp(np.float32(SHADE_SD) * smooth_field(mask.shape, rng)[mask])
    if rng.random() < MOVED:
        _move(S, mask, rng)
    smoothed = rng.uniform(*SMOOTHED) if rng.random() < SMOOTHED_PART else 1.0
    coils = int(rng.integers(*COILS)) if rng.random() < MANY_COILS else 1
    real = S + sigma * _noise(S.shape, mask, smoothed, rng)
    if coils == 1:
        return np.hypot(real, sigma * _noise(S.shape, mask, smoothed, rng))
    others = 2 * rng.standard_gamma(coils - 0.5, S.shape, np.float32)  # χ² of 2L - 1 degrees of freedom
    return np.sqrt(real**2 + sigma**2 * others)


def _noise(shape: tuple[int, ...], mask: NDArray[np.bool_], filled: float, rng: np.random.Generator) -> Array:
    """(N, V) of unit variance, white or of slices zero-filled by a factor."""
    if filled == 1:
        return rng.standard_normal(shape, np.float32)
    full = np.fft.rfft2(rng.standard_normal((shape[0], *mask.shape), np.float32))
    y, x = np.fft.fftfreq(mask.shape[1]), np.fft.rfftfreq(mask.shape[2])
    measured = (np.abs(y)[:, None] < 0.5 / filled) & (x < 0.5 / filled)
    noise = np.fft.irfft2(full * measured, mask.shape[1:])
    return (noise / noise.std())[:, mask].astype(np.float32)


def _move(S: Array, mask: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Shift each volume by less than a voxel in plane, in place; voxels beside the mask's edge stay."""
    both = [mask & np.roll(mask, 1, axis) for axis in (1, 2)]
    image = np.zeros(mask.shape, np.float32)
    for volume in S:
        for axis, inner in zip((1, 2), both, strict=True):
            image[mask] = volume
            part = np.float32(rng.uniform(0, MOST_MOVED))
            image[inner] += part * (np.roll(image, 1, axis) - image)[inner]
            volume[:] = image[mask]
