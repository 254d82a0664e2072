"""A reference scanned again, plainly: any table, Rician noise of one σ, no faults (`patches.simulate` has those)."""

import numpy as np

from edge_pigment.physics.backend import Array
from edge_pigment.physics.tensor import quadratic_form
from edge_pigment_prior.schemes import Float, random_rotation, repel

LOG_S0 = 4.0
"""Either way: beyond, log S0 of a reference is noise, and its exponential overflows."""


def spread_directions(n: int, rng: np.random.Generator) -> Float:
    """n directions spread by electrostatic repulsion, turned at random: (n, 3)."""
    return repel(rng.normal(size=(n, 3)), 200) @ random_rotation(rng).T


def rician(theta: Array, b: Float, bvecs: Float, sigma: float, rng: np.random.Generator) -> Float:
    """Magnitudes of voxels.

    Args:
        theta: (7, V) log S0 and D in µm²/ms.
        b: (N,) ms/µm².
        bvecs: (N, 3).
        sigma: of the noise in either channel; the signal is in units of the median b=0.
        rng: source of chance.

    Returns:
        (N, V).
    """
    S = np.exp(np.clip(theta[0], -LOG_S0, LOG_S0) - b[:, None] * (quadratic_form(bvecs) @ theta[1:]))
    return np.hypot(S + sigma * rng.standard_normal(S.shape), sigma * rng.standard_normal(S.shape))
