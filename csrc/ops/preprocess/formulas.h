// OpenCV's bilinear resize of bytes, for CPU and GPU: where a pixel lies, and the two rounding steps.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/dispatch.h"

namespace graphdet {

constexpr float kOne = 2048.0F;  // 1.0 with 11 bits

// One axis: output pixel -> its two neighbours and their weights. OpenCV computes both in float.
struct Place {
    std::int64_t low;
    std::int32_t low_weight, high_weight;
};

GD_INLINE Place place_of(std::int64_t at, std::int64_t from, std::int64_t to) {
    const double scale = 1.0 / (static_cast<double>(to) / static_cast<double>(from));
    const auto centre = static_cast<float>((static_cast<double>(at) + 0.5) * scale - 0.5);
    const float low = std::floor(centre), part = centre - low;
    return {static_cast<std::int64_t>(low), static_cast<std::int32_t>(std::rint((1.0F - part) * kOne)),
            static_cast<std::int32_t>(std::rint(part * kOne))};
}

// The horizontal axis: outside the image OpenCV takes the border pixel alone.
GD_INLINE Place column_of(std::int64_t at, std::int64_t from, std::int64_t to) {
    const Place p = place_of(at, from, to);
    if (p.low < 0) return {0, static_cast<std::int32_t>(kOne), 0};
    if (p.low >= from - 1) return {from - 1, static_cast<std::int32_t>(kOne), 0};
    return p;
}

GD_INLINE std::int16_t across(std::int32_t left, std::int32_t right, std::int32_t left_weight,
                              std::int32_t right_weight) {
    return static_cast<std::int16_t>((left * left_weight + right * right_weight) >> 4);
}

GD_INLINE std::int32_t down(std::int16_t upper, std::int16_t lower, std::int16_t upper_weight,
                            std::int16_t lower_weight) {
    return (((upper * upper_weight) >> 16) + ((lower * lower_weight) >> 16) + 2) >> 2;
}

}  // namespace graphdet
