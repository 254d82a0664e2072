// Step 1, the summary of a voxel's own measurements, as in physics/summarise.py.
//
// The unknowns are φ with θ = mean + basis φ, a priori N(0, 1) each; physics/protocol.py chooses the basis such that
// H is near its diagonal, and directions that the protocol did not measure are axes of their own. Otherwise float32
// would lose the prior's precision, 1, beside the measurements' N/σ², 10⁵ and more.
#pragma once
#include "tasks.h"
#include "tensor.cuh"

namespace EP_NAMESPACE {

// A row of the summary's table: x' = x · basis (7), x · mean, and the products x' x'ᵀ, a packed lower triangle.
constexpr int SUMMARY_ROW = DIMENSION + 1 + PACKED;
constexpr float FLOOR = 0.5f;
constexpr int STEPS = 2;

// log of the magnitude corrected for the floor, log √(y² - σ²), in units of σ; 0 where y is unknown (NaN).
template <class T> EP_FN T log_corrected(T y) {
    const T corrected2 = maximum(y * y - 1.0f, all<T>(FLOOR * FLOOR));
    return select(y == y, 0.5f * logarithm(corrected2), T{});
}

// 1/variance of that logarithm, for a true signal S in units of σ: S⁴/(S² + 1).
template <class T> EP_FN T log_precision(T y, T log_s) {
    const T S = exponential(log_s);
    const T S2 = S * S;
    return select(y == y, S2 * (S2 / (S2 + 1.0f)), T{});  // in this order, S⁴ does not overflow
}

// log S = x · θ
template <class T> EP_FN T predicted(const float* x, const T (&phi)[DIMENSION]) {
    T log_s = all<T>(x[DIMENSION]);
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) log_s += phi[k] * x[k];
    return within(log_s, -MAX_LOG_S0, MAX_LOG_S0);
}

// One weighted least-squares step: the normal equations' matrix H and right-hand side, from phi's weights or, in the
// first step, from those of the measurements themselves. tiles (3, N) is room for a CPU's stages, as in products(): log y,
// corrected, which the first step leaves for the second, weights and pulls.
template <bool FIRST, class T, class Measured>
EP_FN void normal_equations(int n_rows, const float* table, const Measured& y, T log_sigma, T* tiles,
                            const T (&phi)[DIMENSION], T (&H)[PACKED], T (&rhs)[DIMENSION]) {
    EP_UNROLL for (int k = 0; k < PACKED; ++k) H[k] = T{};
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) rhs[k] = T{};
#if defined(EP_THREAD)
    for (int n = 0; n < n_rows; ++n) {
        const float* x = table + n * SUMMARY_ROW;
        const T measured = y[n], target = log_corrected(measured) + log_sigma;
        const T weight = log_precision(measured, (FIRST ? target : predicted(x, phi)) - log_sigma);
        const T pull = weight * (target - x[DIMENSION]);
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k) rhs[k] += pull * x[k];
        EP_UNROLL for (int k = 0; k < PACKED; ++k) H[k] += weight * x[DIMENSION + 1 + k];
    }
#else
    T *targets = tiles, *weights = tiles + n_rows, *pulls = tiles + 2 * n_rows;
    if (FIRST)
        for (int n = 0; n < n_rows; ++n) targets[n] = log_corrected(y[n]) + log_sigma;
    for (int n = 0; n < n_rows; ++n) weights[n] = FIRST ? targets[n] : predicted(table + n * SUMMARY_ROW, phi);
    for (int n = 0; n < n_rows; ++n) {
        weights[n] = log_precision(y[n], weights[n] - log_sigma);
        pulls[n] = weights[n] * (targets[n] - table[n * SUMMARY_ROW + DIMENSION]);
    }
    weighted_sums<DIMENSION, SUMMARY_ROW>(n_rows, pulls, table, rhs);
    weighted_sums<10, SUMMARY_ROW>(n_rows, weights, table + DIMENSION + 1, H);
    weighted_sums<9, SUMMARY_ROW>(n_rows, weights, table + DIMENSION + 11, H + 10);
    weighted_sums<9, SUMMARY_ROW>(n_rows, weights, table + DIMENSION + 20, H + 19);
#endif
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) H[packed(k, k)] += 1.0f;  // the prior
}

// basis (7, 7) and mean (7): θ = mean + basis φ. log_sigma: the log of the unit of y. On return theta and sd.
template <class T, class Measured>
EP_FN void summarise(int n_rows, const float* table, const float* basis, const float* mean, const Measured& y,
                     T log_sigma, T* tiles, T (&theta)[DIMENSION], T (&sd)[DIMENSION]) {
    T phi[DIMENSION] = {}, H[PACKED], rhs[DIMENSION], inverse_diagonal[DIMENSION];
    for (int step = 0; step < STEPS; ++step) {
        if (step == 0)
            normal_equations<true>(n_rows, table, y, log_sigma, tiles, phi, H, rhs);
        else
            normal_equations<false>(n_rows, table, y, log_sigma, tiles, phi, H, rhs);
        cholesky(H, inverse_diagonal, all<T>(1.0f));
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k) phi[k] = rhs[k];
        solve_lower(H, inverse_diagonal, phi);
        solve_upper(H, inverse_diagonal, phi);
    }
    EP_UNROLL for (int i = 0; i < DIMENSION; ++i) {
        T sum = all<T>(mean[i]), half[DIMENSION], variance = T{};
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k) {
            sum += phi[k] * basis[i * DIMENSION + k];
            half[k] = all<T>(basis[i * DIMENSION + k]);
        }
        theta[i] = sum;
        solve_lower(H, inverse_diagonal, half);  // |L⁻¹ basisᵢ|² is the variance of θᵢ
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k) variance += half[k] * half[k];
        sd[i] = square_root(variance);
    }
}

// The voxel v, or the vector of `count` voxels that starts there. protocol: basis (7, 7), mean (7), table.
template <class T, class Measured>
EP_FN void summarise_at(const SummariseTask& task, const float* protocol, long v, int count, const Measured& y,
                        T log_sigma, T* tiles) {
    T theta[DIMENSION], sd[DIMENSION];
    const float *mean = protocol + DIMENSION * DIMENSION, *table = mean + DIMENSION;
    summarise(task.N, table, protocol, mean, y, log_sigma, tiles, theta, sd);
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) {
        store(task.theta + k * task.V + v, theta[k], count);
        store(task.sd + k * task.V + v, sd[k], count);
    }
}

}  // namespace EP_NAMESPACE
