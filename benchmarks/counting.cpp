// Counts what a thread of a kernel does, by running the kernels with numbers that count. A product that goes straight
// into a sum is one fused multiply-add, as the compilers make it. benchmarks/counting.py compiles and calls this.
#include "../tests/gpu/standin/shim.h"

namespace ep {

enum { FMA, MULTIPLY, ADD, SELECT, INTEGER, DIVIDE, ROOT, KINDS };
static long counts[KINDS];

struct Counting {
    float v;
    bool product = false;  // not used yet: the next sum fuses with it
    Counting(float value = 0.0f, bool is_product = false) : v(value), product(is_product) {}
};
struct CountingInt {
    int v;
};

inline Counting multiplied(Counting a, Counting b) {
    ++counts[MULTIPLY];
    return {a.v * b.v, true};
}
inline Counting added(Counting a, Counting b, float value) {
    const bool fused = a.product || b.product;
    ++counts[fused ? FMA : ADD];
    if (fused) --counts[MULTIPLY];
    return {value};
}
#define EP_OPERATORS(A, B)                                                                              \
    inline Counting operator*(A a, B b) { return multiplied(a, b); }                                    \
    inline Counting operator+(A a, B b) { return added(a, b, Counting(a).v + Counting(b).v); }          \
    inline Counting operator-(A a, B b) { return added(a, b, Counting(a).v - Counting(b).v); }          \
    inline Counting operator/(A a, B b) { ++counts[DIVIDE]; return {Counting(a).v / Counting(b).v}; }   \
    inline bool operator<(A a, B b) { ++counts[SELECT]; return Counting(a).v < Counting(b).v; }         \
    inline bool operator>(A a, B b) { ++counts[SELECT]; return Counting(a).v > Counting(b).v; }         \
    inline bool operator<=(A a, B b) { ++counts[SELECT]; return Counting(a).v <= Counting(b).v; }       \
    inline bool operator>=(A a, B b) { ++counts[SELECT]; return Counting(a).v >= Counting(b).v; }       \
    inline bool operator==(A a, B b) { ++counts[SELECT]; return Counting(a).v == Counting(b).v; }       \
    inline bool operator!=(A a, B b) { ++counts[SELECT]; return Counting(a).v != Counting(b).v; }
EP_OPERATORS(Counting, Counting)
EP_OPERATORS(Counting, float)
EP_OPERATORS(float, Counting)
inline Counting& operator+=(Counting& a, Counting b) { return a = a + b; }
inline Counting& operator-=(Counting& a, Counting b) { return a = a - b; }
inline Counting& operator*=(Counting& a, Counting b) { return a = a * b; }

inline CountingInt counted(int v) {
    ++counts[INTEGER];
    return {v};
}
inline CountingInt operator&(CountingInt a, int b) { return counted(a.v & b); }
inline CountingInt operator>>(CountingInt a, int b) { return counted(a.v >> b); }
inline CountingInt operator<<(CountingInt a, int b) { return counted(int(unsigned(a.v) << b)); }
inline CountingInt operator+(CountingInt a, CountingInt b) { return counted(int(unsigned(a.v) + unsigned(b.v))); }
inline CountingInt operator+(CountingInt a, int b) { return counted(int(unsigned(a.v) + unsigned(b))); }
inline CountingInt operator-(CountingInt a, int b) { return counted(int(unsigned(a.v) - unsigned(b))); }
inline CountingInt as_int(Counting x) { return {__float_as_int(x.v)}; }
inline Counting as_float(CountingInt i) { return {__int_as_float(i.v)}; }
inline Counting square_root(Counting x) { ++counts[ROOT]; return {std::sqrt(x.v)}; }
inline Counting minimum(Counting a, Counting b) { ++counts[SELECT]; return {std::fmin(a.v, b.v)}; }
inline Counting maximum(Counting a, Counting b) { ++counts[SELECT]; return {std::fmax(a.v, b.v)}; }
inline Counting not_a_number(Counting) { return {__int_as_float(0x7fc00000)}; }
inline void store(float* to, Counting x, int) { *to = x.v; }

}  // namespace ep

#include "../edge_pigment/physics/kernels/lane.cuh"

namespace ep {
template <> inline Counting all<Counting>(double a) { return {float(a)}; }
template <> inline Counting select<bool, Counting>(bool mask, Counting yes, Counting no) {
    ++counts[SELECT];
    return {mask ? yes.v : no.v};
}
}  // namespace ep

#include "../edge_pigment/physics/kernels/adapt.cuh"
#include "../edge_pigment/physics/kernels/moments.cuh"
#include "../edge_pigment/physics/kernels/summarise.cuh"

using namespace ep;

namespace {

struct Column {
    const float* first;
    long V;
    float inverse_sigma;
    Counting operator[](int n) const { return in_sigma(Counting(first[n * V]), Counting(inverse_sigma)); }
};

template <class Task, class Work> void over(const Task& task, long* out, Work work) {
    for (long& count : counts) count = 0;
    for (long v = 0; v < task.V; ++v) work(v);
    for (int k = 0; k < KINDS; ++k) out[k] = counts[k];
}

template <class Task> Column column(const Task& task, long v) { return {task.y + v, task.V, 1.0f / task.sigma[v]}; }
template <class Task> Counting log_sigma(const Task& task, long v) { return logarithm(Counting(task.sigma[v])); }

}  // namespace

// Sums over all voxels of a task, in the order of the kinds above.
extern "C" __attribute__((visibility("default"))) void count_summarise(const SummariseTask* task, long* out) {
    Counting* none = nullptr;
    over(*task, out, [&](long v) {
        summarise_at(*task, task->protocol, v, 1, column(*task, v), log_sigma(*task, v), none);
    });
}
extern "C" __attribute__((visibility("default"))) void count_adapt(const AdaptTask<float>* task, long* out) {
    Counting* none = nullptr;
    over(*task, out, [&](long v) {
        adapt_at(*task, task->table, v, 1, column(*task, v), log_sigma(*task, v), none);
    });
}
extern "C" __attribute__((visibility("default"))) void count_moments(const MomentsTask<float>* task, long* out) {
    over(*task, out, [&](long v) { moments_at<Counting>(*task, v, 1); });
}
