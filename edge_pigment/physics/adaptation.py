"""Step 3, the adaptation of the prior to a voxel's own measurements: the reference in float64 NumPy.

Minimises over the latent z, by Newton's method,

    ½ Σ_n ρ((y_n - √(F_n(z)² + σ²)) / σ)  +  ½ (ν + d) log(1 + (z-μ)ᵀΛ(z-μ)/(ν + τ)),    τ = tr Λ(A + Λ)⁻¹

a Rician-floor likelihood (Gudbjartsson & Patz 1995, MRM 34:910), with ρ(r) = r² as far as any tensor fits and linear
beyond (LOUDEST), and a Student-t prior: where the data contradict the prior, it steps back. The reweighting is w =
(ν+d)/(ν + E δ²), variational for the scale of the t (Tipping & Lawrence 2005, Neurocomputing 69:123, sec. 3): E δ² = δ²
+ τ, τ the spread of the posterior itself, with A the data's Fisher information at the prior mean. With δ² of the mode
alone (τ = 0; Lange, Little & Taylor 1989, JASA 84:881) a voxel whose data say little would sit at the prior mean and
take the prior for (ν+d)/ν = 2.4 times as precise as it is.

The unknowns are ζ with z = μ + L⁻ᵀζ, in which the prior's precision is the identity. The second derivatives are
exact, but for the first step's: Gauss and Newton's matrix JᵀJ + w is safe far from the mode, but converges linearly, if
at all, where prior and measurements disagree. The exact ones cost no more, since the model is linear in D: another
weight of each measurement, the curvature of D = Q² itself, and -2w²/(ν+d) ζζᵀ for the tail of the prior. Where they
are not positive definite, or hardly, a multiple of the identity is added to them (Levenberg 1944, Q. Appl. Math.
2:164), one that goes to zero with the gradient. Each iteration evaluates one trial point. A trial that is no better is
dropped and the next one goes less far, so that a kernel selects by masks and has no inner search. The posterior's
precision is Fisher's, JᵀJ + w, a measurement beyond LOUDEST with the weight that its pull has of its misfit's.

The objective has several minima, so which one a voxel ends in depends on the way. That way must depend on rounding as
little as can be: kernels of float32 have to end where this reference does. Where no tensor fits some would not, so such
voxels are computed in float64 by the kernels, too (`doubt`).
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment.physics.tensor import (
    BOUND,
    DIMENSION,
    MAX_SIGNAL,
    Float,
    curvature,
    log_jacobian,
    quadratic_form,
    signal,
)

ITERATIONS = 128
"""Trial points per voxel at most. Simulated scans of SNR 5 to 30 take 4 to 5 on average, 1 voxel in 1000 more than 9 to
14; with priors of three times the usual width 8, and 1 in 1000 more than 30. Voxels that no tensor fits take 10 to 20,
a few up to 80."""
CONVERGED = 1e-7
"""A voxel is done after a full step of which less than this was expected: 3e-4 posterior sd from the mode."""
UNRESOLVED = 1e-2
"""Steps of which less is expected are taken unless they are worse by more: float32 cannot resolve the objective of a
scan of high SNR, but its gradient."""
NO_WORSE = 1e-6
"""What a trial may be worse by, relative to the objective."""
LEAST_CURVATURE = 0.5
"""Of H in any direction, as a share of the prior's weight, for a step of Newton's own."""
LEAST_SHIFT, RISE, SHIFTS = 1e-6, 4.0, 16
"""What else is added to H: at least this share of the prior's weight, this many times more at each further attempt, and
as many attempts at most: enough for a curvature that is -1e8 times the least shift."""
SOUND = 0.5
"""A shift suffices if no pivot of H + shift is less than this share of the shift: then no direction is nearly flat."""
LONGEST = 3.0
"""Step, in units of the prior's sd. Longer ones lead past the nearest minimum (D = Q² has several, for Q may change the
sign of its eigenvalues), along ways on which rounding decides where they end."""
STRIDE, LONGEST_IN_Z = 0.5, 0.3
"""Far from the prior a step may be longer: this share of the way come so far, the scale on which a heavy tail changes,
but no longer than this in z, a part of what the model stays nearly quadratic over. What no tensor fits lies tens to
thousands of the prior's sd away, where the prior is sharp in some direction: LONGEST at a time, it is out of reach."""
FURTHER, BACK = 4.0, 0.3
"""What the reach of the next step, at most 1, is multiplied by after a trial that was better, or no better."""
LOUDEST = 20.0
"""Misfit, in σ, beyond which a measurement pulls no harder (Huber 1964, Ann. Math. Stat. 35:73). Of the 220 000 voxels
of the scans for validation none has such a misfit, of 900 000 others 200. What is louder is no signal; pulls of
hundreds of σ against each other would leave nothing of the prior's in float32."""
PACKED = DIMENSION * (DIMENSION + 1) // 2
"""Length of a packed lower triangle: row by row, (0,0) (1,0) (1,1) (2,0) ..."""
DIAGONAL = tuple(row * (row + 3) // 2 for row in range(DIMENSION))
"""Where the diagonal lies in a packed lower triangle."""
_Second = Literal["start", "exact", "posterior"]
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
    """The objective and its derivatives at ζ: H = JᵀJ + w or the exact second derivatives, descent -∇."""

    zeta: Float
    objective: Float
    rss: Float
    distance: Float
    w: Float
    H: Float
    descent: Float


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
    inverse_L = np.asarray(np.linalg.inv(L), float)
    minus_b_r = -np.asarray(b, float)[:, None] * quadratic_form(bvecs)

    def latent_of(zeta: Float, v: NDArray[np.intp]) -> Float:
        return mean[v] + np.einsum("vji,vj->vi", inverse_L[v], zeta)

    def evaluate(zeta: Float, v: NDArray[np.intp], scale: Float, second: _Second) -> _State:
        z = latent_of(zeta, v)
        F = signal(z, b, bvecs)
        model = np.sqrt(F**2 + s[v] ** 2)
        r = np.where(known[v], (y[v] - model) / s[v], 0)
        pulling = np.clip(r, -LOUDEST, LOUDEST)
        slope = known[v] * F**2 / (model * s[v])  # of the model's magnitude by log F, in units of σ
        weight = slope**2
        if second == "exact":
            weight = (pulling == r) * weight - pulling * slope * (2 - (F / model) ** 2)
        elif second == "posterior":
            weight *= LOUDEST / np.maximum(np.abs(r), LOUDEST)
        J = log_jacobian(z, b, bvecs)
        H = np.einsum("vn,vni,vnj->vij", weight, J, J)
        if second == "exact":
            H[:, 1:, 1:] -= curvature((slope * pulling) @ minus_b_r)
        H = inverse_L[v] @ H @ np.swapaxes(inverse_L[v], -1, -2)
        descent = np.einsum("vij,vnj,vn->vi", inverse_L[v], J, slope * pulling, optimize=True)
        distance = np.sum(zeta**2, axis=-1)
        w = (nu + DIMENSION) / (scale + distance)
        H += w[:, None, None] * np.eye(DIMENSION)
        if second == "exact":
            H -= (2 / (nu + DIMENSION) * w**2)[:, None, None] * zeta[:, :, None] * zeta[:, None, :]
        rss = np.sum(r**2, axis=-1)
        loss = np.sum(pulling * (2 * r - pulling), axis=-1)
        objective = 0.5 * loss + 0.5 * (nu + DIMENSION) * np.log1p(distance / scale)
        objective = np.where(np.abs(z).max(-1, initial=0) < BOUND, objective, np.inf)
        return _State(zeta, objective, rss, distance, w, H, descent - w[:, None] * zeta)

    every = np.arange(len(y))
    start = np.zeros((len(y), DIMENSION))
    unweighted = evaluate(start, every, np.full(len(y), nu + DIMENSION), "start").H  # w = 1
    scale = nu + np.trace(np.linalg.inv(unweighted), axis1=-2, axis2=-1)
    at = evaluate(start, every, scale, "start")
    reach = np.ones(len(y))
    done = np.zeros(len(y), bool)
    for _ in range(iterations):
        v = np.flatnonzero(~done)
        if not v.size:
            break
        here = _State(*[field[v] for field in at])
        step = _step(here, inverse_L[v])
        expected = np.sum(step * here.descent, axis=-1)
        trial = evaluate(here.zeta + reach[v, None] * step, v, scale[v], "exact")
        slack = NO_WORSE * here.objective + np.where(expected < UNRESOLVED, UNRESOLVED, 0)
        better = trial.objective <= here.objective + slack  # False for NaN
        for field, new in zip(at, trial, strict=True):
            field[v[better]] = new[better]
        done[v] = better & (reach[v] == 1) & (expected < CONVERGED)
        reach[v] = np.where(better, np.minimum(FURTHER * reach[v], 1), BACK * reach[v])

    at = evaluate(at.zeta, every, scale, "posterior")
    L_H = np.linalg.cholesky(at.H)
    # H⁻¹w = GᵀG with G = √w L_H⁻¹, so the traces of H⁻¹A = I - H⁻¹w and of its square follow
    G = np.sqrt(at.w)[:, None, None] * np.linalg.inv(L_H)
    from_prior = np.sum(G**2, axis=(-2, -1))
    from_prior2 = np.sum((np.swapaxes(G, -1, -2) @ G) ** 2, axis=(-2, -1))
    share = np.stack([DIMENSION - from_prior, DIMENSION - 2 * from_prior + from_prior2], axis=-1)
    residual = np.sqrt(at.rss / np.maximum(known.sum(-1), 1))
    return Posterior(latent_of(at.zeta, every), pack(L @ L_H), residual, at.distance, np.maximum(share, 0))


def _step(at: _State, inverse_L: Float) -> Float:
    """The step (V, 7) from each voxel's state, with inverse_L (V, 7, 7) of its prior.

    Newton's, where H is at least LEAST_CURVATURE of the prior's weight in every direction, or that of H + shift with
    the first of some shifts that makes it positive definite, the least of them |∇| / longest. So a step depends on H
    and ∇ no more sharply than they are known to float32, a nearly singular or indefinite H included; with pivots of
    another sign than H's own, as Gill & Murray's method takes them, rounding decided where some voxels ended.
    """
    longest = np.maximum(LONGEST, STRIDE * np.sqrt(at.distance))
    least_shift = np.maximum(np.linalg.norm(at.descent, axis=-1) / longest, LEAST_SHIFT * at.w)
    shift = np.zeros(len(longest))
    L = np.empty_like(at.H)
    v = np.arange(len(longest))
    for _ in range(SHIFTS):
        least = np.where(shift[v] > 0, SOUND * shift[v], LEAST_CURVATURE * at.w[v])
        L[v], sound = _factor(at.H[v] + shift[v, None, None] * np.eye(DIMENSION), least)
        v = v[~sound]
        if not v.size:
            break
        shift[v] = np.maximum(RISE * shift[v], least_shift[v])
    half = np.linalg.solve(L, at.descent[..., None])
    step: Float = np.linalg.solve(np.swapaxes(L, -1, -2), half)[..., 0]
    length2 = np.sum(step**2, axis=-1)
    length2_in_z = np.sum(np.einsum("vji,vj->vi", inverse_L, step) ** 2, axis=-1)
    far2 = np.minimum(LONGEST_IN_Z**2 * length2 / np.maximum(length2_in_z, 1e-30), STRIDE**2 * at.distance)
    longest2 = np.maximum(far2, LONGEST**2)
    return step * np.sqrt(longest2 / np.maximum(length2, longest2))[:, None]


def _factor(H: Float, least: Float) -> tuple[Float, NDArray[np.bool_]]:
    """Cholesky factors of H (V, 7, 7), and where they are that: where no pivot is smaller than `least` (V,) > 0.

    Elsewhere a smaller one becomes `least` and is cut off from what is below it.
    """
    L = np.zeros_like(H)
    sound = np.ones(len(H), bool)
    for j in range(H.shape[-1]):
        square = H[:, j, j] - np.sum(L[:, j, :j] ** 2, axis=-1)
        large = square >= least  # False for NaN
        sound &= large
        L[:, j, j] = np.sqrt(np.where(large, square, least))
        below = H[:, j + 1 :, j] - np.einsum("vik,vk->vi", L[:, j + 1 :, :j], L[:, j, :j])
        L[:, j + 1 :, j] = np.where(large[:, None], below / L[:, j, j, None], 0)
    return L, sound
