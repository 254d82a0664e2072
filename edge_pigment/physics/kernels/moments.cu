// The maps on a GPU: one thread per voxel.
#include "moments.cuh"
#include "thread.cuh"

using namespace EP_NAMESPACE;

extern "C" __global__ void __launch_bounds__(EP_BLOCK) ep_moments(const __grid_constant__ MomentsTask<float> task) {
    const long v = voxel();
    if (v < task.V) moments_at<float>(task, v, 1);
}
