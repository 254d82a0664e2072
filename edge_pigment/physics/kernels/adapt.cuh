// Step 3, the adaptation of the prior to a voxel's own measurements, as in physics/adaptation.py: Newton's method with
// a Student-t prior, from a first step of Gauss and Newton's. One trial point per iteration; a trial that is no better
// is dropped by a mask. A voxel that has converged is frozen, so that its result does not depend on its neighbours in
// a vector, and a vector or thread with nothing left to do ends early.
//
// The unknowns are ζ with z = μ + L⁻ᵀζ, in which the prior's precision is the identity: an equivalent descent, but
// its matrices stay well conditioned however sharp and correlated the prior is, which float32 needs.
#pragma once
#include "tasks.h"
#include "tensor.cuh"

namespace EP_NAMESPACE {

constexpr double CONVERGED = 1e-7;
constexpr double UNRESOLVED = 1e-2;
constexpr double NO_WORSE = 1e-6;
constexpr float LEAST_CURVATURE = 0.5f;
constexpr double LEAST_SHIFT = 1e-6;
constexpr float RISE = 4.0f, SOUND = 0.5f;
constexpr int SHIFTS = 16;
constexpr float LONGEST = 3.0f;
constexpr float STRIDE = 0.5f;
constexpr double LONGEST_IN_Z = 0.3;
constexpr float FURTHER = 4.0f;
constexpr double BACK = 0.3;

// They keep every sum finite whatever the prior.
constexpr float REJECTED = 3e38f;  // more than any objective
constexpr float MIN_PRECISION = 1e-3f, MAX_PRECISION = 1e6f;

template <class T> struct Prior {
    T mean[DIMENSION];
    T L[PACKED], inverse_diagonal[DIMENSION];  // Λ = L Lᵀ; of its diagonal only the inverse is used, to spare registers
};

// Bounds the mean and the factor as they were read.
template <class T> EP_FN void prepare(Prior<T>& prior) {
    prior.mean[0] = within(prior.mean[0], -MAX_LOG_S0, MAX_LOG_S0);
    EP_UNROLL for (int k = 1; k < DIMENSION; ++k) prior.mean[k] = within(prior.mean[k], -MAX_Q, MAX_Q);
    EP_UNROLL for (int i = 0; i < DIMENSION; ++i) {
        EP_UNROLL for (int j = 0; j <= i; ++j)
            prior.L[packed(i, j)] =
                within(prior.L[packed(i, j)], i == j ? MIN_PRECISION : -MAX_PRECISION, MAX_PRECISION);
        prior.inverse_diagonal[i] = 1.0f / prior.L[packed(i, i)];
    }
}

// z = μ + L⁻ᵀζ
template <class T> EP_FN void latent_of(const Prior<T>& prior, const T (&zeta)[DIMENSION], T (&z)[DIMENSION]) {
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) z[k] = zeta[k];
    solve_upper(prior.L, prior.inverse_diagonal, z);
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) z[k] += prior.mean[k];
}

// A = L⁻¹ A L⁻ᵀ, the information about z become that about ζ, in place.
template <class T> EP_FN void whiten(const Prior<T>& prior, T (&A)[PACKED]) {
    T half[DIMENSION][DIMENSION];  // half[j]: column j of L⁻¹A
    EP_UNROLL for (int j = 0; j < DIMENSION; ++j) {
        EP_UNROLL for (int i = 0; i < DIMENSION; ++i) half[j][i] = A[i < j ? packed(j, i) : packed(i, j)];
        solve_lower(prior.L, prior.inverse_diagonal, half[j]);
    }
    EP_UNROLL for (int i = 0; i < DIMENSION; ++i)
        EP_UNROLL for (int j = 0; j <= i; ++j) {  // row i, by forward substitution along j
            T sum = half[j][i];
            EP_UNROLL for (int k = 0; k < j; ++k) sum -= prior.L[packed(j, k)] * A[packed(i, k)];
            A[packed(i, j)] = sum * prior.inverse_diagonal[j];
        }
}

// The objective and its derivatives at ζ.
template <class T> struct State {
    T zeta[DIMENSION];
    T objective, rss, distance, w;    // distance: δ² = |ζ|²
    T H[PACKED], descent[DIMENSION];  // JᵀJ + w or the exact second derivatives, -∇
};

