// Small symmetric matrices, one per lane. A lower triangle is packed row by row: (0,0) (1,0) (1,1) (2,0) ...
#pragma once
#include "lane.cuh"

namespace EP_NAMESPACE {

constexpr int DIMENSION = 7;  // length of the latent z and of the summary θ
constexpr int PACKED = DIMENSION * (DIMENSION + 1) / 2;
constexpr double THIRD = 1.0 / 3;

EP_BOTH constexpr int packed(int row, int column) { return row * (row + 1) / 2 + column; }

template <class T> EP_FN T inner(const T (&a)[DIMENSION], const T (&b)[DIMENSION]) {
    T sum = T{};
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) sum += a[k] * b[k];
    return sum;
}

// A = L Lᵀ, in place; returns the smallest pivot before the square root. The diagonal's inverse comes with it: a division
// per row instead of one per element.
//
// A pivot below `least` > 0 becomes `least`, and is cut off from what is below it. Where all eigenvalues of A are at least
// that by what A is made of, this undoes rounding: a pivot of `least` has nothing but zeros below it. Elsewhere L is the
// factor of another matrix, whose pivots suffice.
template <class T> EP_FN T cholesky(T (&A)[PACKED], T (&inverse_diagonal)[DIMENSION], T least) {
    T smallest = A[0];
    EP_UNROLL for (int j = 0; j < DIMENSION; ++j) {
        T square = A[packed(j, j)];
        EP_UNROLL for (int k = 0; k < DIMENSION; ++k)
            if (k < j) square -= A[packed(j, k)] * A[packed(j, k)];
        smallest = minimum(smallest, square);
        const T pivot = square_root(maximum(square, least));
        A[packed(j, j)] = pivot;
        inverse_diagonal[j] = 1.0f / pivot;
        const T inverse = select(square < least, T{}, inverse_diagonal[j]);
        EP_UNROLL for (int i = 0; i < DIMENSION; ++i) {
            if (i <= j) continue;
            T sum = A[packed(i, j)];
            EP_UNROLL for (int k = 0; k < DIMENSION; ++k)
                if (k < j) sum -= A[packed(i, k)] * A[packed(j, k)];
            A[packed(i, j)] = sum * inverse;
        }
    }
    return smallest;
}

// x = L⁻¹ x, in place; the first `from` elements of x are zero.
template <class T>
EP_FN void solve_lower(const T (&L)[PACKED], const T (&inverse_diagonal)[DIMENSION], T (&x)[DIMENSION], int from = 0) {
    EP_UNROLL for (int i = 0; i < DIMENSION; ++i) {
        if (i < from) continue;
        T sum = x[i];
        EP_UNROLL for (int k = 0; k < i; ++k)
            if (k >= from) sum -= L[packed(i, k)] * x[k];
        x[i] = sum * inverse_diagonal[i];
    }
}

// x = L⁻ᵀ x, in place.
template <class T>
EP_FN void solve_upper(const T (&L)[PACKED], const T (&inverse_diagonal)[DIMENSION], T (&x)[DIMENSION]) {
    EP_UNROLL for (int i = DIMENSION - 1; i >= 0; --i) {
        T sum = x[i];
        EP_UNROLL for (int k = DIMENSION - 1; k > i; --k) sum -= L[packed(k, i)] * x[k];
        x[i] = sum * inverse_diagonal[i];
    }
}

template <class T> struct Vector3 {
    T x, y, z;
};

