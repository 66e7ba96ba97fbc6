// CUDA on the CPU, for tests: the part of CUDA C++ that the kernels and the TensorRT adapter use, so that any C++17
// compiler builds them.
//
// Threads of a block are fibers, blocks run one after another, streams are synchronous, device memory is host memory that
// starts as garbage, 256-byte aligned. The order of threads and blocks is a setting: a missing __syncthreads() gives different results in
// different orders. A kernel whose threads do not all reach the same barrier fails, as does a launch outside the limits
// of a real device. Any number of host threads may launch at once.
//
// Not here: warp intrinsics, dynamic shared memory, events, more than one device.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#define __global__
#define __device__
#define __host__
#define __shared__ static thread_local  // one copy for the block that runs
#define __syncthreads() ::graphdet::emulate::barrier(__LINE__)

struct CUstream_st;
using cudaStream_t = CUstream_st*;

struct uint3 {
    unsigned x = 0, y = 0, z = 0;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned nx = 1, unsigned ny = 1, unsigned nz = 1) : x(nx), y(ny), z(nz) {}
};

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidDevice = 101,
    cudaErrorLaunchFailure = 719
};
constexpr unsigned cudaStreamNonBlocking = 1;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };

inline thread_local uint3 threadIdx, blockIdx;
inline thread_local dim3 blockDim, gridDim;

cudaError_t cudaMalloc(void** memory, std::size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocHost(void** memory, std::size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* memory, int byte, std::size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
const char* cudaGetErrorString(cudaError_t error);

// Blocks of a launch do not run at the same time, nor do two threads: plain reads and writes are atomic.
template <class T>
T atomicAdd(T* at, T more) {
    const T old = *at;
    *at = old + more;
    return old;
}
template <class T>
T atomicMin(T* at, T value) {
    const T old = *at;
    if (value < old) *at = value;
    return old;
}

namespace graphdet::emulate {

using Body = void (*)(const void* closure);

// Runs `body(closure)` for each thread of each block. Failures go to cudaGetLastError().
void launch(dim3 grid, dim3 block, Body body, const void* closure);
void barrier(int line);

// 0: threads and blocks in their natural order, -1: reversed, else a permutation that depends on the number. Applies to
// launches of the calling thread.
void set_order(int order);

// Whether copies of the calling thread are made late: when it waits for a stream, launches a kernel, or frees memory.
// What is read too early is then garbage, as it may be on a device.
void set_late(bool late);
void catch_up();  // makes them

// Bytes of device memory from an address to the end of its block; 0 for host memory.
std::size_t device_bytes(const void* memory);

// Blocks of device memory and pinned memory that are held, and how many were ever taken.
struct Blocks {
    std::size_t held = 0, taken = 0;
};
Blocks blocks();

}  // namespace graphdet::emulate
