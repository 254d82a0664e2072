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
COILS = (2, 17)
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


def faulty(scheme: Scheme, rng: np.random.Generator) -> Scheme:
    """The protocol as the gradients play it, or unchanged."""
    if rng.random() >= SCALED:
        return scheme
    gradient = scheme.bvecs * np.exp(0.5 * SCALE_SD * rng.standard_normal(3))
    length = np.linalg.norm(gradient, axis=1)
    unit = gradient / np.maximum(length, 1e-9)[:, None]
    return replace(scheme, b=scheme.b * length**2, bvecs=unit)


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
    coils = int(rng.integers(*COILS)) if rng.random() < MANY_COILS else 1
    real = S + sigma * rng.standard_normal(S.shape, np.float32)
    if coils == 1:
        return np.hypot(real, sigma * rng.standard_normal(S.shape, np.float32))
    others = 2 * rng.standard_gamma(coils - 0.5, S.shape, np.float32)  # χ² of 2L - 1 degrees of freedom
    return np.sqrt(real**2 + sigma**2 * others)
