"""Posterior expectation and sd of the tensor's scalar maps: the reference in float64 NumPy.

FA, AD and RD are not linear in the latent, so their value at the mode is biased. The posterior of the six elements of
Q is integrated by a cubature of thirteen points: the mode, and mode ± r times the columns of a square root of the
covariance (the symmetric rule of Julier & Uhlmann 2004, Proc. IEEE 92:401, sec. IV, with centre weight w0).

The posterior is taken as Student's t, as the prior is, not as its Gaussian approximation: between ν = 5 degrees of
freedom, where the prior speaks alone, and ν + d = 12, where the scale has been learned from the voxel. For six
dimensions and m degrees of freedom, E r² = 6 m/(m-2) and E r⁴ = 48 m²/((m-2)(m-4)), which the rule meets with
r² = E r⁴/E r² and 1 - w0 = (E r²)²/E r⁴. With m = 8: r = 4, w0 = ½. (A rule with all points at one radius, as the
third-degree cubature of Arasaratnam & Haykin 2009 has, takes the sd of FA for half of what it is, because FA is
nearly constant on a sphere.)

A tensor of next to nothing, as a signal that does not fall makes it, has no shape: below SHAPELESS its FA goes to zero
with it. Where the first two eigenvalues meet, no axis is first: below AXIAL the dyadic tensor of a point goes to the
isotropic one. Otherwise FA and V1 would be those of rounding.

S0 is log-normal. V1 is the principal eigenvector of the mean dyadic tensor, and its angular sd the root mean square
angle of the points' axes to it (Basser & Pajevic 2000, Magn. Reson. Med. 44:41).
"""

import numpy as np
from numpy.typing import ArrayLike

from edge_pigment.physics.adaptation import unpack
from edge_pigment.physics.tensor import BOUND, DIMENSION, MAX_LOG_S0, Float, diffusivity, to_matrix

COLUMNS = (
    "FA", "MD", "AD", "RD", "S0",
    "FA_sd", "MD_sd", "AD_sd", "RD_sd", "S0_sd",
    "Dxx", "Dyy", "Dzz", "Dxy", "Dxz", "Dyz",
    "V1x", "V1y", "V1z", "V1_sd",
)  # fmt: skip
"""Columns of `moments`. Diffusivities in µm²/ms, S0 in units of the scaled signal, V1_sd in degrees."""


DEGREES_OF_FREEDOM = 8.0
RADIUS = 4.0
CENTRE_WEIGHT = 0.5
POINT_WEIGHT = (1 - CENTRE_WEIGHT) / 12
VARIANCE_FACTOR = DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2)
"""Variance of a Student's t over that of the Gaussian of the same scale."""
SHAPELESS = 0.01
"""µm²/ms: the Frobenius norm of a tensor that has a shape. Water in tissue, even fixed and cold, is ten times as mobile
at least."""
AXIAL = 0.003
"""µm²/ms: the difference of the first two eigenvalues of a tensor that has an axis. No scan resolves a smaller one."""


def fractional_anisotropy(eigenvalues: ArrayLike, least: float = 1e-6) -> Float:
    """FA of (..., 3) eigenvalues (Basser & Pierpaoli 1996, J. Magn. Reson. B 111:209, eq. 18).

    Where their norm is less than `least`, the spread is divided by that instead: FA goes to 0 with the tensor.
    """
    e = np.asarray(eigenvalues, float)
    spread = np.sum((e - e.mean(-1, keepdims=True)) ** 2, axis=-1)
    return np.sqrt(1.5 * spread / np.maximum(np.sum(e**2, axis=-1), least**2))


def sigma_points(mode: ArrayLike, factor: ArrayLike) -> Float:
    """The cubature's points of the marginal posterior of Q.

    log S0 comes first in the latent, so the lower right block of the Cholesky factor is that of Q's marginal
    precision (a Schur complement).

    Args:
        mode: (V, 7).
        factor: (V, 28) packed lower Cholesky factor of the posterior precision.

    Returns:
        (V, 13, 7), the mode first; log S0 is left at the mode, and Q does not go beyond BOUND.
    """
    n = DIMENSION - 1
    root = np.linalg.inv(unpack(factor)[:, 1:, 1:])  # rows are the columns of L⁻ᵀ
    offsets = np.zeros((len(root), 1 + 2 * n, DIMENSION))
    offsets[:, 1 : 1 + n, 1:] = RADIUS * root
    offsets[:, 1 + n :, 1:] = -RADIUS * root
    points = np.asarray(mode, float)[:, None] + offsets
    points[..., 1:] = np.clip(points[..., 1:], -BOUND, BOUND)
    return points


def moments(mode: ArrayLike, factor: ArrayLike) -> Float:
    """Expectations and deviations, (V, 20), in the order of `COLUMNS`.

    Args:
        mode: (V, 7) posterior mode.
        factor: (V, 28) packed lower Cholesky factor of the posterior precision.
    """
    mode = np.asarray(mode, float)
    D = diffusivity(sigma_points(mode, factor))
    weight = np.array([CENTRE_WEIGHT] + [POINT_WEIGHT] * (D.shape[1] - 1))
    values, vectors = np.linalg.eigh(to_matrix(D))
    scalars = np.stack(
        [fractional_anisotropy(values, SHAPELESS), values.mean(-1), values[..., 2], values[..., :2].mean(-1)], axis=-1
    )
    mean = np.einsum("p,vpk->vk", weight, scalars)
    sd = np.sqrt(np.einsum("p,vpk->vk", weight, (scalars - mean[:, None]) ** 2))
    sd_log_s0 = np.sqrt(VARIANCE_FACTOR) * np.linalg.norm(np.linalg.inv(unpack(factor))[:, :, 0], axis=-1)
    log_s0 = np.clip(mode[:, 0] + 0.5 * sd_log_s0**2, -MAX_LOG_S0, MAX_LOG_S0)
    S0 = np.exp(log_s0)
    S0_sd = S0 * np.sqrt(np.expm1(np.minimum(sd_log_s0**2, MAX_LOG_S0)))
    has_axis = np.minimum((values[..., 2] - values[..., 1]) / AXIAL, 1)
    dyadic = np.einsum("p,vp,vpi,vpj->vij", weight, has_axis, vectors[..., 2], vectors[..., 2])
    dyadic += (1 - has_axis @ weight)[:, None, None] * np.eye(3) / 3
    spread, axes = np.linalg.eigh(dyadic)
    V1 = axes[..., 2]
    angle = np.degrees(np.arcsin(np.sqrt(np.clip(1 - spread[..., 2], 0, 1))))
    return np.concatenate(
        [
            mean, S0[:, None], sd, S0_sd[:, None],
            np.einsum("p,vpk->vk", weight, D), V1, angle[:, None],
        ],
        axis=-1,
    )  # fmt: skip
