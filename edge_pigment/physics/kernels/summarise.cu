// Step 1 on a GPU: one thread per voxel.
#include "summarise.cuh"
#include "thread.cuh"

using namespace EP_NAMESPACE;

namespace {

EP_FN void run(const SummariseTask& task, const float* protocol) {
    const long v = voxel();
    if (v >= task.V) return;
    float* const no_tiles = nullptr;
    summarise_at(task, protocol, v, 1, column_at(task, v), logarithm(sigma_at(task, v)), no_tiles);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(EP_BLOCK) ep_summarise(const __grid_constant__ SummariseTask task) {
    run(task, ep_protocol);
}

extern "C" __global__ void __launch_bounds__(EP_BLOCK) ep_summarise_long(const __grid_constant__ SummariseTask task) {
    run(task, task.protocol);
}
