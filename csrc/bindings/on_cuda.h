// Launches of the module of CUDA kernels: operands are copied to the device, results back. For tests: an application
// keeps its tensors on the device and calls `launch` itself.
#pragma once

#include <cstddef>
#include <memory>

#include "core/device.h"
#include "core/plan.h"
#include "cuda/api.h"

namespace graphdet::bindings {

inline Status told(cudaError_t error) { return require(error == cudaSuccess, "CUDA says ", cudaGetErrorString(error)); }

inline Status allocate(std::size_t bytes, std::shared_ptr<void>& memory) {
    void* data = nullptr;
    if (bytes > 0) GD_CHECK(told(cudaMalloc(&data, bytes)));
    memory = std::shared_ptr<void>(data, [](void* held) { cudaFree(held); });
    return Status();
}

// Device memory with these bytes.
inline Status bring(const void* data, std::size_t bytes, std::shared_ptr<void>& memory) {
    GD_CHECK(allocate(bytes, memory));
    if (bytes == 0) return Status();
    GD_CHECK(told(cudaMemcpyAsync(memory.get(), data, bytes, cudaMemcpyHostToDevice, Device().stream)));
    return told(cudaStreamSynchronize(Device().stream));
}

template <class Args>
Status plan_here(const Args& args, Plan& needed) {
    return plan(args, needed, Device());
}

// `arrays` are of the planned types and shapes.
template <class Args>
Status launch_here(const Args& args, const Plan& needed, const TensorView* arrays) {
    const Device device;
    TensorView outputs[Plan::kMaxOutputs];
    std::shared_ptr<void> held[Plan::kMaxOutputs], scratch;
    for (int i = 0; i < needed.count; ++i) {
        GD_CHECK(allocate(arrays[i].bytes(), held[i]));
        outputs[i] = arrays[i];
        outputs[i].data = held[i].get();
    }
    GD_CHECK(allocate(needed.workspace, scratch));
    GD_CHECK(launch(args, outputs, Workspace(scratch.get(), needed.workspace), device));
    for (int i = 0; i < needed.count; ++i) {
        const std::size_t bytes = arrays[i].bytes();
        if (bytes == 0) continue;
        GD_CHECK(told(cudaMemcpyAsync(arrays[i].data, held[i].get(), bytes, cudaMemcpyDeviceToHost, device.stream)));
    }
    return told(cudaStreamSynchronize(device.stream));
}

}  // namespace graphdet::bindings
