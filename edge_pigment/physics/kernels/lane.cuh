// What one lane can do: the only file that knows whether a lane is a CUDA thread or an element of a CPU's vector.
//
// Every kernel is a template over T, the values of one quantity. Under nvcc T is float and a voxel is a thread; under
// g++ T is a vector (Lanes) and a voxel is one of its elements. There are no branches on data, only select(), and no
// libm: exp, log and asin are the same polynomials in both worlds, so that both round alike.
#pragma once

// A lane is a thread under nvcc, and wherever EP_THREAD is defined: tests/gpu/standin does so to run the kernels'
// threads one after the other on a CPU.
#if defined(__CUDACC__)
#define EP_THREAD
#define EP_UNROLL _Pragma("unroll")
#endif
#if defined(EP_THREAD)
#define EP_FN __device__ __forceinline__
#define EP_BOTH __host__ __device__
#else
#define EP_FN inline __attribute__((always_inline))
#define EP_BOTH
#endif
#if !defined(EP_UNROLL)
#if defined(__clang__)
#define EP_UNROLL _Pragma("unroll")
#else
#define EP_UNROLL _Pragma("GCC unroll 32")
#endif
#endif

// Each instruction set's variant lives in a namespace of its own: the linker must never merge two of them.
#ifndef EP_NAMESPACE
#define EP_NAMESPACE ep
#endif

#if !defined(EP_THREAD)
#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#else
#include <cmath>
#endif
#endif

