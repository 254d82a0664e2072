// What the kernels are told: plain structs, read alike by the CPU's library and, as a launch's only argument, by CUDA threads.
#pragma once

// All arrays float32, structure of arrays over V voxels; see physics/backend.py and physics/protocol.py. Those that have
// a Number are made of that, and are computed with it.
struct SummariseTask {
    long V;
    int N;
    const float *protocol, *y, *sigma;  // protocol: basis, mean and table of protocol.SummaryBasis
    float *theta, *sd;
};

template <class Number> struct AdaptTask {
    long V;
    int N, iterations;
    Number nu;
    const Number *table, *y, *sigma, *mean, *factor;
    Number *mode, *posterior_factor, *residual, *distance, *share;  // residual: negative where not converged
};

template <class Number> struct MomentsTask {
    long V;
    const Number *mode, *factor;
    Number* moments;
};

// The network's input from summaries and back (prior/features.py): `where` (Z, Y, X) holds a voxel's number, or -1.
struct FeaturesTask {
    long V;
    int Z, Y, X;
    const int* where;
    const float *theta, *sd;
    float* stack;  // (Z, 45, Y, X)
};

// Columns of the prior, (7, V) and (28, V) become (35, count): those of the voxels of these numbers.
struct TakeTask {
    long V;
    int count;
    const int* voxels;
    const float *mean, *factor;
    float* taken;
};

// Slices first..first+Z-1 of the network's outputs, (Z, 7, Y, X) and (Z, 28, Y, X); `where` of those slices.
struct GatherTask {
    long V;
    int Z, Y, X;
    const int* where;
    const float *mean_slices, *factor_slices;
    float *mean, *factor;
};
