// Put before a .cu file, it makes g++ compile the file's kernels as plain functions, and adds the loop that runs their
// threads one after the other. What a kernel computes is the same; how fast, and what a race would do, is not.
#pragma once
#include <cmath>
#include <cstring>

#define EP_THREAD
#define __global__ __attribute__((visibility("default")))
#define __constant__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct float4 {
    float x, y, z, w;
};
struct Index {
    unsigned x, y, z;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

static inline int __float_as_int(float x) {
    int i;
    std::memcpy(&i, &x, sizeof i);
    return i;
}
static inline float __int_as_float(int i) {
    float x;
    std::memcpy(&x, &i, sizeof x);
    return x;
}

// A kernel's only argument, a struct of at most this size, is passed as this one: by all 64-bit ABIs that matter
// (System V x86-64, AAPCS64) a struct longer than 16 bytes lies in memory, and its beginning is where it is expected.
struct Arguments {
    long words[64];
};

extern "C" __attribute__((visibility("default"))) void standin_run(void (*kernel)(Arguments), const Arguments* arguments,
                                                                   unsigned grid, unsigned block) {
    gridDim = {grid, 1, 1};
    blockDim = {block, 1, 1};
    for (blockIdx = {0, 0, 0}; blockIdx.x < grid; ++blockIdx.x)
        for (threadIdx = {0, 0, 0}; threadIdx.x < block; ++threadIdx.x) kernel(*arguments);
}
