// The border of every kernel, the same for Python, the engine and C++ callers. An op is a struct of arguments (input
// views and attributes) and two functions:
//
//   Status plan(const Args&, Plan&);                                checks inputs; says which outputs and how many
//                                                                   bytes of scratch are needed
//   Status launch(const Args&, const TensorView* outputs, Workspace);  fills outputs that the caller allocated so
//
// `launch` does not allocate, keeps no state, and may run on several threads at once with different outputs and
// workspaces. Outputs must not overlap inputs, unless an op's header says otherwise.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/status.h"
#include "core/tensor.h"

namespace graphdet {

struct Spec {
    DType dtype = DType::f32;
    Dims dims;
};

struct Plan {
    static constexpr int kMaxOutputs = 4;

    Spec outputs[kMaxOutputs];
    int count = 0;
    std::size_t workspace = 0;  // bytes of scratch, 64-byte aligned base

    void add(DType dtype, const Dims& dims) { outputs[count++] = {dtype, dims}; }
};

// Scratch memory of one launch, handed out front to back in 64-byte steps.
class Workspace {
  public:
    static constexpr std::size_t kAlign = 64;

    Workspace() = default;
    Workspace(void* data, std::size_t size) : next_(static_cast<std::uint8_t*>(data)), left_(size) {}

    [[nodiscard]] std::size_t left() const { return left_; }

    // Bytes that `take<T>(n)` uses: what `plan` adds up.
    template <class T>
    [[nodiscard]] static std::size_t need(std::int64_t n) {
        return (static_cast<std::size_t>(n) * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    }

    // Uninitialised room for `n` elements. The caller has checked `left()` against the plan.
    template <class T>
    [[nodiscard]] T* take(std::int64_t n) {
        T* begin = reinterpret_cast<T*>(next_);
        next_ += need<T>(n);
        left_ -= need<T>(n);
        return begin;
    }

    // For loops on several threads: how many parts of `bytes` there are (at least 1), and one of them. Parts are planned
    // for the number of threads that is set then; a launch uses what it was given.
    [[nodiscard]] int slots(std::size_t bytes) const {
        const std::size_t count = bytes == 0 ? 1 : left_ / bytes;
        return count < 1 ? 1 : count > 1024 ? 1024 : static_cast<int>(count);
    }
    [[nodiscard]] Workspace part(int slot, std::size_t bytes) const {
        return Workspace(next_ + static_cast<std::size_t>(slot) * bytes, bytes);
    }

  private:
    std::uint8_t* next_ = nullptr;
    std::size_t left_ = 0;
};

// Fails unless `outputs` have the planned types and shapes and `workspace` is large enough.
Status fits(const char* op, const Plan& plan, const TensorView* outputs, const Workspace& workspace);

}  // namespace graphdet