// About ζ, or, where WHITENED is false, at.H is the measurements' information about z alone.
template <Second SECOND, bool WHITENED = true, class T, class Measured>
EP_FN void evaluate(int n_rows, const Element<T>* table, const Measured& y, T log_sigma, const Prior<T>& prior, Element<T> nu,
                    T scale, T* tile, State<T>& at) {
    T z[DIMENSION];
    latent_of(prior, at.zeta, z);
    Latent<T> q = latent(z);
    q.log_s0 = within(q.log_s0, -MAX_LOG_S0, MAX_LOG_S0) - log_sigma;
    Products<T> sums;
    products<SECOND>(n_rows, table, y, q, tile, sums);
    information_in_latent<SECOND>(q, sums, at.H);
    if (WHITENED) whiten(prior, at.H);
    gradient_in_latent(q, sums, at.descent);
    solve_lower(prior.L, prior.inverse_diagonal, at.descent);

    at.rss = sums.rss;
    at.distance = inner(at.zeta, at.zeta);
    at.w = (nu + DIMENSION) / (at.distance + scale);
    at.objective = 0.5f * at.rss + (0.5f * (nu + DIMENSION)) * logarithm(at.distance / scale + 1.0f);
    auto bounded = magnitude(z[0]) < 10.0f * MAX_Q;  // false for NaN, which logarithm() would hide
    EP_UNROLL for (int k = 1; k < DIMENSION; ++k) bounded = bounded & (magnitude(z[k]) < 10.0f * MAX_Q);
    at.objective = select(bounded, at.objective, all<T>(REJECTED));
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) {
        at.descent[k] -= at.w * at.zeta[k];
        if (WHITENED) at.H[packed(k, k)] += at.w;
    }
    if (SECOND == Second::EXACT) {  // the heavy tail takes from the prior's weight
        const T tail = (2.0f / (nu + DIMENSION)) * at.w * at.w;
        EP_UNROLL for (int i = 0; i < DIMENSION; ++i)
            EP_UNROLL for (int j = 0; j <= i; ++j) at.H[packed(i, j)] -= tail * at.zeta[i] * at.zeta[j];
    }
}

// The step from `at`, as in physics/adaptation.py: H⁻¹ descent or (H + shift)⁻¹ descent, and no longer than is allowed.
template <class T> EP_FN void newton_step(const Prior<T>& prior, const State<T>& at, T (&step)[DIMENSION]) {
    const T far2 = (STRIDE * STRIDE) * inner(at.zeta, at.zeta);
    T L[PACKED], inverse_diagonal[DIMENSION], shift = T{};
    for (int attempt = 1;; ++attempt) {
        EP_UNROLL for (int k = 0; k < PACKED; ++k) L[k] = at.H[k];
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k) L[packed(k, k)] += shift;
        const T least = select(shift > 0.0f, SOUND * shift, LEAST_CURVATURE * at.w);
        const auto sound = cholesky(L, inverse_diagonal, least) >= least;
        if (every(sound) || attempt == SHIFTS) break;
        const T least_shift = square_root(inner(at.descent, at.descent) / maximum(far2, all<T>(LONGEST * LONGEST)));
        shift = select(sound, shift, maximum(RISE * shift, maximum(least_shift, all<T>(LEAST_SHIFT) * at.w)));
    }
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) step[k] = at.descent[k];
    solve_lower(L, inverse_diagonal, step);
    solve_upper(L, inverse_diagonal, step);
    T in_z[DIMENSION];
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) in_z[k] = step[k];
    solve_upper(prior.L, prior.inverse_diagonal, in_z);
    const T length2 = inner(step, step);
    const T in_z2 = all<T>(LONGEST_IN_Z * LONGEST_IN_Z) * length2 / maximum(inner(in_z, in_z), all<T>(1e-30f));
    const T longest2 = maximum(minimum(in_z2, far2), all<T>(LONGEST * LONGEST));
    const T shorter = square_root(longest2 / maximum(length2, longest2));
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) step[k] *= shorter;
}

