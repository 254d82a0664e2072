// The diffusion tensor model, as in physics/tensor.py:
//
//     log S(b, g) = log S0 - b gᵀDg = x · θ,   θ = (log S0, D),   x = (1, -b r(g)),   D = Q²
//
// The model is linear in θ and the chain rule ∂D/∂Q does not depend on the measurement. So all sums over directions
// are taken in θ, where they multiply per-voxel weights with constants of the protocol, and are pulled back to the
// latent z = (log S0, Q) once per voxel.
#pragma once
#include "matrix.cuh"

namespace EP_NAMESPACE {

// A row of the protocol table (physics/protocol.py): -b r(g), then b² times the 15 monomials of g of degree four, then b²
// of a trace image, 0 of a direction. A trace image has r = (⅓, ⅓, ⅓, 0, 0, 0), and no monomials.
constexpr int LINEAR = 6;
constexpr int QUARTIC = 15;
constexpr int ROW = LINEAR + QUARTIC + 1;

constexpr float MAX_LOG_S0 = 15.0f;
constexpr float MAX_SIGNAL = 3.2690174e6f;  // exp(MAX_LOG_S0)
constexpr float MIN_SIGMA = 1e-4f;  // where b=0 in the brain is 1
constexpr float LOUDEST = 20.0f;  // misfit, in σ, from which on it counts as in physics/adaptation.py
constexpr float MAX_Q = 100.0f;  // (µm²/ms)^½, far outside of anything physical

template <class T> struct Latent {
    T log_s0, a, b, c, d, e, f;  // Qxx Qyy Qzz Qxy Qxz Qyz
};

template <class T> EP_FN Latent<T> latent(const T (&z)[DIMENSION]) {
    return {z[0], z[1], z[2], z[3], z[4], z[5], z[6]};
}

// D = Q²
template <class T> EP_FN void diffusivity(const Latent<T>& q, T (&D)[LINEAR]) {
    D[0] = q.a * q.a + q.d * q.d + q.e * q.e;
    D[1] = q.d * q.d + q.b * q.b + q.f * q.f;
    D[2] = q.e * q.e + q.f * q.f + q.c * q.c;
    D[3] = q.a * q.d + q.d * q.b + q.e * q.f;
    D[4] = q.a * q.e + q.d * q.f + q.e * q.c;
    D[5] = q.d * q.e + q.b * q.f + q.f * q.c;
}

// (∂D/∂Q)ᵀ v: a derivative with respect to D becomes one with respect to Q.
template <class T> EP_FN void pull_back(const Latent<T>& q, const T (&v)[LINEAR], T (&out)[LINEAR]) {
    out[0] = 2.0f * q.a * v[0] + q.d * v[3] + q.e * v[4];
    out[1] = 2.0f * q.b * v[1] + q.d * v[3] + q.f * v[5];
    out[2] = 2.0f * q.c * v[2] + q.e * v[4] + q.f * v[5];
    out[3] = 2.0f * q.d * (v[0] + v[1]) + (q.a + q.b) * v[3] + q.f * v[4] + q.e * v[5];
    out[4] = 2.0f * q.e * (v[0] + v[2]) + q.f * v[3] + (q.a + q.c) * v[4] + q.d * v[5];
    out[5] = 2.0f * q.f * (v[1] + v[2]) + q.e * v[3] + q.d * v[4] + (q.b + q.c) * v[5];
}

// θ in bits instead of nats, which spares each measurement's signal a conversion.
template <class T> struct Theta2 {
    T log2_s0, D[LINEAR];
};

template <class T> EP_FN Theta2<T> in_bits(const Latent<T>& q) {
    Theta2<T> theta;
    diffusivity(q, theta.D);
    theta.log2_s0 = q.log_s0 * all<T>(LOG2_E);
    EP_UNROLL for (int k = 0; k < LINEAR; ++k) theta.D[k] *= all<T>(LOG2_E);
    return theta;
}

// log₂ of S0 exp(-b gᵀDg)
template <class T> EP_FN T log2_signal(const Theta2<T>& theta, const Element<T>* row) {
    const T diagonal = theta.log2_s0 + theta.D[0] * row[0] + theta.D[1] * row[1] + theta.D[2] * row[2];
    return diagonal + (theta.D[3] * row[3] + theta.D[4] * row[4] + theta.D[5] * row[5]);
}

// A measurement in units of σ. What is not finite or louder than any signal that the model can make is NaN from here
// on: unknown.
template <class T> EP_FN T in_sigma(T y, T inverse_sigma) {
    return select(magnitude(y) <= MAX_SIGNAL, y * inverse_sigma, not_a_number(y));
}

// A measurement against the model's mean magnitude m = √(S² + σ²) (Gudbjartsson & Patz 1995), in units of σ.
template <class T> struct Misfit {
    T residual, slope, bend;  // y - m, 0 where y is unknown (NaN); ∂m/∂ log S; the same of log slope
};

template <class T> EP_FN Misfit<T> misfit(T y, T S) {
    const T S2 = S * S;
    const T m = square_root(S2 + 1.0f), inverse = 1.0f / m;
    const T slope = S2 * inverse;
    return {select(y == y, y - m, T{}), slope, 2.0f - slope * inverse};
}

// The second derivatives of ½ Σ r²: none, Fisher's information JᵀJ, or exact, with the model's own curvature. Misfits
// beyond LOUDEST count as such, but for NONE and FISHER, and for POSTERIOR's Σ r²: START has the information of
// measurements that fit, EXACT the second derivatives of Huber's loss, POSTERIOR the information of reweighted ones.
enum class Second { NONE, FISHER, START, EXACT, POSTERIOR };

// What least squares needs of the measurements, in θ: Σ r², Jᵀr and the second derivatives, Σ w x xᵀ. Packed with the
// monomials of degree four apart, of which a tensor's 21 products have only 15.
template <class T> struct Products {
    T rss;
    T gradient[DIMENSION];
    T information[1 + ROW];
};

#if !defined(EP_THREAD)
// sums[k] = Σ_n weight[n] * table[n][k], a row being STRIDE long: K sums at a time, as many as stay in registers.
template <int K, int STRIDE, class T>
EP_FN void weighted_sums(int n_rows, const T* weight, const Element<T>* table, T* sums) {
    T sum[K] = {};
    for (int n = 0; n < n_rows; ++n) {
        const T w = weight[n];
        EP_UNROLL for (int k = 0; k < K; ++k) sum[k] += w * table[n * STRIDE + k];
    }
    EP_UNROLL for (int k = 0; k < K; ++k) sums[k] = sum[k];
}
#endif

// Adds a measurement to Σ r² and Jᵀr; returns its weight in the second derivatives.
template <Second SECOND, class T> EP_FN T add_measurement(T y, T S, const Element<T>* row, T& rss, T (&gradient)[DIMENSION]) {
    const Misfit<T> fit = misfit(y, S);
    const T r = fit.residual;
    T pulling = r, loss = r * r, weight = fit.slope;
    if (SECOND == Second::START || SECOND == Second::EXACT || SECOND == Second::POSTERIOR) {
        pulling = within(r, -LOUDEST, LOUDEST);
        if (SECOND != Second::POSTERIOR) loss = pulling * (2.0f * r - pulling);
        if (SECOND == Second::EXACT) weight = select(pulling == r, weight, T{}) - pulling * fit.bend;
        if (SECOND == Second::POSTERIOR) weight *= LOUDEST / maximum(magnitude(r), all<T>(LOUDEST));
    }
    const T pull = fit.slope * pulling;
    rss += loss;
    gradient[0] += pull;
    EP_UNROLL for (int k = 0; k < LINEAR; ++k) gradient[1 + k] += pull * row[k];
    return select(y == y, fit.slope * weight, T{});
}

// One pass over a voxel's measurements y[0..N-1], in units of σ. A thread has registers for all the sums. A CPU has not,
// and hides the operations' latencies only if several measurements are at work at once: there the pass is cut into
// stages of few operations each, between which `tile` (N) holds what goes on.
template <Second SECOND, class T, class Measured>
EP_FN void products(int n_rows, const Element<T>* table, const Measured& y, const Latent<T>& q, T* tile, Products<T>& out) {
    const Theta2<T> theta = in_bits(q);
    T rss = T{}, gradient[DIMENSION] = {}, total = T{};
#if defined(EP_THREAD)
    T sums[ROW] = {};
    for (int n = 0; n < n_rows; ++n) {
        const Element<T>* row = table + n * ROW;
        const T S = power_of_two(log2_signal(theta, row));
        const T weight = add_measurement<SECOND>(y[n], S, row, rss, gradient);
        total += weight;
        if (SECOND != Second::NONE) EP_UNROLL for (int k = 0; k < ROW; ++k) sums[k] += weight * row[k];
    }
    EP_UNROLL for (int k = 0; k < ROW; ++k) out.information[1 + k] = sums[k];
#else
    for (int n = 0; n < n_rows; ++n) tile[n] = log2_signal(theta, table + n * ROW);
    for (int n = 0; n < n_rows; ++n) tile[n] = power_of_two(tile[n]);
    for (int n = 0; n < n_rows; ++n) {
        const T weight = add_measurement<SECOND>(y[n], tile[n], table + n * ROW, rss, gradient);
        if (SECOND != Second::NONE) {
            total += weight;
            tile[n] = weight;
        }
    }
    if (SECOND != Second::NONE) {
        weighted_sums<11, ROW>(n_rows, tile, table, out.information + 1);
        weighted_sums<11, ROW>(n_rows, tile, table + 11, out.information + 12);
    }
#endif
    out.information[0] = total;
    out.rss = rss;
    EP_UNROLL for (int k = 0; k < DIMENSION; ++k) out.gradient[k] = gradient[k];
}

// Jᵀr with respect to z.
template <class T>
EP_FN void gradient_in_latent(const Latent<T>& q, const Products<T>& from, T (&gradient)[DIMENSION]) {
    T by_D[LINEAR], by_Q[LINEAR];
    EP_UNROLL for (int k = 0; k < LINEAR; ++k) by_D[k] = from.gradient[1 + k];
    pull_back(q, by_D, by_Q);
    gradient[0] = from.gradient[0];
    EP_UNROLL for (int k = 0; k < LINEAR; ++k) gradient[1 + k] = by_Q[k];
}

// The second derivatives with respect to z, a packed lower triangle: (∂D/∂Q)ᵀ Σ w x xᵀ (∂D/∂Q) and, if they are to be
// exact, the curvature of D = Q² itself under the pull of the measurements.
template <Second SECOND, class T> EP_FN void information_in_latent(const Latent<T>& q, const Products<T>& from, T (&H)[PACKED]) {
    const T* border = from.information + 1;
    const T* m = border + LINEAR;  // xxxx yyyy zzzz xxxy xxxz xyyy yyyz xzzz yzzz xxyy xxzz yyzz xxyz xyyz xyzz
    const T trace = m[QUARTIC] * all<T>(THIRD * THIRD);
    // r(g) r(g)ᵀ, r = (xx, yy, zz, 2xy, 2xz, 2yz), and ⅑ of all products of xx, yy, zz for a trace image
    const T columns[LINEAR][LINEAR] = {
        {m[0] + trace, m[9] + trace, m[10] + trace, 2.0f * m[3], 2.0f * m[4], 2.0f * m[12]},
        {m[9] + trace, m[1] + trace, m[11] + trace, 2.0f * m[5], 2.0f * m[13], 2.0f * m[6]},
        {m[10] + trace, m[11] + trace, m[2] + trace, 2.0f * m[14], 2.0f * m[7], 2.0f * m[8]},
        {2.0f * m[3], 2.0f * m[5], 2.0f * m[14], 4.0f * m[9], 4.0f * m[12], 4.0f * m[13]},
        {2.0f * m[4], 2.0f * m[13], 2.0f * m[7], 4.0f * m[12], 4.0f * m[10], 4.0f * m[14]},
        {2.0f * m[12], 2.0f * m[6], 2.0f * m[8], 4.0f * m[13], 4.0f * m[14], 4.0f * m[11]},
    };
    T half[LINEAR][LINEAR];  // half[j] = (∂D/∂Q)ᵀ column j
    EP_UNROLL for (int j = 0; j < LINEAR; ++j) pull_back(q, columns[j], half[j]);
    const T by_D[LINEAR] = {border[0], border[1], border[2], border[3], border[4], border[5]};
    T by_Q[LINEAR];
    pull_back(q, by_D, by_Q);
    H[0] = from.information[0];
    EP_UNROLL for (int i = 0; i < LINEAR; ++i) H[packed(1 + i, 0)] = by_Q[i];
    EP_UNROLL for (int i = 0; i < LINEAR; ++i) {
        const T row[LINEAR] = {half[0][i], half[1][i], half[2][i], half[3][i], half[4][i], half[5][i]};
        pull_back(q, row, by_Q);
        EP_UNROLL for (int j = 0; j <= i; ++j) H[packed(1 + i, 1 + j)] = by_Q[j];
    }
    if (SECOND == Second::EXACT) {  // minus the matrix that pull_back multiplies q with
        const T* v = from.gradient + 1;
        H[packed(1, 1)] -= 2.0f * v[0];
        H[packed(2, 2)] -= 2.0f * v[1];
        H[packed(3, 3)] -= 2.0f * v[2];
        H[packed(4, 4)] -= 2.0f * (v[0] + v[1]);
        H[packed(5, 5)] -= 2.0f * (v[0] + v[2]);
        H[packed(6, 6)] -= 2.0f * (v[1] + v[2]);
        H[packed(4, 1)] -= v[3];
        H[packed(4, 2)] -= v[3];
        H[packed(6, 5)] -= v[3];
        H[packed(5, 1)] -= v[4];
        H[packed(5, 3)] -= v[4];
        H[packed(6, 4)] -= v[4];
        H[packed(6, 2)] -= v[5];
        H[packed(6, 3)] -= v[5];
        H[packed(5, 4)] -= v[5];
    }
}

}  // namespace EP_NAMESPACE
