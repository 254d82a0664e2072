"""Step 3, the adaptation of the prior to a voxel's own measurements: the reference in float64 NumPy.

Minimises over the latent z, by Gauss-Newton with iterative reweighting of the prior,

    ½ Σ_n (y_n - √(F_n(z)² + σ²))² / σ²  +  ½ (ν + d) log(1 + (z-μ)ᵀΛ(z-μ)/(ν + τ)),    τ = tr Λ(A + Λ)⁻¹

a Rician-floor likelihood (Gudbjartsson & Patz 1995, MRM 34:910) and a Student-t prior: where the data contradict the
prior, it steps back. The reweighting is w = (ν+d)/(ν + E δ²), variational for the scale of the t (Tipping & Lawrence
2005, Neurocomputing 69:123, sec. 3): E δ² = δ² + τ, τ the spread of the posterior itself, with A the data's Fisher
information at the prior mean. With δ² of the mode alone (τ = 0; Lange, Little & Taylor 1989, JASA 84:881) a voxel
whose data say little would sit at the prior mean and take the prior for (ν+d)/ν = 2.4 times as precise as it is.

Reweighting alone converges linearly, because it takes the prior's curvature to be wΛ. It is
wΛ - 2w²/(ν+d) ppᵀ with p = Λ(z-μ); the second term is put back into the step, as far as the matrix stays positive
definite, by the Sherman-Morrison formula. Each iteration evaluates one trial point. A trial that is no better is
dropped and the next one goes half as far, so that a kernel selects by masks and has no inner search.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment.physics.tensor import DIMENSION, MAX_SIGNAL, Float, log_jacobian, signal

ITERATIONS = 40
"""Trial points per voxel at most. Simulated scans of SNR 5 to 30 take 6 to 8 on average, 1 voxel in 100 more than 12
to 23; 1 in 1000 is not done by then."""
CONVERGED = 1e-7
"""A voxel is done after a full step of which less than this was expected: 3e-4 posterior sd from the mode."""
UNRESOLVED = 1e-2
"""Steps of which less is expected are taken unless they are worse by more: float32 cannot resolve the objective of a
scan of high SNR, but its gradient."""
NO_WORSE = 1e-6
"""What a trial may be worse by, relative to the objective."""
CURVATURE = 0.8
"""Share of the curvature along p that the heavy tail of the prior may take away from a step's matrix, at most."""
PACKED = DIMENSION * (DIMENSION + 1) // 2
"""Length of a packed lower triangle: row by row, (0,0) (1,0) (1,1) (2,0) ..."""
DIAGONAL = tuple(row * (row + 3) // 2 for row in range(DIMENSION))
"""Where the diagonal lies in a packed lower triangle."""
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


class _State(NamedTuple):
    """The objective and its derivatives at z: H = JᵀJ + wΛ, descent -∇, pull p = Λ(z-μ)."""

    z: Float
    objective: Float
    rss: Float
    distance: Float
    w: Float
    H: Float
    descent: Float
    pull: Float


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
    """Adapt the prior N(mean, (L Lᵀ)⁻¹) to the measurements.

    Args:
        y: (V, N) magnitudes, b=0 in the brain about 1; what is not finite or beyond MAX_SIGNAL has no weight.
        b: (N,) ms/µm².
        bvecs: (N, 3) unit directions.
        sigma: (V,) noise sd > 0.
        mean: (V, 7) prior mean μ.
        precision_factor: (V, 28) packed lower L with Λ = L Lᵀ, positive diagonal.
        nu: Student-t degrees of freedom ν of the prior.
        iterations: trial points per voxel at most.

    Returns:
        the posterior; nothing in it is ever NaN if the prior is finite.
    """
    y, mean, s = np.asarray(y, float), np.asarray(mean, float), np.asarray(sigma, float)[:, None]
    known = np.abs(y) <= MAX_SIGNAL  # False for NaN
    y = np.where(known, y, 0)
    L = unpack(precision_factor)
    Lam = L @ np.swapaxes(L, -1, -2)

    def evaluate(z: Float, v: NDArray[np.intp], scale: Float) -> _State:
        F = signal(z, b, bvecs)
        model = np.sqrt(F**2 + s[v] ** 2)
        r = np.where(known[v], (y[v] - model) / s[v], 0)
        J = (known[v] * F**2 / (model * s[v]))[..., None] * log_jacobian(z, b, bvecs)
        Jt = np.swapaxes(J, -1, -2)
        pull = (Lam[v] @ (z - mean[v])[..., None])[..., 0]
        distance = np.sum((z - mean[v]) * pull, axis=-1)
        w = (nu + DIMENSION) / (scale + distance)
        rss = np.sum(r**2, axis=-1)
        objective = 0.5 * rss + 0.5 * (nu + DIMENSION) * np.log1p(distance / scale)
        descent = (Jt @ r[..., None])[..., 0] - w[:, None] * pull
        return _State(z, objective, rss, distance, w, Jt @ J + w[:, None, None] * Lam[v], descent, pull)

    every = np.arange(len(y))
    unweighted = evaluate(mean, every, np.full(len(y), nu + DIMENSION)).H  # w = 1
    scale = nu + np.trace(np.linalg.solve(unweighted, Lam), axis1=-2, axis2=-1)
    at = evaluate(mean.copy(), every, scale)
    reach = np.ones(len(y))
    done = np.zeros(len(y), bool)
    for _ in range(iterations):
        v = np.flatnonzero(~done)
        if not v.size:
            break
        here = _State(*[field[v] for field in at])
        newton, bend = np.moveaxis(np.linalg.solve(here.H, np.stack([here.descent, here.pull], -1)), -1, 0)
        # (H - c ppᵀ)⁻¹ descent, c such that c pᵀH⁻¹p stays below CURVATURE
        c = 2 * here.w**2 / (nu + DIMENSION)
        along = np.sum(here.pull * bend, axis=-1)
        c = np.where(c * along > CURVATURE, CURVATURE / np.where(along > 0, along, 1), c)
        gain = c * np.sum(here.pull * newton, axis=-1) / (1 - c * along)
        step = newton + gain[:, None] * bend
        expected = np.sum(step * here.descent, axis=-1)
        trial = evaluate(here.z + reach[v, None] * step, v, scale[v])
        slack = NO_WORSE * here.objective + np.where(expected < UNRESOLVED, UNRESOLVED, 0)
        better = trial.objective <= here.objective + slack  # False for NaN
        for field, new in zip(at, trial, strict=True):
            field[v[better]] = new[better]
        done[v] = better & (reach[v] == 1) & (expected < CONVERGED)
        reach[v] = np.where(better, np.minimum(2 * reach[v], 1), 0.5 * reach[v])

    L_H = np.linalg.cholesky(at.H)
    # H⁻¹wΛ is similar to GGᵀ with G = L_H⁻¹ L √w, so the traces of H⁻¹A = I - H⁻¹wΛ and of its square follow.
    G = np.linalg.solve(L_H, L) * np.sqrt(at.w)[:, None, None]
    from_prior = np.sum(G**2, axis=(-2, -1))
    from_prior2 = np.sum((np.swapaxes(G, -1, -2) @ G) ** 2, axis=(-2, -1))
    share = np.stack([DIMENSION - from_prior, DIMENSION - 2 * from_prior + from_prior2], axis=-1)
    residual = np.sqrt(at.rss / np.maximum(known.sum(-1), 1))
    return Posterior(at.z, pack(L_H), residual, at.distance, np.maximum(share, 0))
