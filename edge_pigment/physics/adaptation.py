"""Step 3, the adaptation of the prior to a voxel's own measurements: the reference in float64 NumPy.

Minimises over the latent z, by damped Gauss-Newton with iterative reweighting of the prior,

    ½ Σ_n (y_n - √(F_n(z)² + σ²))² / σ²  +  ½ (ν + d) log(1 + (z-μ)ᵀΛ(z-μ)/ν)

a Rician-floor likelihood (Gudbjartsson & Patz 1995, MRM 34:910) and a Student-t prior (Lange, Little & Taylor
1989, JASA 84:881, for the reweighting w = (ν+d)/(ν+δ²)): where the data contradict the prior, the prior steps back.

Each iteration evaluates one trial point; a trial that is no better is dropped and the damping grows, so that the
number of passes over the data is fixed and a kernel needs no branch.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from edge_pigment.physics.tensor import DIMENSION, Float, log_jacobian, signal

ITERATIONS = 10
"""Trial points per voxel; simulated scans of SNR 3 to 50 are converged to 1e-4 by then (tests/physics)."""
INITIAL_DAMPING = 1e-2
DAMPING_DOWN = 0.2
DAMPING_UP = 6.0
MIN_DAMPING = 1e-6
"""Marquardt's damping, relative to the diagonal of the Hessian."""
PACKED = DIMENSION * (DIMENSION + 1) // 2
"""Length of a packed lower triangle: row by row, (0,0) (1,0) (1,1) (2,0) ..."""
_ROWS, _COLUMNS = np.tril_indices(DIMENSION)


class Posterior(NamedTuple):
    """What surroundings and measurements say together, per voxel.

    mode (V, 7); factor (V, 28), packed lower Cholesky factor of the posterior precision H at the mode; residual
    (V,), root mean square of (y - model)/σ; distance (V,), δ² = (mode-μ)ᵀΛ(mode-μ); share (V, 2), Σa and Σa² of
    the eigenvalues a of H⁻¹A, A the data's part of H = A + wΛ: Σa is the number of latent coordinates that the
    measurements determine, and δ² is distributed as Σ a χ²₁ if the surroundings predict the voxel.
    """

    mode: Float
    factor: Float
    residual: Float
    distance: Float
    share: Float


def unpack(factor: ArrayLike) -> Float:
    """(V, 28) packed lower triangle -> (V, 7, 7)."""
    factor = np.asarray(factor, float)
    L = np.zeros((len(factor), DIMENSION, DIMENSION))
    L[:, _ROWS, _COLUMNS] = factor
    return L


def pack(L: ArrayLike) -> Float:
    """(V, 7, 7) lower triangle -> (V, 28)."""
    return np.asarray(L, float)[:, _ROWS, _COLUMNS]


def adapt(
    y: ArrayLike,
    b: ArrayLike,
    bvecs: ArrayLike,
    sigma: ArrayLike,
    mean: ArrayLike,
    precision_factor: ArrayLike,
    nu: float,
    iterations: int = ITERATIONS,
) -> Posterior:
    """Adapt the prior N(mean, (L Lᵀ)⁻¹) to the measurements; measurements that are not finite have no weight.

    Args:
        y: (V, N) magnitudes, b=0 in the brain about 1.
        b: (N,) ms/µm².
        bvecs: (N, 3) unit directions.
        sigma: (V,) noise sd > 0.
        mean: (V, 7) prior mean μ.
        precision_factor: (V, 28) packed lower L with Λ = L Lᵀ, positive diagonal.
        nu: Student-t degrees of freedom ν of the prior.
        iterations: trial points per voxel.

    Returns:
        the posterior; nothing in it is ever NaN if the prior is finite.
    """
    y, mean = np.asarray(y, float), np.asarray(mean, float)
    s = np.asarray(sigma, float)[:, None]
    known = np.isfinite(y)
    L = unpack(precision_factor)
    Lam = L @ np.swapaxes(L, -1, -2)
    diagonal = np.arange(DIMENSION)

    def evaluate(z: Float) -> tuple[Float, Float, Float, Float, Float, Float]:
        F = signal(z, b, bvecs)
        model = np.sqrt(F**2 + s**2)
        r = np.where(known, (np.where(known, y, 0) - model) / s, 0)
        J = (known * F**2 / (model * s))[..., None] * log_jacobian(z, b, bvecs)
        pull = np.einsum("vij,vj->vi", Lam, z - mean)
        distance = np.einsum("vi,vi->v", z - mean, pull)
        w = (nu + DIMENSION) / (nu + distance)
        rss = np.sum(r**2, axis=-1)
        objective = 0.5 * rss + 0.5 * (nu + DIMENSION) * np.log1p(distance / nu)
        H = np.einsum("vni,vnj->vij", J, J) + w[:, None, None] * Lam
        descent = np.einsum("vni,vn->vi", J, r) - w[:, None] * pull
        return objective, H, descent, rss, distance, w

    best = mean.copy()
    state = evaluate(best)
    damping = np.full(len(y), INITIAL_DAMPING)
    for _ in range(iterations):
        damped = state[1].copy()
        damped[:, diagonal, diagonal] *= 1 + damping[:, None]
        trial = best + np.linalg.solve(damped, state[2][..., None])[..., 0]
        new = evaluate(trial)
        better = new[0] <= state[0]  # False for NaN
        best = np.where(better[:, None], trial, best)
        merged = [np.where(better.reshape(-1, *[1] * (n.ndim - 1)), n, o) for n, o in zip(new, state, strict=True)]
        state = (merged[0], merged[1], merged[2], merged[3], merged[4], merged[5])
        damping = np.maximum(np.where(better, damping * DAMPING_DOWN, damping * DAMPING_UP), MIN_DAMPING)

    _, H, _, rss, distance, w = state
    L_H = np.linalg.cholesky(H)
    # H⁻¹wΛ is similar to GGᵀ with G = L_H⁻¹ L √w, so the traces of H⁻¹A = I - H⁻¹wΛ and of its square follow.
    G = np.linalg.solve(L_H, L) * np.sqrt(w)[:, None, None]
    from_prior = np.sum(G**2, axis=(-2, -1))
    from_prior2 = np.sum((np.swapaxes(G, -1, -2) @ G) ** 2, axis=(-2, -1))
    share = np.stack([DIMENSION - from_prior, DIMENSION - 2 * from_prior + from_prior2], axis=-1)
    residual = np.sqrt(rss / np.maximum(known.sum(-1), 1))
    return Posterior(best, pack(L_H), residual, distance, np.maximum(share, 0))