template <class T> EP_FN Vector3<T> operator*(Vector3<T> a, T s) { return {a.x * s, a.y * s, a.z * s}; }
template <class T> EP_FN T dot(Vector3<T> a, Vector3<T> b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
template <class T> EP_FN Vector3<T> cross(Vector3<T> a, Vector3<T> b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
template <class M, class T> EP_FN Vector3<T> select(M mask, Vector3<T> a, Vector3<T> b) {
    return {select(mask, a.x, b.x), select(mask, a.y, b.y), select(mask, a.z, b.z)};
}

// A symmetric 3x3 matrix.
template <class T> struct Symmetric3 {
    T xx, yy, zz, xy, xz, yz;
};
template <class T> EP_FN Vector3<T> operator*(Symmetric3<T> A, Vector3<T> v) {
    return {A.xx * v.x + A.xy * v.y + A.xz * v.z, A.xy * v.x + A.yy * v.y + A.yz * v.z,
            A.xz * v.x + A.yz * v.y + A.zz * v.z};
}

// The largest eigenvalue of A, by how much it exceeds the second, and its unit eigenvector.
//
// Smith's trigonometric solution (1961, Commun. ACM 4:168) for the eigenvalue that stands apart from the other two,
// whichever end it is at; then the other two from the 2x2 problem across its eigenvector (Eberly, A Robust
// Eigensolver for 3x3 Symmetric Matrices, geometrictools.com). Either step alone loses half the digits of float32
// where two eigenvalues meet; the order does not, and an isotropic tensor gives its eigenvalue and some axis.
template <class T> struct Principal {
    T value, gap;
    Vector3<T> axis;
};

template <class T> EP_FN Principal<T> principal(Symmetric3<T> A) {
    const T mean = (A.xx + A.yy + A.zz) * all<T>(THIRD);
    const T diagonal = maximum(magnitude(A.xx), maximum(magnitude(A.yy), magnitude(A.zz)));
    const T across = maximum(magnitude(A.xy), maximum(magnitude(A.xz), magnitude(A.yz)));
    const T scale = maximum(maximum(diagonal, across), all<T>(1e-18f));
    const T unit = 1.0f / scale;
    // B: the deviatoric part, of order 1
    Symmetric3<T> B = {(A.xx - mean) * unit, (A.yy - mean) * unit, (A.zz - mean) * unit,
                       A.xy * unit,          A.xz * unit,          A.yz * unit};
    const T norm2 = B.xx * B.xx + B.yy * B.yy + B.zz * B.zz + 2.0f * (B.xy * B.xy + B.xz * B.xz + B.yz * B.yz);
    const T p2 = maximum(norm2 * all<T>(0.5 * THIRD), all<T>(1e-24f));
    const T p = square_root(p2);
    const T half_det = 0.5f * (B.xx * (B.yy * B.zz - B.yz * B.yz) - B.xy * (B.xy * B.zz - B.yz * B.xz) +
                               B.xz * (B.xy * B.yz - B.yy * B.xz)) / (p2 * p);
    const auto prolate = half_det >= 0.0f;
    const T h = minimum(magnitude(half_det), all<T>(1.0f));
    const T t = cosine_of_third(h);
    const T apart = select(prolate, 2.0f * p * t, -2.0f * p * t);
    // its eigenvector lies across the rows of B - apart: the longest of their cross products
    const Vector3<T> r0 = {B.xx - apart, B.xy, B.xz}, r1 = {B.xy, B.yy - apart, B.yz}, r2 = {B.xz, B.yz, B.zz - apart};
    Vector3<T> v = cross(r0, r1), other = cross(r0, r2);
    T length2 = dot(v, v), other2 = dot(other, other);
    v = select(other2 > length2, other, v);
    length2 = maximum(length2, other2);
    other = cross(r1, r2);
    other2 = dot(other, other);
    v = select(other2 > length2, other, v);
    length2 = maximum(length2, other2);
    const auto isotropic = length2 < 1e-30f;
    v = v * (1.0f / square_root(maximum(length2, all<T>(1e-30f))));
    v = select(isotropic, Vector3<T>{all<T>(0.0f), all<T>(0.0f), all<T>(1.0f)}, v);
    // an orthonormal basis (u, w) of the plane across v
    const auto steep = magnitude(v.x) > magnitude(v.y);
    const T zero = all<T>(0.0f);
    Vector3<T> u = select(steep, Vector3<T>{zero - v.z, zero, v.x}, Vector3<T>{zero, v.z, zero - v.y});
    u = u * (1.0f / square_root(dot(u, u)));
    const Vector3<T> w = cross(v, u);
    const Vector3<T> Bu = B * u, Bw = B * w;
    const T m00 = dot(u, Bu), m01 = dot(u, Bw), m11 = dot(w, Bw);
    const T half_gap = 0.5f * (m00 - m11);
    const T radius = square_root(half_gap * half_gap + m01 * m01);
    const T larger = 0.5f * (m00 + m11) + radius;
    // (M - larger) has the rows (half_gap - radius, m01) and (m01, -half_gap - radius): take the longer one
    const T pivot = magnitude(half_gap) + radius;
    const auto first = half_gap >= 0.0f;
    T cu = select(first, pivot, m01), cw = select(first, m01, pivot);
    const T c2 = cu * cu + cw * cw;
    const auto circular = c2 < 1e-30f;
    const T unit_c = 1.0f / square_root(maximum(c2, all<T>(1e-30f)));
    cu = select(circular, all<T>(1.0f), cu * unit_c);
    cw = select(circular, zero, cw * unit_c);
    const Vector3<T> in_plane = {cu * u.x + cw * w.x, cu * u.y + cw * w.y, cu * u.z + cw * w.z};
    const T value = select(prolate, maximum(apart, larger), larger);
    const T gap = select(prolate, value - larger, 2.0f * radius);
    return {mean + scale * value, scale * gap, select(prolate, v, in_plane)};
}

}  // namespace EP_NAMESPACE
