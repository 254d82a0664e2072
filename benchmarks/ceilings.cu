// What a GPU can do at most, measured: copying, and fused multiply-adds that depend on nothing but registers.
struct CopyTask {
    long count;  // of four floats
    const float4* from;
    float4* to;
};

struct FmaTask {
    int rounds;
    float a, b;
    float* out;  // written by nobody, but the compiler cannot know
};

extern "C" __global__ void __launch_bounds__(256) ep_ceilings_copy(const __grid_constant__ CopyTask task) {
    const long i = long(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < task.count) task.to[i] = task.from[i];
}

extern "C" __global__ void __launch_bounds__(256) ep_ceilings_fma(const __grid_constant__ FmaTask task) {
    float x[16];
#pragma unroll
    for (int k = 0; k < 16; ++k) x[k] = float(threadIdx.x + k);
    for (int round = 0; round < task.rounds; ++round)
#pragma unroll
        for (int k = 0; k < 16; ++k) x[k] = x[k] * task.a + task.b;
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < 16; ++k) sum += x[k];
    if (sum == 12345.678f) task.out[0] = sum;
}