// H becomes its Cholesky factor; the traces of wH⁻¹ = GᵀG and of its square, G = √w L_H⁻¹, or G = √w L_H⁻¹ times the
// identity with another first column. No eigenvalue of H is smaller than w.
template <class T>
EP_FN void traces_of_inverse(T (&H)[PACKED], T w, const T (&first_column)[DIMENSION], T& trace, T& trace2) {
    T inverse_diagonal[DIMENSION], G[DIMENSION][DIMENSION];
    cholesky(H, inverse_diagonal, w);
    const T root_w = square_root(w);
    EP_UNROLL for (int j = 0; j < DIMENSION; ++j) {  // G[j]: column j
        EP_UNROLL for (int i = 0; i < DIMENSION; ++i) G[j][i] = j == 0 ? root_w * first_column[i] : i == j ? root_w : T{};
        solve_lower(H, inverse_diagonal, G[j], j);
    }
    trace = T{};
    trace2 = T{};
    EP_UNROLL for (int i = 0; i < DIMENSION; ++i)
        EP_UNROLL for (int j = 0; j <= i; ++j) {
            T sum = T{};  // (GᵀG)ij
            EP_UNROLL for (int k = i; k < DIMENSION; ++k) sum += G[i][k] * G[j][k];
            if (i == j) trace += sum;
            trace2 += (i == j ? 1.0f : 2.0f) * (sum * sum);
        }
}

// Starts from the prior's mean; `at` becomes the state at the mode, with the measurements' information about z. Returns 1
// or, where the trial points did not suffice, -1.
template <class T, class Measured>
EP_FN T adapt(int n_rows, const Element<T>* table, const Measured& y, T log_sigma, const Prior<T>& prior, Element<T> nu,
                 int iterations, T* tile, State<T>& at) {
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) at.zeta[k] = T{};
    const T unit = all<T>(nu + DIMENSION);  // w = 1
    evaluate<Second::START>(n_rows, table, y, log_sigma, prior, nu, unit, tile, at);
    T L[PACKED], spread, spread2;
    EP_UNROLL for (int k = 0; k < PACKED; ++k) L[k] = at.H[k];
    const T identity[DIMENSION] = {all<T>(1.0f)};
    traces_of_inverse(L, all<T>(1.0f), identity, spread, spread2);
    const T scale = nu + spread;  // ν + τ
    at.w = (nu + DIMENSION) / scale;
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) at.H[packed(k, k)] += at.w - 1.0f;
    T reach = all<T>(1.0f);
    auto done = at.objective != at.objective;
    for (int iteration = 0; iteration < iterations && !every(done); ++iteration) {
        T step[DIMENSION];
        newton_step(prior, at, step);
        const T expected = inner(step, at.descent);  // here, so that the step need not be kept in registers
        State<T> trial;
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k) trial.zeta[k] = at.zeta[k] + reach * step[k];
        evaluate<Second::EXACT>(n_rows, table, y, log_sigma, prior, nu, scale, tile, trial);
        const T slack = all<T>(NO_WORSE) * at.objective + select(expected < all<T>(UNRESOLVED), all<T>(UNRESOLVED), T{});
        const auto better = (trial.objective <= at.objective + slack) & !done;  // false for NaN
        done = done | (better & (reach == 1.0f) & (expected < all<T>(CONVERGED)));
        reach = select(better, minimum(FURTHER * reach, all<T>(1.0f)), all<T>(BACK) * reach);
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k) {
            at.zeta[k] = select(better, trial.zeta[k], at.zeta[k]);
            at.descent[k] = select(better, trial.descent[k], at.descent[k]);
        }
        EP_UNROLL for (int k = 0; k < PACKED; ++k) at.H[k] = select(better, trial.H[k], at.H[k]);
        at.objective = select(better, trial.objective, at.objective);
        at.w = select(better, trial.w, at.w);
    }
    evaluate<Second::POSTERIOR, false>(n_rows, table, y, log_sigma, prior, nu, scale, tile, at);
    return select(done, all<T>(1.0f), all<T>(-1.0f));
}

