"""How far a voxel's maps may be trusted: novelty and data share. (`alteration` has novelty's other half.)"""

import numpy as np

from edge_pigment.physics.backend import Array
from edge_pigment.physics.tensor import DIMENSION

NOVEL = 3.09
"""Novelty above which a voxel counts as new to the prior: one healthy voxel in a thousand, if the prior is right."""
_LEAST_SHARE = 1e-3
"""Coordinates determined by the data, below which there is nothing to test."""


def novelty(distance: Array, share: Array, nu: float) -> Array:
    """How badly the surroundings predicted the voxel, as a standard normal score.

    If they predict it, δ² is a sum of a χ²₁ weighted by the eigenvalues a, about Σa times a χ²_n/n with
    n = (Σa)²/Σa² (Satterthwaite 1946, Biometrics 2:110); under the heavy-tailed prior, with ν degrees of freedom, Σa
    times an F of n and ν. Paulson (1942, Ann. Math. Stat. 13:233) turns an F normal by its cube root.

    Args:
        distance: (V,) δ², the posterior mode's squared Mahalanobis distance from the prior mean.
        share: (2, V) Σa and Σa².
        nu: Student-t degrees of freedom of the prior.

    Returns:
        (V,), about N(0, 1) in tissue that the prior knows, large where it does not.
    """
    total = np.maximum(share[0], _LEAST_SHARE)
    square = np.maximum(share[1], _LEAST_SHARE**2)
    of_chi2, of_scale = 2 / (9 * total**2 / square), 2 / (9 * nu)
    root = np.cbrt(distance / total)
    score = ((1 - of_scale) * root - (1 - of_chi2)) / np.sqrt(of_scale * root**2 + of_chi2)
    return np.asarray(np.where(share[0] > _LEAST_SHARE, score, 0), np.float32)


def data_share(share: Array) -> Array:
    """The part of the latent's coordinates that the voxel's own measurements determine: (V,), 0 to 1."""
    return np.asarray(np.clip(share[0] / DIMENSION, 0, 1), np.float32)
