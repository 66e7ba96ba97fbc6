// exp and log1p as polynomials without branches or calls, so that loops over them run in vector lanes. Within 3 units
// in the last place; NaN stays NaN.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dispatch.h"

namespace graphdet {

// e^x, for x <= 0; below -87 the smallest normal numbers, and 0 below -100.
GD_INLINE float exp_of_negative(float x) {
    const float kept = x >= -87.0F ? x : -87.0F;
    const float turns = kept * 1.44269504F - 0.5F;
    const auto power = static_cast<std::int32_t>(turns);  // the nearest whole number, as `turns` is negative
    const auto whole = static_cast<float>(power);
    const float r = (kept - whole * 0.693359375F) + whole * 2.12194440e-4F;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * r * r + r + 1.0F;
    const std::int32_t bits = (power + 127) << 23;
    float scale = 0.0F;
    std::memcpy(&scale, &bits, sizeof scale);
    return x < -100.0F ? 0.0F : p * scale + (x - x);  // the difference is NaN where x is
}

// log(1 + x), for x in [0, 1]: the series of 2 atanh(x / (2 + x)).
GD_INLINE float log1p_of_unit(float x) {
    const float s = x / (2.0F + x), q = s * s;
    float p = 1.0F / 13.0F;
    p = p * q + 1.0F / 11.0F;
    p = p * q + 1.0F / 9.0F;
    p = p * q + 1.0F / 7.0F;
    p = p * q + 1.0F / 5.0F;
    p = p * q + 1.0F / 3.0F;
    return 2.0F * (p * q * s + s);
}

}  // namespace graphdet
