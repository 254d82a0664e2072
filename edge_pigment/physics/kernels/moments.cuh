// Posterior expectation and sd of the tensor's scalar maps, as in physics/moments.py: a cubature of thirteen
// points over the six elements of Q, the posterior taken as Student's t.
#pragma once
#include "tasks.h"
#include "tensor.cuh"

namespace EP_NAMESPACE {

constexpr int SCALARS = 4;  // FA MD AD RD
constexpr int MOMENTS = 20;
constexpr float RADIUS = 4.0f;  // of the twelve outer points, in scales of the posterior
constexpr float CENTRE_WEIGHT = 0.5f;
constexpr double POINT_WEIGHT = (1.0 - CENTRE_WEIGHT) / 12.0;
constexpr double VARIANCE_FACTOR = 8.0 / 6.0;  // of a Student's t with 8 degrees of freedom
constexpr double SHAPELESS = 0.01, AXIAL = 0.003;  // µm²/ms

template <class T> struct Scalars {
    T value[SCALARS];
    Vector3<T> axis;
    T has_axis;  // 1, or less where the first two eigenvalues nearly meet
    T D[LINEAR];
};

template <class T> EP_FN Scalars<T> scalars(const T (&z)[DIMENSION]) {
    Scalars<T> s;
    diffusivity(latent(z), s.D);
    const T(&D)[LINEAR] = s.D;
    const Principal<T> first = principal(Symmetric3<T>{D[0], D[1], D[2], D[3], D[4], D[5]});
    const T trace = D[0] + D[1] + D[2];
    const T mean = trace * all<T>(THIRD);
    const T off = D[3] * D[3] + D[4] * D[4] + D[5] * D[5];
    const T norm2 = D[0] * D[0] + D[1] * D[1] + D[2] * D[2] + 2.0f * off;
    const T x = D[0] - mean, y = D[1] - mean, w = D[2] - mean;
    const T spread = x * x + y * y + w * w + 2.0f * off;
    s.value[0] = square_root(1.5f * spread / maximum(norm2, all<T>(SHAPELESS * SHAPELESS)));
    s.value[1] = mean;
    s.value[2] = first.value;
    s.value[3] = 0.5f * (trace - first.value);
    s.axis = first.axis;
    s.has_axis = minimum(first.gap * all<T>(1.0 / AXIAL), all<T>(1.0f));
    return s;
}

// A + weight · (has_axis v vᵀ + (1 - has_axis) ⅓)
template <class T> EP_FN Symmetric3<T> plus_dyadic(const Symmetric3<T>& A, const Scalars<T>& s, Element<T> weight) {
    const Vector3<T>& v = s.axis;
    const T w = weight * s.has_axis, rest = (weight - w) * all<T>(THIRD);
    return {A.xx + w * v.x * v.x + rest, A.yy + w * v.y * v.y + rest, A.zz + w * v.z * v.z + rest,
            A.xy + w * v.x * v.y,        A.xz + w * v.x * v.z,        A.yz + w * v.y * v.z};
}

// e^v - 1 for v >= 0
template <class T> EP_FN T exponential_minus_1(T v) {
    const T series = v * (v * (v * (v * (v * 8.3333333e-3f + 4.1666667e-2f) + 1.6666667e-1f) + 0.5f) + 1.0f);
    return select(v < 0.1f, series, exponential(v) - 1.0f);
}

template <class T> EP_FN void moments(const T (&mode)[DIMENSION], const T (&factor)[PACKED], T (&out)[MOMENTS]) {
    T inverse_diagonal[DIMENSION];
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) 
        inverse_diagonal[k] = 1.0f / maximum(factor[packed(k, k)], all<T>(1e-6f));

    const Scalars<T> centre = scalars(mode);
    T sum[SCALARS] = {}, sum2[SCALARS] = {}, D[LINEAR] = {};  // of the outer points; scalars relative to the centre
    Symmetric3<T> dyadic = plus_dyadic(Symmetric3<T>{}, centre, CENTRE_WEIGHT);
    for (int j = 1; j < DIMENSION; ++j) {
        // row j of the inverse of the factor's lower right block: a column of a square root of the covariance
        T offset[DIMENSION];
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k) offset[k] = all<T>(k == j ? 1.0f : 0.0f);
        // L⁻ᵀ e_j, with the row and column of log S0 left out
        EP_UNROLL for (int i = DIMENSION - 1; i >= 1; --i) {
            T rest = offset[i];
            EP_UNROLL for (int k = DIMENSION - 1; k > i; --k) rest -= factor[packed(k, i)] * offset[k];
            offset[i] = rest * inverse_diagonal[i];
        }
        for (int side = 0; side < 2; ++side) {
            const Element<T> reach = side == 0 ? RADIUS : -RADIUS;
            T point[DIMENSION];
            point[0] = mode[0];
            EP_UNROLL for (int k = 1; k < DIMENSION; ++k) 
                point[k] = within(mode[k] + reach * offset[k], -10.0f * MAX_Q, 10.0f * MAX_Q);
            const Scalars<T> s = scalars(point);
            EP_UNROLL for (int k = 0; k < SCALARS; ++k) {
                const T difference = s.value[k] - centre.value[k];
                sum[k] += difference;
                sum2[k] += difference * difference;
            }
            EP_UNROLL for (int k = 0; k < LINEAR; ++k) D[k] += s.D[k];
            dyadic = plus_dyadic(dyadic, s, POINT_WEIGHT);
        }
    }
    EP_UNROLL for (int k = 0; k < SCALARS; ++k) {
        const T mean = sum[k] * all<T>(POINT_WEIGHT);
        out[k] = centre.value[k] + mean;
        out[5 + k] = square_root(maximum(sum2[k] * all<T>(POINT_WEIGHT) - mean * mean, all<T>(0.0f)));
    }
    EP_UNROLL for (int k = 0; k < LINEAR; ++k) out[10 + k] = CENTRE_WEIGHT * centre.D[k] + all<T>(POINT_WEIGHT) * D[k];

    T half[DIMENSION];  // L⁻¹ e_0: its square is the variance of log S0
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) half[k] = all<T>(k == 0 ? 1.0f : 0.0f);
    solve_lower(factor, inverse_diagonal, half);
    T variance = T{};
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) variance += half[k] * half[k];
    variance *= all<T>(VARIANCE_FACTOR);
    const T log_s0 = within(mode[0] + 0.5f * variance, -MAX_LOG_S0, MAX_LOG_S0);
    out[4] = exponential(log_s0);
    out[9] = out[4] * square_root(exponential_minus_1(minimum(variance, all<T>(MAX_LOG_S0))));

    const Principal<T> axis = principal(dyadic);
    out[16] = axis.axis.x;
    out[17] = axis.axis.y;
    out[18] = axis.axis.z;
    const T sine2 = within(1.0f - axis.value, 0.0f, 1.0f);
    out[19] = 57.2957795131f * arcsine(square_root(sine2));
}

// The voxel v, or the vector of `count` voxels that starts there.
template <class T> EP_FN void moments_at(const MomentsTask<Element<T>>& task, long v, int count) {
    T mode[DIMENSION], factor[PACKED], out[MOMENTS];
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) mode[k] = load(task.mode + k * task.V + v, count);
    EP_UNROLL for (int k = 0; k < PACKED; ++k) factor[k] = load(task.factor + k * task.V + v, count);
    moments(mode, factor, out);
    EP_UNROLL for (int k = 0; k < MOMENTS; ++k) store(task.moments + k * task.V + v, out[k], count);
}

}  // namespace EP_NAMESPACE
