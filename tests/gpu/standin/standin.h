// What the stand-in remembers between calls.
#pragma once
#include <cuda.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

struct State {
    int devices = 1, sm = 90, primary = 0;
    bool integrated = false, no_binary = false;
    size_t memory = size_t(4) << 30, allocated = 0;
    size_t bytes_up = 0, bytes_down = 0;
    std::map<char*, size_t> device, pinned;  // what was allocated, and how large
    std::vector<CUcontext> contexts;
    std::vector<std::function<void()>> queue;  // what the stream was told and has not done yet
    std::map<std::string, int> calls;

    std::string failing;  // the function that is to fail, after how many calls, and how
    int failing_after = 0;
    CUresult error = CUDA_SUCCESS;
    bool broken = false;

    CUresult enter(const std::string& name) {
        std::string plain = name.substr(0, name.find("_v"));  // cuda.h calls them cuMemAlloc_v2 and the like
        ++calls[plain];
        if (plain == failing && --failing_after == 0) broken = error != CUDA_ERROR_OUT_OF_MEMORY;
        if (plain == failing && failing_after == 0) return error;
        // a thread's stack of contexts is the driver's own, and works whatever has become of the GPU
        return broken && plain != "cuCtxPushCurrent" && plain != "cuCtxPopCurrent" ? error : CUDA_SUCCESS;
    }

    void later(std::function<void()> work) { queue.push_back(std::move(work)); }
    void finish() {
        for (const auto& work : queue) work();
        queue.clear();
    }

    CUdeviceptr allocate(size_t bytes) {
        char* pointer = static_cast<char*>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
        std::memset(pointer, 0xff, bytes);  // NaN, wherever a kernel reads what nobody wrote
        device[pointer] = bytes;
        allocated += bytes;
        return reinterpret_cast<CUdeviceptr>(pointer);
    }
    bool release(CUdeviceptr address) {
        const auto found = device.find(reinterpret_cast<char*>(address));
        if (found == device.end()) return false;
        allocated -= found->second;
        std::free(found->first);
        device.erase(found);
        return true;
    }

    static bool within(const std::map<char*, size_t>& blocks, const void* pointer, size_t bytes) {
        char* p = static_cast<char*>(const_cast<void*>(pointer));
        auto next = blocks.upper_bound(p);
        if (next == blocks.begin()) return false;
        --next;
        return p + bytes <= next->first + next->second;
    }
    bool holds(const char* pointer, size_t bytes = 1) const { return within(device, pointer, bytes); }
    bool is_pinned(const void* pointer) const { return within(pinned, pointer, 1); }
};
