// What a backend on an NVIDIA GPU needs of CUDA: its device, a stream, and memory that is kept between calls.
#pragma once

#include <algorithm>
#include <string>

#include "core/status.h"
#include "cuda/api.h"

namespace graphdet {

inline Status check(const char* what, cudaError_t error, Code code = Code::internal) {
    if (error == cudaSuccess) return Status();
    return Status(code, std::string(what) + ": CUDA says " + cudaGetErrorString(error));
}

// Makes a GPU the calling thread's own for a while: it may be one of the engine's threads, or the caller's.
class OnDevice {
  public:
    explicit OnDevice(int device) {
        if (cudaGetDevice(&before_) != cudaSuccess) before_ = device;
        status_ = check("the segment's GPU cannot be used", cudaSetDevice(device));
    }
    ~OnDevice() { cudaSetDevice(before_); }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

    [[nodiscard]] const Status& status() const { return status_; }

  private:
    int before_ = 0;
    Status status_;
};

// Memory that is kept between calls: it grows to the largest request.
template <cudaError_t (*kTake)(void**, std::size_t), cudaError_t (*kGive)(void*)>
class Room {
  public:
    Room() = default;
    ~Room() { kGive(data_); }
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;

    // Null where there is no more memory. A request for nothing gets an address, which TensorRT wants for an empty
    // tensor too.
    [[nodiscard]] void* reserve(std::size_t bytes) {
        bytes = std::max<std::size_t>(bytes, 1);
        if (bytes <= bytes_) return data_;
        kGive(data_);
        data_ = nullptr;
        bytes_ = 0;
        if (kTake(&data_, bytes) == cudaSuccess) {
            bytes_ = bytes;
        } else {
            data_ = nullptr;
            cudaGetLastError();  // reported here, so that no later call is taken for the failing one
        }
        return data_;
    }

  private:
    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};
using OnGpu = Room<cudaMalloc, cudaFree>;
using Pinned = Room<cudaMallocHost, cudaFreeHost>;

struct Stream {
    cudaStream_t handle = nullptr;

    Stream() = default;
    ~Stream() {
        if (handle != nullptr) cudaStreamDestroy(handle);
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
};

}  // namespace graphdet
