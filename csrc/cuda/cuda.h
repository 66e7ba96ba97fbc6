// What `*_cuda.cu` files are made of: one way to launch kernels that nvcc and the emulation (emulate.h) both understand,
// a loop over independent work, and errors as Status.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/check.h"
#include "core/device.h"
#include "core/dispatch.h"
#include "core/plan.h"
#include "cuda/api.h"

namespace graphdet::cuda {

constexpr int kThreads = 256;  // of a block
constexpr std::int64_t kMostBlocks = (std::int64_t{1} << 31) - 1;

// Queues `kernel(args...)`. `blocks` >= 1. Failures are told by `finish`.
template <class... Parameters, class... Args>
void enqueue(const Device& device, std::int64_t blocks, int threads, void (*kernel)(Parameters...),
             const Args&... args) {
    const dim3 grid(static_cast<unsigned>(blocks)), block(static_cast<unsigned>(threads));
#if defined(GRAPHDET_CUDA_EMULATE)
    static_cast<void>(device);
    const auto call = [&] { kernel(args...); };
    emulate::launch(grid, block, [](const void* closure) { (*static_cast<const decltype(call)*>(closure))(); }, &call);
#else
    kernel<<<grid, block, 0, device.stream>>>(args...);
#endif
}

template <class Body>
__global__ void each(std::int64_t count, Body body) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
        body(i);
}

// Queues `body(i)` for i in [0, count), in any order: `[=] __device__(std::int64_t i) { ... }`.
template <class Body>
void for_each(const Device& device, std::int64_t count, const Body& body) {
    if (count <= 0) return;
    enqueue(device, std::min((count + kThreads - 1) / kThreads, kMostBlocks), kThreads, each<Body>, count, body);
}

inline Status check(const char* op, cudaError_t error) {
    return require(error == cudaSuccess, op, ": CUDA says ", cudaGetErrorString(error));
}

// The end of a launch: what went wrong in queueing it.
inline Status finish(const char* op) { return check(op, cudaGetLastError()); }

// The beginning of a launch: inputs are right, outputs and workspace are as planned, which is `needed`.
template <class Args>
Status ready(const char* op, const Args& args, const TensorView* outputs, const Workspace& workspace,
             const Device& device, Plan& needed) {
    GD_CHECK(plan(args, needed, device));
    return fits(op, needed, outputs, workspace);
}

using Word = unsigned long long;  // the 64 bits that atomics know; as large as a RankKey
static_assert(sizeof(Word) == sizeof(std::uint64_t));

// Finds the first i in [0, count) with `bad(i)`, or `count`, and waits for the stream. Takes one word of the workspace.
template <class Bad>
Status first_bad(const char* op, const Device& device, Workspace& workspace, std::int64_t count, const Bad& bad,
                 std::int64_t& first) {
    Word* found = workspace.take<Word>(1);
    Word host = ~Word{0};
    cudaMemcpyAsync(found, &host, sizeof host, cudaMemcpyHostToDevice, device.stream);
    for_each(device, count, [=] __device__(std::int64_t i) {
        if (bad(i)) atomicMin(found, static_cast<Word>(i));
    });
    cudaMemcpyAsync(&host, found, sizeof host, cudaMemcpyDeviceToHost, device.stream);
    GD_CHECK(check(op, cudaStreamSynchronize(device.stream)));
    first = host == ~Word{0} ? count : static_cast<std::int64_t>(host);
    return finish(op);
}

// One element of device memory, for a message. Waits for the stream.
template <class T>
T peek(const T* element, const Device& device) {
    T value{};
    cudaMemcpyAsync(&value, element, sizeof value, cudaMemcpyDeviceToHost, device.stream);
    cudaStreamSynchronize(device.stream);
    return value;
}

}  // namespace graphdet::cuda
