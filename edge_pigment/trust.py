"""How far a voxel's maps may be trusted: novelty and data share."""

import numpy as np

from edge_pigment.physics.backend import Array
from edge_pigment.physics.tensor import DIMENSION

NOVEL = 3.09
"""Novelty above which a voxel counts as new to the prior: one healthy voxel in a thousand, if the prior is right."""
_LEAST_SHARE = 1e-3
"""Coordinates determined by the data, below which there is nothing to test."""


def novelty(distance: Array, share: Array) -> Array:
    """How badly the surroundings predicted the voxel, as a standard normal score.

    If they predict it, δ² is distributed as Σ aᵢ χ²₁; a scaled χ² with the same mean Σa and variance 2Σa²
    (Satterthwaite 1946, Biometrics 2:110) is turned normal by its cube root (Wilson & Hilferty 1931, PNAS 17:684).

    Args:
        distance: (V,) δ², the posterior mode's squared Mahalanobis distance from the prior mean.
        share: (2, V) Σa and Σa².

    Returns:
        (V,), about N(0, 1) in tissue that the prior knows, large where it does not.
    """
    total = np.maximum(share[0], _LEAST_SHARE)
    square = np.maximum(share[1], _LEAST_SHARE**2)
    degrees = total**2 / square
    spread = 2 / (9 * degrees)
    score = (np.cbrt(distance / total) - (1 - spread)) / np.sqrt(spread)
    return np.asarray(np.where(share[0] > _LEAST_SHARE, score, 0), np.float32)


def data_share(share: Array) -> Array:
    """The part of the latent's coordinates that the voxel's own measurements determine: (V,), 0 to 1."""
    return np.asarray(np.clip(share[0] / DIMENSION, 0, 1), np.float32)
