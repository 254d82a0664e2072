"""Step 1, the summary of a voxel's own measurements: the reference in float64 NumPy.

Two weighted least-squares steps of the log signal with a weak, rotation-invariant Gaussian prior (Salvador et al.
2005, Hum. Brain Mapp. 24:144, doi:10.1002/hbm.20076, for the weights; Gudbjartsson & Patz 1995, MRM 34:910, for
the floor). The prior keeps the sum defined for any protocol: what was not measured comes out with a large sd.

The floor: a magnitude of true signal S has about the mean m = √(S² + σ²), so the target is log √(y² - σ²), whose
variance is, to first order, (mσ/S²)².
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from edge_pigment.physics.tensor import MAX_LOG_S0, MAX_SIGNAL, Float, quadratic_form

PRIOR_MEAN = np.array([0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
"""θ of nothing known: S0 = 1 (the signal's scale), free isotropic diffusion of 1 µm²/ms."""
PRIOR_SD_LOG_S0 = 1.0
"""CSF's S0 is about twice the median, air's next to nothing: a factor e either way is weak."""
PRIOR_SD_D = 1.0
"""µm²/ms, per unit of Frobenius norm (so off-diagonal elements have 1/√2): as wide as the span of brain tissue."""
PRIOR_PRECISION = np.array([1 / PRIOR_SD_LOG_S0**2] + [1 / PRIOR_SD_D**2] * 3 + [2 / PRIOR_SD_D**2] * 3)
"""Diagonal; equal for every rotation of the axes."""
FLOOR = 0.5
"""In σ: corrected magnitudes below are raised to it, so that the logarithm of noise stays finite."""


class Summary(NamedTuple):
    """What a voxel's own measurements say: θ = (log S0, D in µm²/ms) and its posterior sd."""

    theta: Float
    sd: Float


def summarise(y: ArrayLike, b: ArrayLike, bvecs: ArrayLike, sigma: ArrayLike) -> Summary:
    """Summarise each voxel's measurements.

    Args:
        y: (V, N) magnitudes, b=0 in the brain about 1; what is not finite or beyond MAX_SIGNAL has no weight.
        b: (N,) ms/µm².
        bvecs: (N, 3) unit directions.
        sigma: (V,) noise sd > 0, unit of y.

    Returns:
        theta (V, 7) and sd (V, 7).
    """
    y = np.asarray(y, float)
    X = np.concatenate([np.ones((len(np.asarray(b)), 1)), -np.asarray(b)[:, None] * quadratic_form(bvecs)], 1)
    s = np.asarray(sigma, float)[:, None]
    known = np.abs(y) <= MAX_SIGNAL  # False for NaN
    corrected = np.sqrt(np.maximum(np.where(known, y, 0) ** 2 - s**2, (FLOOR * s) ** 2))
    target = np.log(corrected)
    S = corrected
    for _ in range(2):
        weight = known * S**4 / ((S**2 + s**2) * s**2)
        H = np.einsum("vn,ni,nj->vij", weight, X, X) + np.diag(PRIOR_PRECISION)
        rhs = np.einsum("vn,ni,vn->vi", weight, X, target) + PRIOR_PRECISION * PRIOR_MEAN
        theta = np.linalg.solve(H, rhs[..., None])[..., 0]
        S = np.exp(np.clip(theta @ X.T, -MAX_LOG_S0, MAX_LOG_S0))
    return Summary(theta, np.sqrt(np.diagonal(np.linalg.inv(H), axis1=-2, axis2=-1)))
