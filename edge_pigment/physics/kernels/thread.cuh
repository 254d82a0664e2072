// What a CUDA thread needs beside the kernels: its voxel, its measurements, the protocol. No thread waits for another:
// there is no barrier and no shared memory.
#pragma once
#include "tensor.cuh"

// The protocol, as long as it fits: all threads read the same word at a time, which constant memory is made for. A
// longer one is read from global memory, by the kernels whose names end in _long.
#define EP_CONSTANT_FLOATS 16384
extern "C" __constant__ float ep_protocol[EP_CONSTANT_FLOATS];
__constant__ float ep_protocol[EP_CONSTANT_FLOATS];

// Threads of a block; with it, registers suffice for every sum. physics/cuda.py launches as many.
#define EP_BLOCK 128

namespace EP_NAMESPACE {

EP_FN long voxel() { return long(blockIdx.x) * blockDim.x + threadIdx.x; }

// A voxel's measurements, read where they lie, (N, V), in units of σ. Neighbouring threads read neighbouring words; what
// a pass has read, the next one finds in the cache.
struct Column {
    const float* first;
    long V;
    float inverse_sigma;
    EP_FN float operator[](int n) const { return in_sigma(first[n * V], inverse_sigma); }
};

template <class Task> EP_FN float sigma_at(const Task& task, long v) { return maximum(task.sigma[v], MIN_SIGMA); }

template <class Task> EP_FN Column column_at(const Task& task, long v) {
    return {task.y + v, task.V, 1.0f / sigma_at(task, v)};
}

}  // namespace EP_NAMESPACE
