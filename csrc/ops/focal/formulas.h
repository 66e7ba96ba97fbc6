// The focal loss of one logit, for the GPU; the CPU takes sixteen at once.
#pragma once

#include <cmath>

#include "core/dispatch.h"

namespace graphdet {

// With z the logit of being wrong: the loss is weight * miss^gamma * rise, where miss = sigmoid(z) and
// rise = log(1 + e^z) = -log(1 - miss).
struct FocalPoint {
    float miss, rise, power;
};

GD_INLINE FocalPoint focal_point(float z, float gamma) {
    const float limited = z < -1e4F ? -1e4F : z > 1e4F ? 1e4F : z;
    const float size = limited < 0.0F ? -limited : limited;
    const float small = std::exp(-size), extra = std::log1p(small);
    const float inverse = 1.0F / (1.0F + small);
    const float fall = (limited < 0.0F ? size : 0.0F) + extra;  // -log(miss)
    return {limited < 0.0F ? small * inverse : inverse, (limited < 0.0F ? 0.0F : size) + extra,
            std::exp(-gamma * fall)};
}

// The derivative of the loss; `is`: this is the row's class.
GD_INLINE float focal_slope(float logit, bool is, float alpha, float gamma) {
    const FocalPoint at = focal_point(is ? -logit : logit, gamma);
    const float slope = at.power * (gamma * (1.0F - at.miss) * at.rise + at.miss);
    return (is ? -alpha : 1.0F - alpha) * slope;
}

}  // namespace graphdet
