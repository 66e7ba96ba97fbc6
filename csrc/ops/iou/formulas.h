// Overlap of one pair of boxes, for CPU and GPU.
#pragma once

#include <algorithm>

#include "core/overlap.h"

namespace graphdet {

GD_INLINE float side(float low, float high) { return std::max(high - low, 0.0F); }

GD_INLINE float quotient(float part, float whole) { return whole > 0.0F ? part / whole : 0.0F; }

// As `load_box`, but negative sizes count as 0.
GD_INLINE Box load_any_box(const float* b) { return {b[0], b[1], b[2], b[3], side(b[0], b[2]) * side(b[1], b[3])}; }

template <bool generalised>
GD_INLINE float iou_of(const Box& a, const Box& b) {
    const float inter =
        side(std::max(a.x1, b.x1), std::min(a.x2, b.x2)) * side(std::max(a.y1, b.y1), std::min(a.y2, b.y2));
    const float whole = a.area + b.area - inter;
    float value = quotient(inter, whole);
    if (generalised) {
        const float hull =
            side(std::min(a.x1, b.x1), std::max(a.x2, b.x2)) * side(std::min(a.y1, b.y1), std::max(a.y2, b.y2));
        value -= whole == whole ? quotient(hull - whole, hull) : 0.0F;
    }
    return value;
}

}  // namespace graphdet