// The factor of the posterior precision about z, and the share: the traces of H⁻¹A and of its square, A = H - wΛ being
// the measurements' part, which at.H is. H replaces it, and L_H that.
//
// Here log S0 is whitened apart from the tensor, and taken out of its precision by hand. In ζ, what is known of log S0,
// 10⁷ times as much as of the tensor where the signal hardly falls, would stand in every element of H, and float32 hold
// nothing else. The prior's part is w BᵀB, B = [1 cᵀ; 0 I]; so of the tensor's precision there remains
// A - aaᵀ/α + w + αw/(α+w) (c - a/α)(c - a/α)ᵀ, with α and a what A has of log S0. Only the first difference can cancel.
template <class T>
EP_FN void posterior(State<T>& at, const Prior<T>& prior, T (&factor)[PACKED], T (&share)[2]) {
    Prior<T> apart = prior;
    EP_UNROLL for (int i = 1; i < DIMENSION; ++i) apart.L[packed(i, 0)] = T{};
    whiten(apart, at.H);
    T c[DIMENSION], border[DIMENSION];
    EP_UNROLL for (int i = 0; i < DIMENSION; ++i) c[i] = i == 0 ? all<T>(1.0f) : prior.L[packed(i, 0)];
    solve_lower(apart.L, apart.inverse_diagonal, c, 1);
    const T alpha = at.H[0], inverse = 1.0f / maximum(alpha, all<T>(1e-30f)), kept = alpha / (alpha + at.w);
    EP_UNROLL for (int i = 1; i < DIMENSION; ++i) {
        const T a = at.H[packed(i, 0)];
        border[i] = a + at.w * c[i];
        c[i] -= a * inverse;
    }
    EP_UNROLL for (int i = 1; i < DIMENSION; ++i)
        EP_UNROLL for (int j = 1; j <= i; ++j) {
            at.H[packed(i, j)] -= at.H[packed(i, 0)] * (at.H[packed(j, 0)] * inverse);
            at.H[packed(i, j)] += at.w * ((i == j ? 1.0f : 0.0f) + kept * c[i] * c[j]);
        }
    at.H[0] += at.w;
    EP_UNROLL for (int i = 1; i < DIMENSION; ++i) {
        at.H[packed(i, 0)] = T{};
        c[i] *= kept;
    }
    T trace, trace2;
    traces_of_inverse(at.H, at.w, c, trace, trace2);
    const T under = 1.0f / at.H[0];
    EP_UNROLL for (int i = 1; i < DIMENSION; ++i) at.H[packed(i, 0)] = border[i] * under;
    EP_UNROLL for (int i = 0; i < DIMENSION; ++i)
        EP_UNROLL for (int j = 0; j <= i; ++j) {
            T sum = T{};
            EP_UNROLL for (int k = j; k <= i; ++k)
                sum += (k < i ? apart.L[packed(i, k)] : 1.0f / prior.inverse_diagonal[i]) * at.H[packed(k, j)];
            factor[packed(i, j)] = sum;
        }
    share[0] = within(DIMENSION - trace, 0.0f, DIMENSION);
    share[1] = within(DIMENSION - 2.0f * trace + trace2, 0.0f, DIMENSION);
}

// The voxel v, or the vector of `count` voxels that starts there.
template <class T, class Measured>
EP_FN void adapt_at(const AdaptTask<Element<T>>& task, const Element<T>* table, long v, int count, const Measured& y, T log_sigma,
                    T* tile) {
    const long V = task.V;
    Prior<T> prior;
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) prior.mean[k] = load(task.mean + k * V + v, count);
    EP_UNROLL for (int k = 0; k < PACKED; ++k) prior.L[k] = load(task.factor + k * V + v, count);
    T mark = T{};  // 0 or, for a prior that is not finite, NaN, which the residual takes over
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) mark += prior.mean[k] - prior.mean[k];
    EP_UNROLL for (int k = 0; k < PACKED; ++k) mark += prior.L[k] - prior.L[k];
    prepare(prior);
    State<T> at;
    const T reached = adapt(task.N, table, y, log_sigma, prior, task.nu, task.iterations, tile, at);
    T mode[DIMENSION], factor[PACKED], share[2], known = T{};
    latent_of(prior, at.zeta, mode);
    posterior(at, prior, factor, share);
    for (int n = 0; n < task.N; ++n) known += select(y[n] == y[n], all<T>(1.0f), T{});
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) store(task.mode + k * V + v, mode[k], count);
    EP_UNROLL for (int k = 0; k < PACKED; ++k) store(task.posterior_factor + k * V + v, factor[k], count);
    store(task.residual + v, reached * square_root(at.rss / maximum(known, all<T>(1.0f))) + mark, count);
    store(task.distance + v, at.distance, count);
    EP_UNROLL for (int k = 0; k < 2; ++k) store(task.share + k * V + v, share[k], count);
}

}  // namespace EP_NAMESPACE
