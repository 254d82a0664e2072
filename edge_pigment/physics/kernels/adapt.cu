// Step 3 on a GPU: one thread per voxel, all iterations in one launch, the state in registers.
#include "adapt.cuh"
#include "thread.cuh"

using namespace EP_NAMESPACE;

namespace {

// At once on a multiprocessor: 168 registers a thread, the fewest without any spilt, leave room for as many.
constexpr int BLOCKS = 3;

EP_FN void run(const AdaptTask<float>& task, const float* table) {
    const long v = voxel();
    if (v >= task.V) return;
    float* const no_tile = nullptr;
    adapt_at(task, table, v, 1, column_at(task, v), logarithm(sigma_at(task, v)), no_tile);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(EP_BLOCK, BLOCKS) ep_adapt(const __grid_constant__ AdaptTask<float> task) {
    run(task, ep_protocol);
}

extern "C" __global__ void __launch_bounds__(EP_BLOCK, BLOCKS) ep_adapt_long(const __grid_constant__ AdaptTask<float> task) {
    run(task, task.table);
}
