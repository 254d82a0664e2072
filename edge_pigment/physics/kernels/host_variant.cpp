// The kernels for one instruction set. setup.py compiles this file once per set, with its flags and
// EP_NAMESPACE=ep_<set>; host.cpp chooses one at run time.
#include "adapt.cuh"
#include "host.h"
#include "moments.cuh"
#include "summarise.cuh"

namespace EP_NAMESPACE {

static_assert(WIDTH <= MAX_WIDTH && CHUNK % GROUP_VOXELS == 0, "host.cpp cuts the voxels accordingly");

namespace {

template <class T> constexpr int width = sizeof(T) / sizeof(Element<T>);

template <class T> inline int count_of(long v, long last) { return last - v < width<T> ? int(last - v) : width<T>; }

// A vector's voxels: where they lie, how many they are, and their measurements.
template <class T> struct Block {
    long v;
    int count;
    T log_sigma;
    const T* y;  // (N) in units of σ
    T* rest;     // room for further tiles
};

// Calls work(block) for all voxels first..last-1. Their measurements are read from memory once, however many passes
// follow, and some cache lines of a volume at a time: the tiles (N, width) of a group's vectors one after the other.
template <class T, class Task, class Work>
inline void for_blocks(const Task& task, long first, long last, void* scratch, Work work) {
    constexpr int group = GROUP_VOXELS / width<T>;
    T* tiles = static_cast<T*>(scratch);
    for (long from = first; from < last; from += GROUP_VOXELS) {
        const int vectors = last - from < GROUP_VOXELS ? int((last - from + width<T> - 1) / width<T>) : group;
        T sigma[group], inverse_sigma[group];
        for (int j = 0; j < vectors; ++j) {
            const long v = from + j * width<T>;
            sigma[j] = maximum(load(task.sigma + v, count_of<T>(v, last)), all<T>(MIN_SIGMA));
            inverse_sigma[j] = 1.0f / sigma[j];
        }
        for (int n = 0; n < task.N; ++n)
            for (int j = 0; j < vectors; ++j) {
                const long v = from + j * width<T>;
                const T y = load(task.y + n * task.V + v, count_of<T>(v, last));
                tiles[j * task.N + n] = in_sigma(y, inverse_sigma[j]);
            }
        for (int j = 0; j < vectors; ++j) {
            const long v = from + j * width<T>;
            work(Block<T>{v, count_of<T>(v, last), logarithm(sigma[j]), tiles + j * task.N, tiles + group * task.N});
        }
    }
}

void run_summarise(const SummariseTask& task, long first, long last, void* scratch) {
    for_blocks<Lanes>(task, first, last, scratch, [&](const Block<Lanes>& block) {
        summarise_at(task, task.protocol, block.v, block.count, block.y, block.log_sigma, block.rest);
    });
}

template <class T> void run_adapt(const AdaptTask<Element<T>>& task, long first, long last, void* scratch) {
    for_blocks<T>(task, first, last, scratch, [&](const Block<T>& block) {
        adapt_at(task, task.table, block.v, block.count, block.y, block.log_sigma, block.rest);
    });
}

template <class T> void run_moments(const MomentsTask<Element<T>>& task, long first, long last, void*) {
    for (long v = first; v < last; v += width<T>) moments_at<T>(task, v, count_of<T>(v, last));
}

void run_products(const ProductsTask& task, long first, long last, void* scratch) {
    for_blocks<Lanes>(task, first, last, scratch, [&](const Block<Lanes>& block) {
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
const Variant variant = {EP_NAME(EP_NAMESPACE), WIDTH,          run_summarise,      run_adapt<Lanes>,
                         run_moments<Lanes>,    run_products,   run_adapt<Doubles>, run_moments<Doubles>};

}  // namespace EP_NAMESPACE
