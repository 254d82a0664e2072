// What one instruction set's variant offers to host.cpp. Plain C types: a variant must not instantiate anything of
// the standard library, for the linker keeps one copy of it, perhaps one that this machine cannot run.
#pragma once
#include "tasks.h"

// The model alone, for tests and the benchmark: r (N, V) if not null, Σ r², Jᵀr (7, V), and JᵀJ (28, V) if not null.
struct ProductsTask {
    long V;
    int N;
    const float *table, *y, *sigma, *z;
    float *residual, *rss, *gradient, *information;
};

// A thread takes CHUNK voxels at a time, and reads the measurements of GROUP_VOXELS at a time into its scratch.
constexpr long CHUNK = 1024;
constexpr int GROUP_VOXELS = 64;
constexpr int MAX_WIDTH = 16;

// Bytes of a thread's scratch, 64-aligned: a group's measurements, and three tiles of one vector; doubles fit in, too.
constexpr unsigned long scratch_size(int N) {
    return sizeof(double) * (GROUP_VOXELS + 3ul * MAX_WIDTH) * (N > 0 ? N : 1);
}

// Each works on voxels first..last-1, first a multiple of GROUP_VOXELS.
struct Variant {
    const char* name;
    int width;
    void (*summarise)(const SummariseTask&, long first, long last, void* scratch);
    void (*adapt)(const AdaptTask<float>&, long first, long last, void* scratch);
    void (*moments)(const MomentsTask<float>&, long first, long last, void* scratch);
    void (*products)(const ProductsTask&, long first, long last, void* scratch);
    void (*adapt_double)(const AdaptTask<double>&, long first, long last, void* scratch);
    void (*moments_double)(const MomentsTask<double>&, long first, long last, void* scratch);
};
