// The one definition of activations that several kernels share, so that fused and separate forms agree bit for bit.
#pragma once

#include <cmath>

#include "core/dispatch.h"

namespace graphdet {

// 1 / (1 + e^-x): 0 for -inf, 1 for +inf, NaN for NaN.
[[nodiscard]] GD_INLINE float sigmoid_of(float x) { return 1.0F / (1.0F + std::exp(-x)); }

}  // namespace graphdet
