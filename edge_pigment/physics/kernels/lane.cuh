// What one lane can do: the only file that knows whether a lane is a CUDA thread or an element of a CPU's vector.
//
// Every kernel is a template over T, the values of one quantity. Under nvcc T is float and a voxel is a thread; under
// g++ T is a vector (Lanes) and a voxel is one of its elements. There are no branches on data, only select(), and no
// libm: exp, log and asin are the same polynomials in both worlds, so that both round alike. What float32 cannot decide
// is computed once more with T = Doubles, on the CPU: few voxels, so that libm will do.
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
EP_FN float not_a_number(float) { return __int_as_float(0x7fc00000); }
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

EP_FN Lanes not_a_number(Lanes) { return as_float(as_int(Lanes{}) + 0x7fc00000); }

typedef double Doubles __attribute__((vector_size(4 * WIDTH)));
typedef long long DoublesInt __attribute__((vector_size(4 * WIDTH)));

template <class Vector, class Function> EP_FN Vector in_each(Vector x, Function function) {
    for (unsigned i = 0; i < sizeof x / sizeof x[0]; ++i) x[i] = function(x[i]);
    return x;
}

EP_FN Doubles square_root(Doubles x) { return in_each(x, [](double a) { return __builtin_sqrt(a); }); }
EP_FN Doubles minimum(Doubles a, Doubles b) { return a < b ? a : b; }
EP_FN Doubles maximum(Doubles a, Doubles b) { return a > b ? a : b; }
EP_FN Doubles magnitude(Doubles x) { return maximum(x, -x); }
EP_FN Doubles not_a_number(Doubles) { return Doubles{} + __builtin_nan(""); }
EP_FN Doubles power_of_two(Doubles x) { return in_each(x, [](double a) { return __builtin_exp2(a); }); }
EP_FN Doubles logarithm(Doubles x) { return in_each(x, [](double a) { return __builtin_log(a); }); }
EP_FN Doubles arcsine(Doubles x) { return in_each(x, [](double a) { return __builtin_asin(a); }); }
EP_FN Doubles cosine_of_third(Doubles h) {
    return in_each(h, [](double a) { return __builtin_cos(__builtin_acos(a) / 3); });
}

template <class Mask> EP_FN bool every(Mask mask) {
    auto both = mask[0];
    for (unsigned i = 1; i < sizeof mask / sizeof mask[0]; ++i) both &= mask[i];
    return both != 0;
}

// Lanes of a partial block at the image's end repeat its first voxel, so that nothing foreign is computed.
template <class Vector, class Number> EP_FN Vector loaded(const Number* from, int count) {
    constexpr int width = sizeof(Vector) / sizeof(Number);
    Vector x;
    if (count == width) {
        __builtin_memcpy(&x, from, sizeof x);
    } else {
        for (int i = 0; i < width; ++i) x[i] = from[i < count ? i : 0];
    }
    return x;
}
EP_FN Lanes load(const float* from, int count) { return loaded<Lanes>(from, count); }
EP_FN Doubles load(const double* from, int count) { return loaded<Doubles>(from, count); }

template <class Vector, class Number> EP_FN void store(Number* to, Vector x, int count) {
    if (count == int(sizeof x / sizeof *to)) {
        __builtin_memcpy(to, &x, sizeof x);
    } else {
        for (int i = 0; i < count; ++i) to[i] = x[i];
    }
}

#endif  // EP_THREAD

// What one lane holds: as its constants, and as what it reads and writes.
template <class T> struct ElementOf {
    using type = float;
};
#if !defined(EP_THREAD)
template <> struct ElementOf<Doubles> {
    using type = double;
};
#endif
template <class T> using Element = typename ElementOf<T>::type;

// A number that is the same in all lanes. Constants that float does not hold exactly are doubles, and pass through here:
// a double anywhere else would make a GPU's thread compute with doubles (and is an error under g++).
template <class T> EP_FN T all(double a) { return Element<T>(a) - T{}; }  // a - 0 is a, for -0 too, so it folds

template <class M, class T> EP_FN T select(M mask, T where_true, T where_false) {
    return mask ? where_true : where_false;
}

template <class T> EP_FN T within(T x, double least, double most) {
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

constexpr double LOG2_E = 1.4426950408889634;

// e^x for |x| < 30
template <class T> EP_FN T exponential(T x) { return power_of_two(x * all<T>(LOG2_E)); }

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

// cos(arccos(h)/3) for 0 <= h <= 1, a Chebyshev fit within 1e-8
template <class T> EP_FN T cosine_of_third(T h) {
    T t = h * 5.5367971e-4f - 2.9619870e-3f;
    t = t * h + 7.7188136e-3f;
    t = t * h - 1.4327297e-2f;
    t = t * h + 2.4405841e-2f;
    t = t * h - 4.8079647e-2f;
    t = t * h + 1.6666520e-1f;
    return t * h + 8.6602539e-1f;
}

}  // namespace EP_NAMESPACE
