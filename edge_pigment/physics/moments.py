"""Posterior expectation and sd of the tensor's scalar maps: the reference in float64 NumPy.

FA, AD and RD are not linear in the latent, so their value at the mode is biased. The Gaussian posterior of the six
elements of Q is integrated by the third-degree spherical-radial cubature (Arasaratnam & Haykin 2009, IEEE Trans.
Autom. Control 54:1254, eq. 31, doi:10.1109/TAC.2009.2019800): twelve points, mode ± √6 times the columns of a
square root of the covariance. It is exact for D = Q². S0 is log-normal. V1 is the principal eigenvector of the mean
dyadic tensor, and its angular sd the root mean square angle of the points' axes to it (Basser & Pajevic 2000,
Magn. Reson. Med. 44:41).
"""

import numpy as np
from numpy.typing import ArrayLike

from edge_pigment.physics.adaptation import unpack
from edge_pigment.physics.tensor import DIMENSION, MAX_LOG_S0, Float, diffusivity, to_matrix

COLUMNS = (
    "FA", "MD", "AD", "RD", "S0",
    "FA_sd", "MD_sd", "AD_sd", "RD_sd", "S0_sd",
    "Dxx", "Dyy", "Dzz", "Dxy", "Dxz", "Dyz",
    "V1x", "V1y", "V1z", "V1_sd",
)  # fmt: skip
"""Columns of `moments`. Diffusivities in µm²/ms, S0 in units of the scaled signal, V1_sd in degrees."""


def fractional_anisotropy(eigenvalues: ArrayLike) -> Float:
    """FA of (..., 3) eigenvalues (Basser & Pierpaoli 1996, J. Magn. Reson. B 111:209, eq. 18); 0 where all are 0."""
    e = np.asarray(eigenvalues, float)
    spread = np.sum((e - e.mean(-1, keepdims=True)) ** 2, axis=-1)
    return np.sqrt(1.5 * spread / np.maximum(np.sum(e**2, axis=-1), 1e-12))


def sigma_points(mode: ArrayLike, factor: ArrayLike) -> Float:
    """The cubature's points of the marginal posterior of Q.

    log S0 comes first in the latent, so the lower right block of the Cholesky factor is that of Q's marginal
    precision (a Schur complement).

    Args:
        mode: (V, 7).
        factor: (V, 28) packed lower Cholesky factor of the posterior precision.

    Returns:
        (V, 12, 7); log S0 is left at the mode.
    """
    n = DIMENSION - 1
    root = np.linalg.inv(unpack(factor)[:, 1:, 1:])  # rows are the columns of L⁻ᵀ
    offsets = np.zeros((len(root), 2 * n, DIMENSION))
    offsets[:, :n, 1:] = np.sqrt(n) * root
    offsets[:, n:, 1:] = -np.sqrt(n) * root
    return np.asarray(mode, float)[:, None] + offsets


def moments(mode: ArrayLike, factor: ArrayLike) -> Float:
    """Expectations and deviations, (V, 20), in the order of `COLUMNS`.

    Args:
        mode: (V, 7) posterior mode.
        factor: (V, 28) packed lower Cholesky factor of the posterior precision.
    """
    mode = np.asarray(mode, float)
    D = diffusivity(sigma_points(mode, factor))
    values, vectors = np.linalg.eigh(to_matrix(D))
    scalars = np.stack(
        [fractional_anisotropy(values), values.mean(-1), values[..., 2], values[..., :2].mean(-1)], axis=-1
    )
    sd_log_s0 = np.linalg.norm(np.linalg.inv(unpack(factor))[:, :, 0], axis=-1)
    log_s0 = np.clip(mode[:, 0] + 0.5 * sd_log_s0**2, -MAX_LOG_S0, MAX_LOG_S0)
    S0 = np.exp(log_s0)
    S0_sd = S0 * np.sqrt(np.expm1(np.minimum(sd_log_s0**2, MAX_LOG_S0)))
    dyadic = np.einsum("vpi,vpj->vij", vectors[..., 2], vectors[..., 2]) / vectors.shape[1]
    spread, axes = np.linalg.eigh(dyadic)
    V1 = axes[..., 2]
    angle = np.degrees(np.arcsin(np.sqrt(np.clip(1 - spread[..., 2], 0, 1))))
    return np.concatenate(
        [
            scalars.mean(1), S0[:, None], scalars.std(1), S0_sd[:, None],
            D.mean(1), V1, angle[:, None],
        ],
        axis=-1,
    )  # fmt: skip
