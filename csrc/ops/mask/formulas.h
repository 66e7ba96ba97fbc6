// Which pixels a box owns and where they fall in its grid, for CPU and GPU.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/dispatch.h"

namespace graphdet {

struct Span {
    std::int64_t begin = 0, end = 0;

    [[nodiscard]] GD_INLINE std::int64_t size() const { return end - begin; }
};

// Pixels of [0, extent) whose centre lies in [low, high).
GD_INLINE Span inside(float low, float high, std::int64_t extent) {
    if (!std::isfinite(low) || !std::isfinite(high) || !(low < high)) return {};
    const auto most = static_cast<float>(extent);
    Span span;
    span.begin = static_cast<std::int64_t>(std::min(std::max(std::ceil(low - 0.5F), 0.0F), most));
    span.end = static_cast<std::int64_t>(std::min(std::max(std::ceil(high - 0.5F), 0.0F), most));
    span.end = std::max(span.begin, span.end);
    return span;
}

// Where pixel `at` falls in a grid of `cells` cells over [low, high): left neighbour in the grid framed by zeros, and the
// weight of the right one.
GD_INLINE void locate(std::int64_t at, float low, float cells, float high, std::int32_t& place, float& part) {
    const float centre = (static_cast<float>(at) + 0.5F - low) / (high - low) * cells - 0.5F;
    const float bounded = std::min(std::max(centre, -1.0F), cells - 0.5F);
    const float left = std::floor(bounded);
    place = static_cast<std::int32_t>(left) + 1;
    part = bounded - left;
}

GD_INLINE float blend(float left, float right, float part) { return left * (1.0F - part) + right * part; }

}  // namespace graphdet
