// The kernels on a CPU: plain C functions for ctypes. The width is chosen at run time: the widest instruction set
// that both this library and this machine have, or the one that EDGE_PIGMENT_ISA names. Voxels are independent and
// each is computed alike wherever it lies, so that results do not depend on the number of threads, bit by bit.
#include "host.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#define EP_DECLARE(set) namespace ep_##set { extern const Variant variant; }
#if defined(EP_HAS_SSE2)
EP_DECLARE(sse2)
#endif
#if defined(EP_HAS_AVX2)
EP_DECLARE(avx2)
#endif
#if defined(EP_HAS_AVX512)
EP_DECLARE(avx512)
#endif
#if defined(EP_HAS_NEON)
EP_DECLARE(neon)
#endif
#if defined(EP_HAS_GENERIC)
EP_DECLARE(generic)
#endif

namespace {

struct Choice {
    const char* name;
    const Variant* variant;
    bool runs_here;
};

// Narrowest first.
const std::vector<Choice>& choices() {
    static const std::vector<Choice> list = {
#if defined(EP_HAS_GENERIC)
        {"generic", &ep_generic::variant, true},
#endif
#if defined(EP_HAS_NEON)
        {"neon", &ep_neon::variant, true},
#endif
#if defined(EP_HAS_SSE2)
        {"sse2", &ep_sse2::variant, true},
#endif
#if defined(EP_HAS_AVX2)
        {"avx2", &ep_avx2::variant, bool(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))},
#endif
#if defined(EP_HAS_AVX512)
        {"avx512", &ep_avx512::variant,
         bool(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))},
#endif
    };
    return list;
}

const Choice* find(const char* name) {
    const Choice* found = nullptr;
    for (const Choice& choice : choices()) {
        if (!choice.runs_here) continue;
        if (name == nullptr || *name == 0 || std::strcmp(name, choice.name) == 0) found = &choice;
    }
    return found;
}

enum Status { DONE = 0, NO_SUCH_ISA = 1, OUT_OF_MEMORY = 2 };

// Runs work(first, last, scratch) over all voxels, `size` at a time, the caller's thread among `threads`.
template <class Work> int in_chunks(long V, int N, int threads, Work work, long size = CHUNK) {
    const long chunks = (V + size - 1) / size;
    const std::size_t bytes = scratch_size(N);  // a multiple of 64
    std::atomic<long> next{0};
    std::atomic<int> status{DONE};
    auto worker = [&]() {
        void* scratch = std::aligned_alloc(64, bytes);
        if (scratch == nullptr) {
            status = OUT_OF_MEMORY;
            return;
        }
        for (long chunk = next++; chunk < chunks; chunk = next++)
            work(chunk * size, (chunk + 1) * size < V ? (chunk + 1) * size : V, scratch);
        std::free(scratch);
    };
    std::vector<std::thread> others;
    try {
        for (long i = 1; i < threads && i < chunks; ++i) others.emplace_back(worker);
    } catch (const std::exception&) {
        // the machine gives no more threads: those that there are do the work
    }
    worker();
    for (std::thread& thread : others) thread.join();
    return status;
}

}  // namespace

#define EP_EXPORT __attribute__((visibility("default")))

extern "C" {

// The names of the instruction sets that run here, narrowest first, one per call; null past the last.
EP_EXPORT const char* ep_isa(int index) {
    for (const Choice& choice : choices())
        if (choice.runs_here && index-- == 0) return choice.name;
    return nullptr;
}

// The one that `isa` (null or "": the widest) selects; null if there is none of that name here.
EP_EXPORT const char* ep_chosen(const char* isa) {
    const Choice* choice = find(isa);
    return choice ? choice->name : nullptr;
}

EP_EXPORT int ep_summarise(const char* isa, int threads, long V, int N, const float* protocol, const float* y,
                           const float* sigma, float* theta, float* sd) {
    const Choice* choice = find(isa);
    if (choice == nullptr) return NO_SUCH_ISA;
    const SummariseTask task = {V, N, protocol, y, sigma, theta, sd};
    return in_chunks(V, N, threads, [&](long first, long last, void* scratch) {
        choice->variant->summarise(task, first, last, scratch);
    });
}

EP_EXPORT int ep_adapt(const char* isa, int threads, long V, int N, int iterations, float nu, const float* table,
                       const float* y, const float* sigma, const float* mean, const float* factor, float* mode,
                       float* posterior_factor, float* residual, float* distance, float* share) {
    const Choice* choice = find(isa);
    if (choice == nullptr) return NO_SUCH_ISA;
    const AdaptTask<float> task = {V,    N,    iterations,       nu,       table,    y,    sigma, mean, factor,
                                   mode, posterior_factor, residual, distance, share};
    return in_chunks(V, N, threads, [&](long first, long last, void* scratch) {
        choice->variant->adapt(task, first, last, scratch);
    });
}

EP_EXPORT int ep_moments(const char* isa, int threads, long V, const float* mode, const float* factor, float* moments) {
    const Choice* choice = find(isa);
    if (choice == nullptr) return NO_SUCH_ISA;
    const MomentsTask<float> task = {V, mode, factor, moments};
    return in_chunks(V, 0, threads, [&](long first, long last, void* scratch) {
        choice->variant->moments(task, first, last, scratch);
    });
}

// Both in double, for the voxels that floats cannot decide: few, so fewer at a time.
EP_EXPORT int ep_adapt_double(const char* isa, int threads, long V, int N, int iterations, double nu,
                              const double* table, const double* y, const double* sigma, const double* mean,
                              const double* factor, double* mode, double* posterior_factor, double* residual,
                              double* distance, double* share, double* moments) {
    const Choice* choice = find(isa);
    if (choice == nullptr) return NO_SUCH_ISA;
    const AdaptTask<double> adapt = {V,    N,    iterations,       nu,       table,    y,      sigma, mean, factor,
                                     mode, posterior_factor, residual, distance, share};
    const MomentsTask<double> integrate = {V, mode, posterior_factor, moments};
    const auto both = [&](long first, long last, void* scratch) {
        choice->variant->adapt_double(adapt, first, last, scratch);
        choice->variant->moments_double(integrate, first, last, scratch);
    };
    return in_chunks(V, N, threads, both, GROUP_VOXELS);
}

// For tests and the benchmark only.
EP_EXPORT int ep_products(const char* isa, int threads, long V, int N, const float* table, const float* y,
                          const float* sigma, const float* z, float* residual, float* rss, float* gradient,
                          float* information) {
    const Choice* choice = find(isa);
    if (choice == nullptr) return NO_SUCH_ISA;
    const ProductsTask task = {V, N, table, y, sigma, z, residual, rss, gradient, information};
    return in_chunks(V, N, threads, [&](long first, long last, void* scratch) {
        choice->variant->products(task, first, last, scratch);
    });
}

}  // extern "C"