namespace EP_NAMESPACE {

#if defined(EP_THREAD)

EP_FN int as_int(float x) { return __float_as_int(x); }
EP_FN float as_float(int i) { return __int_as_float(i); }
EP_FN float square_root(float x) { return sqrtf(x); }
EP_FN float minimum(float a, float b) { return fminf(a, b); }
EP_FN float maximum(float a, float b) { return fmaxf(a, b); }
EP_FN bool every(bool mask) { return mask; }
EP_FN float load(const float* from, int) { return *from; }
EP_FN void store(float* to, float x, int) { *to = x; }

#else

#if defined(__AVX512F__)
constexpr int WIDTH = 16;
#elif defined(__AVX2__)
constexpr int WIDTH = 8;
#else
constexpr int WIDTH = 4;
#endif

typedef float Lanes __attribute__((vector_size(4 * WIDTH)));
typedef int LanesInt __attribute__((vector_size(4 * WIDTH)));

EP_FN LanesInt as_int(Lanes x) { return (LanesInt)x; }
EP_FN Lanes as_float(LanesInt i) { return (Lanes)i; }

// min and max return b where a is NaN (x86's rule; the kernels rely on it nowhere else than where they say so).
#if defined(__AVX512F__)
EP_FN Lanes square_root(Lanes x) { return (Lanes)_mm512_sqrt_ps((__m512)x); }
EP_FN Lanes minimum(Lanes a, Lanes b) { return (Lanes)_mm512_min_ps((__m512)a, (__m512)b); }
EP_FN Lanes maximum(Lanes a, Lanes b) { return (Lanes)_mm512_max_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__)
EP_FN Lanes square_root(Lanes x) { return (Lanes)_mm256_sqrt_ps((__m256)x); }
EP_FN Lanes minimum(Lanes a, Lanes b) { return (Lanes)_mm256_min_ps((__m256)a, (__m256)b); }
EP_FN Lanes maximum(Lanes a, Lanes b) { return (Lanes)_mm256_max_ps((__m256)a, (__m256)b); }
#elif defined(__SSE2__)
EP_FN Lanes square_root(Lanes x) { return (Lanes)_mm_sqrt_ps((__m128)x); }
EP_FN Lanes minimum(Lanes a, Lanes b) { return (Lanes)_mm_min_ps((__m128)a, (__m128)b); }
EP_FN Lanes maximum(Lanes a, Lanes b) { return (Lanes)_mm_max_ps((__m128)a, (__m128)b); }
#elif defined(__ARM_NEON)
EP_FN Lanes square_root(Lanes x) { return (Lanes)vsqrtq_f32((float32x4_t)x); }
EP_FN Lanes minimum(Lanes a, Lanes b) { return (Lanes)vminnmq_f32((float32x4_t)a, (float32x4_t)b); }
EP_FN Lanes maximum(Lanes a, Lanes b) { return (Lanes)vmaxnmq_f32((float32x4_t)a, (float32x4_t)b); }
#else
EP_FN Lanes square_root(Lanes x) {
    for (int i = 0; i < WIDTH; ++i) x[i] = std::sqrt(x[i]);
    return x;
}
EP_FN Lanes minimum(Lanes a, Lanes b) { return a < b ? a : b; }
EP_FN Lanes maximum(Lanes a, Lanes b) { return a > b ? a : b; }
#endif

EP_FN bool every(LanesInt mask) {
    int both = -1;
    for (int i = 0; i < WIDTH; ++i) both &= mask[i];
    return both != 0;
}

// Lanes of a partial block at the image's end repeat its first voxel, so that nothing foreign is computed.
EP_FN Lanes load(const float* from, int count) {
    Lanes x;
    if (count == WIDTH) {
        __builtin_memcpy(&x, from, sizeof x);
    } else {
        for (int i = 0; i < WIDTH; ++i) x[i] = from[i < count ? i : 0];
    }
    return x;
}
EP_FN void store(float* to, Lanes x, int count) {
    if (count == WIDTH) {
        __builtin_memcpy(to, &x, sizeof x);
    } else {
        for (int i = 0; i < count; ++i) to[i] = x[i];
    }
}

#endif  // EP_THREAD

template <class T> EP_FN T all(float a) { return a - T{}; }  // a - 0 is a, for -0 too, so it folds

template <class M, class T> EP_FN T select(M mask, T where_true, T where_false) {
    return mask ? where_true : where_false;
}

template <class T> EP_FN T within(T x, float least, float most) {
    return minimum(maximum(x, all<T>(least)), all<T>(most));
}

template <class T> EP_FN T magnitude(T x) { return as_float(as_int(x) & 0x7fffffff); }

// The constant of 1.5 * 2^23: adding it rounds a small float to an integer, left in the low bits of the sum.
constexpr float ROUND = 12582912.0f;

// 2^x, relative error 2e-7 (a minimax fit on [-½, ½] and a shift of the exponent). x is clipped below to where the
// result is a normal number, and above to more than any signal in units of its noise, so that its fourth power is
// finite.
template <class T> EP_FN T power_of_two(T x) {
    x = within(x, -125.0f, 46.0f);
    const T shifted = x + ROUND;
    const T f = x - (shifted - ROUND);
    const T f2 = f * f;
    const T p2 = (f * 1.32646749e-3f + 9.67151113e-3f) * f2 + (f * 5.55073395e-2f + 2.40222424e-1f);
    const T p = p2 * f2 + (f * 6.93147004e-1f + 1.0f);
    return as_float(as_int(p) + (as_int(shifted) << 23));
}

constexpr float LOG2_E = 1.44269504089f;

// e^x for |x| < 30
template <class T> EP_FN T exponential(T x) { return power_of_two(x * LOG2_E); }

// log x for normal x > 0. Cephes' logf, relative error 1e-7.
template <class T> EP_FN T logarithm(T x) {
    const auto bits = as_int(x) - 0x3f3504f3;  // relative to √½, so that the mantissa lies in [√½, √2)
    const auto whole = bits >> 23;
    const T m = as_float((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
    const T exponent = as_float(whole + as_int(all<T>(ROUND))) - ROUND;
    const T m2 = m * m;
    T p = m * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    return (p * m * m2 - 2.12194440e-4f * exponent) - 0.5f * m2 + m + 0.693359375f * exponent;
}

// arcsin x for 0 <= x <= 1. Cephes' asinf.
template <class T> EP_FN T arcsine(T x) {
    const auto large = x > 0.5f;
    const T half = square_root(maximum(0.5f - 0.5f * x, all<T>(0.0f)));
    const T a = select(large, half, x);
    const T a2 = a * a;
    T p = a2 * 4.2163199048e-2f + 2.4181311049e-2f;
    p = p * a2 + 4.5470025998e-2f;
    p = p * a2 + 7.4953002686e-2f;
    p = p * a2 + 1.6666752422e-1f;
    p = p * a2 * a + a;
    return select(large, 1.57079632679f - 2.0f * p, p);
}

}  // namespace EP_NAMESPACE
