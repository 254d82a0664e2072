// The kernels for one instruction set. setup.py compiles this file once per set, with its flags and
// EP_NAMESPACE=ep_<set>; host.cpp chooses one at run time.
#include "adapt.cuh"
#include "host.h"
#include "moments.cuh"
#include "summarise.cuh"

namespace EP_NAMESPACE {

constexpr int GROUP = GROUP_VOXELS / WIDTH;
static_assert(WIDTH <= MAX_WIDTH && CHUNK % GROUP_VOXELS == 0, "host.cpp cuts the voxels accordingly");

namespace {

inline int count_of(long v, long last) { return last - v < WIDTH ? int(last - v) : WIDTH; }

// A vector's voxels: where they lie, how many they are, and their measurements.
struct Block {
    long v;
    int count;
    Lanes log_sigma;
    const Lanes* y;  // (N) in units of σ
    Lanes* rest;     // room for further tiles
};

// Calls work(block) for all voxels first..last-1. Their measurements are read from memory once, however many passes
// follow, and some cache lines of a volume at a time: GROUP vectors' tiles (N, WIDTH) one after the other.
template <class Task, class Work>
inline void for_blocks(const Task& task, long first, long last, float* scratch, Work work) {
    Lanes* tiles = reinterpret_cast<Lanes*>(scratch);
    for (long from = first; from < last; from += GROUP * WIDTH) {
        const int vectors = last - from < GROUP * WIDTH ? int((last - from + WIDTH - 1) / WIDTH) : GROUP;
        Lanes sigma[GROUP], inverse_sigma[GROUP];
        for (int j = 0; j < vectors; ++j) {
            const long v = from + j * WIDTH;
            sigma[j] = maximum(load(task.sigma + v, count_of(v, last)), all<Lanes>(MIN_SIGMA));
            inverse_sigma[j] = 1.0f / sigma[j];
        }
        for (int n = 0; n < task.N; ++n)
            for (int j = 0; j < vectors; ++j) {
                const long v = from + j * WIDTH;
                const Lanes y = load(task.y + n * task.V + v, count_of(v, last));
                tiles[j * task.N + n] = in_sigma(y, inverse_sigma[j]);
            }
        for (int j = 0; j < vectors; ++j) {
            const long v = from + j * WIDTH;
            work(Block{v, count_of(v, last), logarithm(sigma[j]), tiles + j * task.N, tiles + GROUP * task.N});
        }
    }
}

void run_summarise(const SummariseTask& task, long first, long last, float* scratch) {
    for_blocks(task, first, last, scratch, [&](const Block& block) {
        summarise_at(task, task.protocol, block.v, block.count, block.y, block.log_sigma, block.rest);
    });
}

void run_adapt(const AdaptTask& task, long first, long last, float* scratch) {
    for_blocks(task, first, last, scratch, [&](const Block& block) {
        adapt_at(task, task.table, block.v, block.count, block.y, block.log_sigma, block.rest);
    });
}

void run_moments(const MomentsTask& task, long first, long last, float*) {
    for (long v = first; v < last; v += WIDTH) moments_at<Lanes>(task, v, count_of(v, last));
}

void run_products(const ProductsTask& task, long first, long last, float* scratch) {
    for_blocks(task, first, last, scratch, [&](const Block& block) {
        const long V = task.V, v = block.v;
        const int count = block.count;
        Lanes z[DIMENSION], gradient[DIMENSION], information[PACKED];
        for (int k = 0; k < DIMENSION; ++k) z[k] = load(task.z + k * V + v, count);
        Latent<Lanes> q = latent(z);
        q.log_s0 = within(q.log_s0, -MAX_LOG_S0, MAX_LOG_S0) - block.log_sigma;
        Products<Lanes> sums;
        if (task.information) {
            products<Second::FISHER>(task.N, task.table, block.y, q, block.rest, sums);
            information_in_latent<Second::FISHER>(q, sums, information);
            for (int k = 0; k < PACKED; ++k) store(task.information + k * V + v, information[k], count);
        } else {
            products<Second::NONE>(task.N, task.table, block.y, q, block.rest, sums);
        }
        gradient_in_latent(q, sums, gradient);
        for (int k = 0; k < DIMENSION; ++k) store(task.gradient + k * V + v, gradient[k], count);
        store(task.rss + v, sums.rss, count);
        if (task.residual) {
            const Theta2<Lanes> theta = in_bits(q);
            for (int n = 0; n < task.N; ++n) {
                const Lanes r = misfit(block.y[n], power_of_two(log2_signal(theta, task.table + n * ROW))).residual;
                store(task.residual + n * V + v, r, count);
            }
        }
    });
}

}  // namespace

#define EP_TEXT(x) #x
#define EP_NAME(x) EP_TEXT(x)
extern const Variant variant;
const Variant variant = {EP_NAME(EP_NAMESPACE), WIDTH, run_summarise, run_adapt, run_moments, run_products};

}  // namespace EP_NAMESPACE
