"""The diffusion tensor model: the reference in float64 NumPy.

    S(b, g) = S0 exp(-b gᵀ D g),   D = Q²,   z = (log S0, Qxx, Qyy, Qzz, Qxy, Qxz, Qyz)

Basser, Mattiello & Le Bihan 1994, Biophys. J. 66:259, eq. 3 (doi:10.1016/S0006-3495(94)80775-1). Q is the
symmetric square root of D, so that D is positive semi-definite for every z and no image axis is special.

A trace image, whose direction is zero here, is what a console makes of three orthogonal directions of one b: their
geometric mean, S0 exp(-b tr(D)/3) without noise, whatever the directions. Consoles that store the arithmetic mean store
more where D is anisotropic (½ b² var(gᵀDg) in log S, for b=1000 in white matter some 0.1), and the mean of three
magnitudes has less noise, and another floor, than one. All of that is left out: σ is that of the image as it is stored.

Units here and in every kernel: b in ms/µm² (1 ms/µm² = 1000 s/mm²), D in µm²/ms, Q in (µm²/ms)^½.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

DIMENSION = 7
"""Length of the latent z, and of the summary θ = (log S0, Dxx, Dyy, Dzz, Dxy, Dxz, Dyz)."""

MAX_LOG_S0 = 15.0
"""|log S0| is clipped here, so that exp stays finite in float32; S0 is about 1 by the signal's scaling."""

MAX_SIGNAL = float(np.exp(MAX_LOG_S0))
"""Magnitudes beyond what the model can make are taken for unknown, as those that are not finite."""

BOUND = 1000.0
"""(µm²/ms)^½, of which no element of a latent is taken beyond: a diffusivity a million times water's."""


def is_trace(bvecs: ArrayLike) -> NDArray[np.bool_]:
    """(N,) where the direction is zero: a trace image, if its b is not zero."""
    return np.asarray(np.linalg.norm(np.asarray(bvecs, float), axis=-1) == 0)


def quadratic_form(bvecs: ArrayLike) -> Float:
    """Rows r(g) with gᵀ D g = r · (Dxx, Dyy, Dzz, Dxy, Dxz, Dyz); those of a trace image with tr(D)/3 = r · D.

    Args:
        bvecs: (N, 3) unit directions; zero for a trace image.

    Returns:
        (N, 6).
    """
    x, y, z = np.asarray(bvecs, float).T
    r = np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], axis=-1)
    r[is_trace(bvecs), :3] = 1 / 3
    return r


def to_matrix(six: ArrayLike) -> Float:
    """(..., 6) in the order xx yy zz xy xz yz -> (..., 3, 3) symmetric."""
    nine: Float = np.asarray(six, float)[..., [0, 3, 4, 3, 1, 5, 4, 5, 2]]
    return nine.reshape(*np.shape(six)[:-1], 3, 3)


def from_matrix(matrix: ArrayLike) -> Float:
    """(..., 3, 3) symmetric -> (..., 6) in the order xx yy zz xy xz yz."""
    m = np.asarray(matrix, float)
    return np.stack([m[..., 0, 0], m[..., 1, 1], m[..., 2, 2], m[..., 0, 1], m[..., 0, 2], m[..., 1, 2]], axis=-1)


def diffusivity(z: ArrayLike) -> Float:
    """D = Q² of the latent: (..., 7) -> (..., 6), µm²/ms, order xx yy zz xy xz yz."""
    Q = to_matrix(np.asarray(z, float)[..., 1:])
    return from_matrix(Q @ Q)


def latent(S0: ArrayLike, D: ArrayLike) -> Float:
    """The latent of a tensor; negative eigenvalues of D are set to zero, the nearest tensor there is.

    Args:
        S0: (...) positive.
        D: (..., 6) µm²/ms.

    Returns:
        (..., 7).
    """
    values, vectors = np.linalg.eigh(to_matrix(D))
    Q = (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return np.concatenate([np.log(np.asarray(S0, float))[..., None], from_matrix(Q)], axis=-1)


def signal(z: ArrayLike, b: ArrayLike, bvecs: ArrayLike) -> Float:
    """Noise-free signal.

    Args:
        z: (V, 7) latent.
        b: (N,) ms/µm².
        bvecs: (N, 3) unit directions, zero for a trace image (any vector where b = 0).

    Returns:
        (V, N).
    """
    z = np.asarray(z, float)
    Q = to_matrix(z[:, 1:])
    Qg = np.einsum("vij,nj->vni", Q, np.asarray(bvecs, float))
    mean = np.sum(Q**2, axis=(-2, -1)) / 3
    diffusivities = np.where(is_trace(bvecs), mean[:, None], np.sum(Qg**2, axis=-1))
    log_s0 = np.clip(z[:, :1], -MAX_LOG_S0, MAX_LOG_S0)
    S: Float = np.exp(log_s0 - np.asarray(b, float) * diffusivities)
    return S


def log_jacobian(z: ArrayLike, b: ArrayLike, bvecs: ArrayLike) -> Float:
    """∂ log S / ∂z, from gᵀQ²g = |Qg|², and tr(Q²)/3 = |Q|²/3 for a trace image: (V, N, 7)."""
    g, six = np.asarray(bvecs, float), np.asarray(z, float)[:, 1:]
    u = np.einsum("vij,nj->vni", to_matrix(six), g)
    gx, gy, gz = g.T
    ux, uy, uz = np.moveaxis(u, -1, 0)
    slope = np.stack([ux * gx, uy * gy, uz * gz, ux * gy + uy * gx, ux * gz + uz * gx, uy * gz + uz * gy], axis=-1)
    slope[:, is_trace(g)] = (six * [1, 1, 1, 2, 2, 2] / 3)[:, None]
    attenuation = -2 * np.asarray(b, float)[:, None] * slope
    return np.concatenate([np.ones((*attenuation.shape[:2], 1)), attenuation], axis=-1)


def curvature(force: ArrayLike) -> Float:
    """Second derivatives of Σ force · D with respect to Q, which D = Q² makes constant.

    Args:
        force: (V, 6), a derivative with respect to D, order xx yy zz xy xz yz.

    Returns:
        (V, 6, 6).
    """
    x, y, z, xy, xz, yz = np.moveaxis(np.asarray(force, float), -1, 0)
    o = np.zeros_like(x)
    rows = [
        [2 * x, o, o, xy, xz, o],
        [o, 2 * y, o, xy, o, yz],
        [o, o, 2 * z, o, xz, yz],
        [xy, xy, o, 2 * (x + y), yz, xz],
        [xz, o, xz, yz, 2 * (x + z), xy],
        [o, yz, yz, xz, xy, 2 * (y + z)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def jacobian(z: ArrayLike, b: ArrayLike, bvecs: ArrayLike) -> Float:
    """∂S/∂z: (V, N, 7)."""
    return signal(z, b, bvecs)[..., None] * log_jacobian(z, b, bvecs)
