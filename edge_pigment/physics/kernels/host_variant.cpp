// The kernels for one instruction set. setup.py compiles this file once per set, with its flags and
// EP_NAMESPACE=ep_<set>; host.cpp chooses one at run time.
#include "adapt.cuh"
#include "host.h"
#include "moments.cuh"
#include "summarise.cuh"

namespace EP_NAMESPACE {

static_assert(WIDTH <= MAX_WIDTH, "scratch is too small");

namespace {

inline int count_of(long v, long last) { return last - v < WIDTH ? int(last - v) : WIDTH; }

// A block's measurements side by side, read from memory once however many passes follow; in units of σ. What is not
// finite or louder than any signal that the model can make is NaN from here on: unknown.
inline void fill_tile(int N, long V, const float* y, long v, int count, Lanes inverse_sigma, Lanes* tile) {
    const Lanes loudest = all<Lanes>(3.2690174e6f);  // exp(MAX_LOG_S0)
    const Lanes unknown = all<Lanes>(__builtin_nanf(""));
    for (int n = 0; n < N; ++n) {
        const Lanes value = load(y + n * V + v, count);
        tile[n] = select(magnitude(value) <= loudest, value * inverse_sigma, unknown);
    }
}

inline Lanes sigma_of(const float* sigma, long v, int count) {
    return maximum(load(sigma + v, count), all<Lanes>(MIN_SIGMA));
}

void run_summarise(const SummariseTask& task, long first, long last, float* scratch) {
    Lanes* y = reinterpret_cast<Lanes*>(scratch);
    for (long v = first; v < last; v += WIDTH) {
        const int count = count_of(v, last);
        const Lanes sigma = sigma_of(task.sigma, v, count);
        fill_tile(task.N, task.V, task.y, v, count, 1.0f / sigma, y);
        Lanes theta[DIMENSION], sd[DIMENSION];
        summarise(task.N, task.table, task.basis, task.mean, y, logarithm(sigma), y + task.N,
                  y + 2 * task.N, y + 3 * task.N, theta, sd);
        for (int k = 0; k < DIMENSION; ++k) {
            store(task.theta + k * task.V + v, theta[k], count);
            store(task.sd + k * task.V + v, sd[k], count);
        }
    }
}

void run_adapt(const AdaptTask& task, long first, long last, float* scratch) {
    Lanes* y = reinterpret_cast<Lanes*>(scratch);
    for (long v = first; v < last; v += WIDTH) {
        const int count = count_of(v, last);
        const Lanes sigma = sigma_of(task.sigma, v, count);
        fill_tile(task.N, task.V, task.y, v, count, 1.0f / sigma, y);
        Prior<Lanes> prior;
        for (int k = 0; k < DIMENSION; ++k) prior.mean[k] = load(task.mean + k * task.V + v, count);
        for (int k = 0; k < PACKED; ++k) prior.L[k] = load(task.factor + k * task.V + v, count);
        prepare(prior);
        State<Lanes> at;
        adapt(task.N, task.table, y, logarithm(sigma), prior, task.nu, task.iterations, y + task.N, at);
        Lanes mode[DIMENSION], factor[PACKED], share[2], known = {};
        latent_of(prior, at.zeta, mode);
        posterior(at, prior, factor, share);
        for (int n = 0; n < task.N; ++n) known = known + select(y[n] == y[n], all<Lanes>(1.0f), Lanes{});
        for (int k = 0; k < DIMENSION; ++k) store(task.mode + k * task.V + v, mode[k], count);
        for (int k = 0; k < PACKED; ++k) store(task.posterior_factor + k * task.V + v, factor[k], count);
        store(task.residual + v, square_root(at.rss / maximum(known, all<Lanes>(1.0f))), count);
        store(task.distance + v, at.distance, count);
        for (int k = 0; k < 2; ++k) store(task.share + k * task.V + v, share[k], count);
    }
}

void run_moments(const MomentsTask& task, long first, long last, float*) {
    for (long v = first; v < last; v += WIDTH) {
        const int count = count_of(v, last);
        Lanes mode[DIMENSION], factor[PACKED], out[MOMENTS];
        for (int k = 0; k < DIMENSION; ++k) mode[k] = load(task.mode + k * task.V + v, count);
        for (int k = 0; k < PACKED; ++k) factor[k] = load(task.factor + k * task.V + v, count);
        moments(mode, factor, out);
        for (int k = 0; k < MOMENTS; ++k) store(task.moments + k * task.V + v, out[k], count);
    }
}

void run_products(const ProductsTask& task, long first, long last, float* scratch) {
    Lanes* y = reinterpret_cast<Lanes*>(scratch);
    for (long v = first; v < last; v += WIDTH) {
        const int count = count_of(v, last);
        const Lanes sigma = sigma_of(task.sigma, v, count);
        fill_tile(task.N, task.V, task.y, v, count, 1.0f / sigma, y);
        Lanes z[DIMENSION], gradient[DIMENSION], information[PACKED];
        for (int k = 0; k < DIMENSION; ++k) z[k] = load(task.z + k * task.V + v, count);
        Latent<Lanes> q = latent(z);
        q.log_s0 = within(q.log_s0, -MAX_LOG_S0, MAX_LOG_S0) - logarithm(sigma);
        Products<Lanes> sums;
        if (task.information) {
            products<true>(task.N, task.table, y, q, y + task.N, sums);
            information_in_latent(q, sums, information);
            for (int k = 0; k < PACKED; ++k) store(task.information + k * task.V + v, information[k], count);
        } else {
            products<false>(task.N, task.table, y, q, y + task.N, sums);
        }
        gradient_in_latent(q, sums, gradient);
        for (int k = 0; k < DIMENSION; ++k) store(task.gradient + k * task.V + v, gradient[k], count);
        store(task.rss + v, sums.rss, count);
        if (task.residual) {
            const Theta2<Lanes> theta = in_bits(q);
            for (int n = 0; n < task.N; ++n) {
                const Lanes r = misfit(y[n], signal(theta, task.table + n * ROW)).residual;
                store(task.residual + n * task.V + v, r, count);
            }
        }
    }
}

}  // namespace

#define EP_TEXT(x) #x
#define EP_NAME(x) EP_TEXT(x)
extern const Variant variant;
const Variant variant = {EP_NAME(EP_NAMESPACE), WIDTH, run_summarise, run_adapt, run_moments, run_products};

}  // namespace EP_NAMESPACE
