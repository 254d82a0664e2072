// Step 1, the summary of a voxel's own measurements, as in physics/summarise.py.
//
// The unknowns are φ with θ = mean + basis φ, a priori N(0, 1) each; physics/protocol.py chooses the basis such that
// H is near its diagonal, and directions that the protocol did not measure are axes of their own. Otherwise float32
// would lose the prior's precision, 1, beside the measurements' N/σ², 10⁵ and more.
#pragma once
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
// first step, from those of the measurements themselves. `targets` (N) holds log y, corrected; `weights` and `pulls`
// (N) are room for a CPU's stages, as in products().
template <bool FIRST, class T>
EP_FN void normal_equations(int n_rows, const float* table, const T* y, T log_sigma, const T* targets, T* weights,
                            T* pulls, const T (&phi)[DIMENSION], T (&H)[PACKED], T (&rhs)[DIMENSION]) {
    EP_UNROLL for (int k = 0; k < PACKED; ++k) H[k] = T{};
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) rhs[k] = T{};
#if defined(__CUDACC__)
    for (int n = 0; n < n_rows; ++n) {
        const float* x = table + n * SUMMARY_ROW;
        const T log_s = FIRST ? targets[n] : predicted(x, phi);
        const T weight = log_precision(y[n], log_s - log_sigma);
        const T pull = weight * (targets[n] - x[DIMENSION]);
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k) rhs[k] += pull * x[k];
        EP_UNROLL for (int k = 0; k < PACKED; ++k) H[k] += weight * x[DIMENSION + 1 + k];
    }
#else
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
template <class T>
EP_FN void summarise(int n_rows, const float* table, const float* basis, const float* mean, const T* y, T log_sigma,
                     T* targets, T* weights, T* pulls, T (&theta)[DIMENSION], T (&sd)[DIMENSION]) {
    T phi[DIMENSION] = {}, H[PACKED], rhs[DIMENSION], inverse_diagonal[DIMENSION];
    for (int n = 0; n < n_rows; ++n) targets[n] = log_corrected(y[n]) + log_sigma;
    for (int step = 0; step < STEPS; ++step) {
        if (step == 0)
            normal_equations<true>(n_rows, table, y, log_sigma, targets, weights, pulls, phi, H, rhs);
        else
            normal_equations<false>(n_rows, table, y, log_sigma, targets, weights, pulls, phi, H, rhs);
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

}  // namespace EP_NAMESPACE
