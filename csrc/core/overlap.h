// Overlap of two boxes of positive size, as the suppression kernels of CPU and GPU compute it, bit for bit.
#pragma once

#include <algorithm>

#include "core/dispatch.h"

namespace graphdet {

struct Box {
    float x1, y1, x2, y2, area;
};

GD_INLINE Box load_box(const float* xyxy) {
    return {xyxy[0], xyxy[1], xyxy[2], xyxy[3], (xyxy[2] - xyxy[0]) * (xyxy[3] - xyxy[1])};
}

// Intersection / union in float32; NaN when both are infinite.
GD_INLINE float overlap(const Box& a, const Box& b) {
    const float w = std::max(std::min(a.x2, b.x2) - std::max(a.x1, b.x1), 0.0F);
    const float h = std::max(std::min(a.y2, b.y2) - std::max(a.y1, b.y1), 0.0F);
    const float inter = w * h;
    return inter / (a.area + b.area - inter);
}

// May this box be kept at all? False for NaN, and for boxes without extent.
GD_INLINE bool is_candidate(const float* xyxy, float score, float threshold) {
    return score > threshold && xyxy[2] > xyxy[0] && xyxy[3] > xyxy[1];
}

}  // namespace graphdet
