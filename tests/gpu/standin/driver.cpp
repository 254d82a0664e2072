// A stand-in for libcuda: as much of the driver API as PyCUDA calls for the kernels of edge-pigment, on a CPU. A module
// is recognised by the fatbin that is loaded, and its kernels are those that g++ made of the same sources. What a
// stream is told is done when something waits for it, not before, so that a result read too early is seen to be wrong.
//
// EDGE_PIGMENT_STANDIN_MODULES: folder of the compiled modules (NAME.so); EDGE_PIGMENT_KERNELS: of the fatbins.
// The functions standin_*, at the end, are for the tests.
#include <cuda.h>
#include <dlfcn.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "standin.h"

namespace {

State state;

struct Module {
    void* library;
    std::string name;
};

struct Function {
    void* entry;
    void (*run)(void*, const void*, unsigned, unsigned);
};

struct Event {
    std::chrono::steady_clock::time_point at;
};

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Which of the modules an image is: a fatbin by its bytes, a cubin by the names of its kernels.
std::string name_of(const void* image) {
    const char* bytes = static_cast<const char*>(image);
    unsigned magic;
    std::memcpy(&magic, bytes, sizeof magic);
    const char* kernels = std::getenv("EDGE_PIGMENT_KERNELS");
    for (const char* name : {"summarise", "adapt", "moments", "features", "ceilings"}) {
        if (magic == 0xBA55ED50 && kernels) {
            const std::string content = read_file(std::string(kernels) + "/" + name + ".fatbin");
            if (!content.empty() && std::memcmp(content.data(), bytes, content.size()) == 0) return name;
        }
        if (magic == 0x464C457F) {  // ELF: its section headers are its end
            unsigned long long sections;
            unsigned short size, count;
            std::memcpy(&sections, bytes + 40, 8);
            std::memcpy(&size, bytes + 58, 2);
            std::memcpy(&count, bytes + 60, 2);
            const std::string content(bytes, sections + size * count);
            if (content.find(std::string("ep_") + name) != std::string::npos) return name;
        }
    }
    return "";
}

CUresult load(CUmodule* module, const void* image) {
    const std::string name = name_of(image);
    unsigned magic;
    std::memcpy(&magic, image, sizeof magic);
    if (name.empty()) return CUDA_ERROR_INVALID_IMAGE;
    if (state.no_binary && magic == 0xBA55ED50) return CUDA_ERROR_NO_BINARY_FOR_GPU;
    const char* folder = std::getenv("EDGE_PIGMENT_STANDIN_MODULES");
    void* library = dlopen((std::string(folder ? folder : ".") + "/" + name + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) return CUDA_ERROR_FILE_NOT_FOUND;
    *module = reinterpret_cast<CUmodule>(new Module{library, name});
    return CUDA_SUCCESS;
}

CUresult copy_2d(const CUDA_MEMCPY2D* c) {
    const bool up = c->dstMemoryType == CU_MEMORYTYPE_DEVICE, from_device = c->srcMemoryType == CU_MEMORYTYPE_DEVICE;
    char* to = up ? reinterpret_cast<char*>(c->dstDevice) : static_cast<char*>(c->dstHost);
    const char* from = from_device ? reinterpret_cast<const char*>(c->srcDevice) : static_cast<const char*>(c->srcHost);
    if ((up && !state.holds(to)) || (from_device && !state.holds(from))) return CUDA_ERROR_INVALID_VALUE;
    to += c->dstY * c->dstPitch + c->dstXInBytes;
    from += c->srcY * c->srcPitch + c->srcXInBytes;
    if (up && !from_device) state.bytes_up += c->WidthInBytes * c->Height;
    if (!up && from_device) state.bytes_down += c->WidthInBytes * c->Height;
    const CUDA_MEMCPY2D copy = *c;
    state.later([=] {
        for (size_t row = 0; row < copy.Height; ++row)
            std::memcpy(to + row * copy.dstPitch, from + row * copy.srcPitch, copy.WidthInBytes);
    });
    return CUDA_SUCCESS;
}

}  // namespace

#define CALL(name, ...)                                          \
    extern "C" CUresult CUDAAPI name(__VA_ARGS__) {              \
        if (const CUresult error = state.enter(#name)) return error;
#define END                  \
        return CUDA_SUCCESS; \
    }

// --- device and context
CALL(cuInit, unsigned) END
CALL(cuDriverGetVersion, int* version) *version = CUDA_VERSION; END
CALL(cuDeviceGetCount, int* count) *count = state.devices; END
CALL(cuDeviceGet, CUdevice* device, int) *device = 0; END
CALL(cuDeviceGetName, char* name, int size, CUdevice) std::strncpy(name, "stand-in, no GPU", size); END
CALL(cuDeviceTotalMem, size_t* bytes, CUdevice) *bytes = state.memory; END
CALL(cuDeviceComputeCapability, int* major, int* minor, CUdevice) *major = state.sm / 10; *minor = state.sm % 10; END
CALL(cuDeviceGetAttribute, int* value, CUdevice_attribute attribute, CUdevice)
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = state.sm / 10; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = state.sm % 10; break;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 1; break;
        case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 1000000; break;
        case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 1 << 20; break;
        case CU_DEVICE_ATTRIBUTE_INTEGRATED: *value = state.integrated; break;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
        default: *value = 0;
    }
END
CALL(cuDevicePrimaryCtxRetain, CUcontext* context, CUdevice)
    ++state.primary;
    *context = reinterpret_cast<CUcontext>(&state);
END
CALL(cuDevicePrimaryCtxRelease, CUdevice)
    if (--state.primary < 0) return CUDA_ERROR_INVALID_CONTEXT;
END
CALL(cuCtxPushCurrent, CUcontext context) state.contexts.push_back(context); END
CALL(cuCtxPopCurrent, CUcontext* context)
    if (state.contexts.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    *context = state.contexts.back();
    state.contexts.pop_back();
END
CALL(cuCtxGetDevice, CUdevice* device)
    if (state.contexts.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    *device = 0;
END
CALL(cuCtxSynchronize) state.finish(); END

// --- memory
CALL(cuMemGetInfo, size_t* free, size_t* total) *free = state.memory - state.allocated; *total = state.memory; END
CALL(cuMemAlloc, CUdeviceptr* pointer, size_t bytes)
    if (state.contexts.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    if (state.allocated + bytes > state.memory) return CUDA_ERROR_OUT_OF_MEMORY;
    *pointer = state.allocate(bytes);
END
CALL(cuMemFree, CUdeviceptr pointer)
    state.finish();
    if (!state.release(pointer)) return CUDA_ERROR_INVALID_VALUE;
END
CALL(cuMemHostAlloc, void** pointer, size_t bytes, unsigned)
    *pointer = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    state.pinned[static_cast<char*>(*pointer)] = bytes;
END
CALL(cuMemFreeHost, void* pointer)
    state.finish();
    if (!state.pinned.erase(static_cast<char*>(pointer))) return CUDA_ERROR_INVALID_VALUE;
    std::free(pointer);
END
CALL(cuMemcpyHtoDAsync, CUdeviceptr to, const void* from, size_t bytes, CUstream)
    if (!state.holds(reinterpret_cast<char*>(to), bytes)) return CUDA_ERROR_INVALID_VALUE;
    state.bytes_up += bytes;
    if (state.is_pinned(from)) {
        state.later([=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); });
    } else {  // a driver copies pageable memory into a buffer of its own before it returns
        const std::vector<char> staged(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
        state.later([=] { std::memcpy(reinterpret_cast<void*>(to), staged.data(), bytes); });
    }
END
CALL(cuMemcpyDtoHAsync, void* to, CUdeviceptr from, size_t bytes, CUstream)
    if (!state.holds(reinterpret_cast<char*>(from), bytes)) return CUDA_ERROR_INVALID_VALUE;
    state.bytes_down += bytes;
    state.later([=] { std::memcpy(to, reinterpret_cast<void*>(from), bytes); });
END
CALL(cuMemcpyHtoD, CUdeviceptr to, const void* from, size_t bytes)
    if (!state.holds(reinterpret_cast<char*>(to), bytes)) return CUDA_ERROR_INVALID_VALUE;
    state.finish();
    state.bytes_up += bytes;
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
END
CALL(cuMemcpyDtoH, void* to, CUdeviceptr from, size_t bytes)
    if (!state.holds(reinterpret_cast<char*>(from), bytes)) return CUDA_ERROR_INVALID_VALUE;
    state.finish();
    state.bytes_down += bytes;
    std::memcpy(to, reinterpret_cast<void*>(from), bytes);
END
CALL(cuMemcpyDtoDAsync, CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream)
    state.later([=] { std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes); });
END
CALL(cuMemcpy2DAsync, const CUDA_MEMCPY2D* copy, CUstream)
    if (const CUresult error = copy_2d(copy)) return error;
END
CALL(cuMemcpy2D, const CUDA_MEMCPY2D* copy)
    state.finish();
    if (const CUresult error = copy_2d(copy)) return error;
    state.finish();
END
CALL(cuMemsetD8Async, CUdeviceptr to, unsigned char value, size_t count, CUstream)
    if (!state.holds(reinterpret_cast<char*>(to), count)) return CUDA_ERROR_INVALID_VALUE;
    state.later([=] { std::memset(reinterpret_cast<void*>(to), value, count); });
END
CALL(cuMemsetD32Async, CUdeviceptr to, unsigned value, size_t count, CUstream)
    if (!state.holds(reinterpret_cast<char*>(to), 4 * count)) return CUDA_ERROR_INVALID_VALUE;
    state.later([=] {
        for (size_t i = 0; i < count; ++i) reinterpret_cast<unsigned*>(to)[i] = value;
    });
END

// --- modules and launches
CALL(cuModuleLoadData, CUmodule* module, const void* image) return load(module, image); END
CALL(cuModuleLoadDataEx, CUmodule* module, const void* image, unsigned count, CUjit_option* options, void** values)
    for (unsigned i = 0; i < count; ++i)  // the logs are empty
        if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES || options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            values[i] = nullptr;
    return load(module, image);
END
CALL(cuModuleUnload, CUmodule) END
CALL(cuModuleGetFunction, CUfunction* function, CUmodule module, const char* name)
    Module* of = reinterpret_cast<Module*>(module);
    void* entry = dlsym(of->library, name);
    void* run = dlsym(of->library, "standin_run");
    if (!entry || !run) return CUDA_ERROR_NOT_FOUND;
    *function = reinterpret_cast<CUfunction>(
        new Function{entry, reinterpret_cast<void (*)(void*, const void*, unsigned, unsigned)>(run)});
END
CALL(cuModuleGetGlobal, CUdeviceptr* pointer, size_t* bytes, CUmodule module, const char* name)
    Module* of = reinterpret_cast<Module*>(module);
    void* symbol = dlsym(of->library, name);
    if (!symbol) return CUDA_ERROR_NOT_FOUND;
    *pointer = reinterpret_cast<CUdeviceptr>(symbol);
    *bytes = 65536;  // ep_protocol, the only one
    state.device[static_cast<char*>(symbol)] = *bytes;
END
CALL(cuFuncSetBlockShape, CUfunction, int, int, int) END
CALL(cuFuncSetCacheConfig, CUfunction, CUfunc_cache) END
CALL(cuFuncGetAttribute, int* value, CUfunction_attribute, CUfunction) *value = 0; END
CALL(cuLaunchKernel, CUfunction function, unsigned grid, unsigned gy, unsigned gz, unsigned block, unsigned by,
     unsigned bz, unsigned shared, CUstream, void** parameters, void** extra)
    if (gy != 1 || gz != 1 || by != 1 || bz != 1 || shared != 0) return CUDA_ERROR_NOT_SUPPORTED;
    if (grid == 0 || block == 0 || block > 1024) return CUDA_ERROR_INVALID_VALUE;
    const void* buffer = nullptr;
    size_t size = 0;
    for (void** item = extra; item && *item != CU_LAUNCH_PARAM_END; item += 2) {
        if (*item == CU_LAUNCH_PARAM_BUFFER_POINTER) buffer = item[1];
        if (*item == CU_LAUNCH_PARAM_BUFFER_SIZE) size = *static_cast<size_t*>(item[1]);
    }
    if (parameters || !buffer || size > 512) return CUDA_ERROR_NOT_SUPPORTED;
    std::vector<char> arguments(512);
    std::memcpy(arguments.data(), buffer, size);
    const Function* f = reinterpret_cast<Function*>(function);
    state.later([=] { f->run(f->entry, arguments.data(), grid, block); });
END

// --- streams and events
CALL(cuStreamCreate, CUstream* stream, unsigned) *stream = reinterpret_cast<CUstream>(&state); END
CALL(cuStreamDestroy, CUstream) state.finish(); END
CALL(cuStreamSynchronize, CUstream) state.finish(); END
CALL(cuStreamQuery, CUstream) if (!state.queue.empty()) return CUDA_ERROR_NOT_READY; END
CALL(cuStreamWaitEvent, CUstream, CUevent, unsigned) END
CALL(cuEventCreate, CUevent* event, unsigned) *event = reinterpret_cast<CUevent>(new Event{}); END
CALL(cuEventDestroy, CUevent event)
    state.finish();
    delete reinterpret_cast<Event*>(event);
END
CALL(cuEventRecord, CUevent event, CUstream)
    state.later([=] { reinterpret_cast<Event*>(event)->at = std::chrono::steady_clock::now(); });
END
CALL(cuEventQuery, CUevent) if (!state.queue.empty()) return CUDA_ERROR_NOT_READY; END
CALL(cuEventSynchronize, CUevent) state.finish(); END
CALL(cuEventElapsedTime, float* ms, CUevent first, CUevent last)
    const auto took = reinterpret_cast<Event*>(last)->at - reinterpret_cast<Event*>(first)->at;
    *ms = std::chrono::duration<float, std::milli>(took).count();
END

extern "C" CUresult CUDAAPI cuGetErrorString(CUresult error, const char** text) {
    switch (error) {
        case CUDA_ERROR_OUT_OF_MEMORY: *text = "out of memory"; break;
        case CUDA_ERROR_ILLEGAL_ADDRESS: *text = "an illegal memory access was encountered"; break;
        case CUDA_ERROR_NO_BINARY_FOR_GPU: *text = "no kernel image is available for execution on the device"; break;
        case CUDA_ERROR_NO_DEVICE: *text = "no CUDA-capable device is detected"; break;
        default: *text = "an error of the stand-in";
    }
    return CUDA_SUCCESS;
}

// --- for the tests
extern "C" {
// The call number `after` (from 1, counted from now) of a function fails, and every later call with it, as on a GPU.
void standin_fail(const char* function, int after, int error) {
    state.failing = function;
    state.failing_after = after;
    state.error = static_cast<CUresult>(error);
    state.broken = false;
}
void standin_reset() {
    state.failing.clear();
    state.broken = state.no_binary = state.integrated = false;
    state.devices = 1;
    state.memory = size_t(4) << 30;
    state.bytes_up = state.bytes_down = 0;
    state.calls.clear();
}
void standin_set_memory(size_t free) { state.memory = state.allocated + free; }
void standin_set_devices(int count) { state.devices = count; }
void standin_set_sm(int sm) { state.sm = sm; }
void standin_set_integrated(int yes) { state.integrated = yes != 0; }
void standin_set_no_binary(int yes) { state.no_binary = yes != 0; }
size_t standin_bytes_up() { return state.bytes_up; }
size_t standin_bytes_down() { return state.bytes_down; }
size_t standin_allocated() { return state.allocated; }
int standin_contexts() { return int(state.contexts.size()); }
int standin_calls(const char* function) { return state.calls[function]; }
}
