// What the kernels are told: plain C, read alike by the CPU's library and, as a launch's only argument, by CUDA threads.
#pragma once

// All arrays float32, structure of arrays over V voxels; see physics/backend.py and physics/protocol.py.
struct SummariseTask {
    long V;
    int N;
    const float *protocol, *y, *sigma;  // protocol: basis, mean and table of protocol.SummaryBasis
    float *theta, *sd;
};

struct AdaptTask {
    long V;
    int N, iterations;
    float nu;
    const float *table, *y, *sigma, *mean, *factor;
    float *mode, *posterior_factor, *residual, *distance, *share;
};

struct MomentsTask {
    long V;
    const float *mode, *factor;
    float* moments;
};
