// Memory that is kept between calls: it grows to the largest request, and is freed at once or not at all.
#pragma once

#include <cstddef>
#include <memory>

#include "core/plan.h"

namespace graphdet {

class Buffer {
  public:
    // Room for `bytes`, 64-byte aligned, with undefined content. Earlier room of this buffer is gone when it had to
    // grow.
    [[nodiscard]] void* reserve(std::size_t bytes) {
        const std::size_t lines = (bytes + sizeof(Line) - 1) / sizeof(Line);
        if (lines > lines_) {
            data_.reset();
            lines_ = 0;
            data_.reset(new Line[lines]);
            lines_ = lines;
        }
        return data_.get();
    }

    void release() {
        data_.reset();
        lines_ = 0;
    }

    [[nodiscard]] Workspace workspace(std::size_t bytes) { return {reserve(bytes), lines_ * sizeof(Line)}; }

    template <class T>
    [[nodiscard]] T* reserve_for(std::int64_t count) {
        return static_cast<T*>(reserve(static_cast<std::size_t>(count) * sizeof(T)));
    }

  private:
    struct alignas(Workspace::kAlign) Line {
        std::byte bytes[Workspace::kAlign];
    };

    std::unique_ptr<Line[]> data_;
    std::size_t lines_ = 0;
};

}  // namespace graphdet
