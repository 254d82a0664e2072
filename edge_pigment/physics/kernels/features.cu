// Between the kernels and a network on the same GPU, as in prior/features.py: one thread per cell of the grid.
#include "tasks.h"
#include "thread.cuh"

using namespace EP_NAMESPACE;

namespace {

constexpr int VOXEL_CHANNELS = 2 * DIMENSION + 1, SLICES = 3, CHANNELS = SLICES * VOXEL_CHANNELS;
constexpr float SD_SCALE = 0.5f;
constexpr float LOG_PRIOR_SD_OFF_DIAGONAL = -0.34657359f;  // of an off-diagonal element, log √½; of the others it is 0

// Channel c of a voxel: θ minus the summary's own prior mean, log(sd / prior sd), 1; all 0 outside the mask.
EP_FN float feature(const FeaturesTask& task, int v, int c) {
    if (v < 0) return 0.0f;
    if (c < DIMENSION) return task.theta[c * task.V + v] - (c >= 1 && c <= 3 ? 1.0f : 0.0f);
    if (c == 2 * DIMENSION) return 1.0f;
    const int k = c - DIMENSION;
    return SD_SCALE * (logarithm(task.sd[k * task.V + v]) - (k >= 4 ? LOG_PRIOR_SD_OFF_DIAGONAL : 0.0f));
}

}  // namespace

extern "C" __global__ void __launch_bounds__(EP_BLOCK) ep_features(const __grid_constant__ FeaturesTask task) {
    const long plane = long(task.Y) * task.X, cell = voxel();
    if (cell >= task.Z * plane) return;
    const long z = cell / plane, at = cell % plane;
    const int v = task.where[cell];
    for (int c = 0; c < VOXEL_CHANNELS; ++c) {
        const float value = feature(task, v, c);
        // this slice lies below the next one, is itself, and lies above the last one
        for (int place = 0; place < SLICES; ++place) {
            const long slice = z + 1 - place;
            if (slice >= 0 && slice < task.Z)
                task.stack[(slice * CHANNELS + place * VOXEL_CHANNELS + c) * plane + at] = value;
        }
        if (z == 0) task.stack[c * plane + at] = 0.0f;
        if (z == task.Z - 1) task.stack[(z * CHANNELS + 2 * VOXEL_CHANNELS + c) * plane + at] = 0.0f;
    }
}

extern "C" __global__ void __launch_bounds__(EP_BLOCK) ep_features_take(const __grid_constant__ TakeTask task) {
    const long i = voxel();
    if (i >= task.count) return;
    const int v = task.voxels[i];
    for (int k = 0; k < DIMENSION; ++k) task.taken[long(k) * task.count + i] = task.mean[k * task.V + v];
    for (int k = 0; k < PACKED; ++k) task.taken[long(DIMENSION + k) * task.count + i] = task.factor[k * task.V + v];
}

extern "C" __global__ void __launch_bounds__(EP_BLOCK) ep_features_gather(const __grid_constant__ GatherTask task) {
    const long plane = long(task.Y) * task.X, cell = voxel();
    if (cell >= task.Z * plane) return;
    const long z = cell / plane, at = cell % plane;
    const int v = task.where[cell];
    if (v < 0) return;
    for (int k = 0; k < DIMENSION; ++k)
        task.mean[k * task.V + v] = task.mean_slices[(z * DIMENSION + k) * plane + at];
    for (int k = 0; k < PACKED; ++k)
        task.factor[k * task.V + v] = task.factor_slices[(z * PACKED + k) * plane + at];
}
