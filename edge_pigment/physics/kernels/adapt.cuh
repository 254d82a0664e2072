// Step 3, the adaptation of the prior to a voxel's own measurements, as in physics/adaptation.py: damped Gauss-Newton
// with iterative reweighting of a Student-t prior. One trial point per iteration; a trial that is no better is
// dropped by a mask, so that all voxels take the same number of passes.
#pragma once
#include "tensor.cuh"

namespace EP_NAMESPACE {

constexpr float INITIAL_DAMPING = 1e-2f;
constexpr float DAMPING_DOWN = 0.2f;
constexpr float DAMPING_UP = 6.0f;
constexpr float MIN_DAMPING = 1e-6f;

template <class T> struct Prior {
    T mean[DIMENSION];
    T factor[PACKED];     // L
    T precision[PACKED];  // Λ = L Lᵀ
};

template <class T> EP_FN void set_precision(Prior<T>& prior) {
    EP_UNROLL for (int i = 0; i < DIMENSION; ++i)
        EP_UNROLL for (int j = 0; j <= i; ++j) {
            T sum = T{};
            EP_UNROLL for (int k = 0; k <= j; ++k) sum = sum + prior.factor[packed(i, k)] * prior.factor[packed(j, k)];
            prior.precision[packed(i, j)] = sum;
        }
}

// Where the descent stands.
template <class T> struct State {
    T z[DIMENSION];
    T objective, rss, distance, weight;  // weight: w = (ν+d)/(ν+δ²)
    T H[PACKED], descent[DIMENSION];     // JᵀJ + wΛ and -∇ of the objective
};

template <class T>
EP_FN void evaluate(int n_rows, const float* table, const T* y, T log_sigma, const Prior<T>& prior, float nu, T* tile,
                    State<T>& at) {
    Latent<T> q = latent(at.z);
    q.log_s0 = minimum(maximum(q.log_s0, all<T>(-MAX_LOG_S0)), all<T>(MAX_LOG_S0)) - log_sigma;
    Products<T> sums;
    products<true>(n_rows, table, y, q, tile, sums);
    information_in_latent(q, sums, at.H);
    gradient_in_latent(q, sums, at.descent);

    T from_mean[DIMENSION], pull[DIMENSION];
    at.distance = T{};
    EP_UNROLL for (int i = 0; i < DIMENSION; ++i) from_mean[i] = at.z[i] - prior.mean[i];
    EP_UNROLL for (int i = 0; i < DIMENSION; ++i) {  // δ² = |Lᵀ(z-μ)|², Λ(z-μ) = L Lᵀ(z-μ)
        T sum = T{};
        EP_UNROLL for (int k = i; k < DIMENSION; ++k) sum = sum + prior.factor[packed(k, i)] * from_mean[k];
        at.distance = at.distance + sum * sum;
        pull[i] = sum;
    }
    at.weight = (nu + DIMENSION) / (at.distance + nu);
    EP_UNROLL for (int i = 0; i < DIMENSION; ++i) {
        T sum = T{};
        EP_UNROLL for (int k = 0; k <= i; ++k) sum = sum + prior.factor[packed(i, k)] * pull[k];
        at.descent[i] = at.descent[i] - at.weight * sum;
    }
    EP_UNROLL for (int k = 0; k < PACKED; ++k) at.H[k] = at.H[k] + at.weight * prior.precision[k];
    at.rss = sums.rss;
    at.objective = 0.5f * sums.rss + (0.5f * (nu + DIMENSION)) * logarithm(at.distance * (1.0f / nu) + 1.0f);
}

// Starts from the prior's mean; `at` is the state at the mode.
template <class T>
EP_FN void adapt(int n_rows, const float* table, const T* y, T log_sigma, const Prior<T>& prior, float nu,
                 int iterations, T* tile, State<T>& at) {
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) at.z[k] = prior.mean[k];
    evaluate(n_rows, table, y, log_sigma, prior, nu, tile, at);
    T damping = all<T>(INITIAL_DAMPING);
    for (int iteration = 0; iteration < iterations; ++iteration) {
        T damped[PACKED], inverse_diagonal[DIMENSION], step[DIMENSION];
        EP_UNROLL for (int k = 0; k < PACKED; ++k) damped[k] = at.H[k];
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k) {
            damped[packed(k, k)] = damped[packed(k, k)] + damping * damped[packed(k, k)];
            step[k] = at.descent[k];
        }
        cholesky(damped, inverse_diagonal);
        solve_lower(damped, inverse_diagonal, step);
        solve_upper(damped, inverse_diagonal, step);
        State<T> trial;
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k) trial.z[k] = at.z[k] + step[k];
        evaluate(n_rows, table, y, log_sigma, prior, nu, tile, trial);
        const auto better = trial.objective <= at.objective;  // false for NaN
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k) {
            at.z[k] = select(better, trial.z[k], at.z[k]);
            at.descent[k] = select(better, trial.descent[k], at.descent[k]);
        }
        EP_UNROLL for (int k = 0; k < PACKED; ++k) at.H[k] = select(better, trial.H[k], at.H[k]);
        at.objective = select(better, trial.objective, at.objective);
        at.rss = select(better, trial.rss, at.rss);
        at.distance = select(better, trial.distance, at.distance);
        at.weight = select(better, trial.weight, at.weight);
        damping = maximum(select(better, damping * DAMPING_DOWN, damping * DAMPING_UP), all<T>(MIN_DAMPING));
    }
}

// H becomes its Cholesky factor. The share: traces of H⁻¹A and of its square, A = H - wΛ the data's part; H⁻¹wΛ is
// similar to GGᵀ with G = L_H⁻¹ L √w.
template <class T> EP_FN void factorise(State<T>& at, const Prior<T>& prior, T (&share)[2]) {
    T inverse_diagonal[DIMENSION], G[DIMENSION][DIMENSION];
    cholesky(at.H, inverse_diagonal);
    EP_UNROLL for (int j = 0; j < DIMENSION; ++j) {  // G[j]: column j
        EP_UNROLL for (int i = 0; i < DIMENSION; ++i) G[j][i] = i < j ? T{} : prior.factor[packed(i, j)];
        solve_lower(at.H, inverse_diagonal, G[j], j);
    }
    T trace = T{}, trace2 = T{};
    EP_UNROLL for (int i = 0; i < DIMENSION; ++i)
        EP_UNROLL for (int j = 0; j <= i; ++j) {
            T sum = T{};  // (GᵀG)ij
            EP_UNROLL for (int k = i; k < DIMENSION; ++k) sum = sum + G[i][k] * G[j][k];
            trace = i == j ? trace + sum : trace;
            trace2 = trace2 + (i == j ? 1.0f : 2.0f) * (sum * sum);
        }
    trace = trace * at.weight;
    trace2 = trace2 * (at.weight * at.weight);
    share[0] = maximum(float(DIMENSION) - trace, all<T>(0.0f));
    share[1] = maximum(float(DIMENSION) - 2.0f * trace + trace2, all<T>(0.0f));
}

}  // namespace EP_NAMESPACE
