// exp and log1p of sixteen numbers as polynomials. Within 3 units in the last place; NaN stays NaN.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/lanes.h"

namespace graphdet {

using IntLanes __attribute__((vector_size(kLanes * sizeof(std::int32_t)))) = std::int32_t;

// e^x, for x <= 0: the smallest normal numbers below -87, and 0 below -100.
GD_INLINE void exp_of_negative(const Lanes& x, Lanes& out) {
    const Lanes zero = {}, least = zero - 87.0F;
    const Lanes kept = x >= least ? x : least;
    const IntLanes power = __builtin_convertvector(kept * 1.44269504F - 0.5F, IntLanes);  // the nearest whole number
    const Lanes whole = __builtin_convertvector(power, Lanes);
    const Lanes r = (kept - whole * 0.693359375F) + whole * 2.12194440e-4F;
    Lanes p = r * 1.9875691500e-4F + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * r * r + r + 1.0F;
    const IntLanes bits = (power + 127) << 23;
    Lanes scale;
    std::memcpy(&scale, &bits, sizeof scale);
    const Lanes found = p * scale + (x - x);  // the difference is NaN where x is
    out = x < zero - 100.0F ? zero : found;
}

// log(1 + x), for x in [0, 1]: the series of 2 atanh(x / (2 + x)).
GD_INLINE void log1p_of_unit(const Lanes& x, Lanes& out) {
    const Lanes s = x / (2.0F + x), q = s * s;
    Lanes p = q * (1.0F / 13.0F) + 1.0F / 11.0F;
    p = p * q + 1.0F / 9.0F;
    p = p * q + 1.0F / 7.0F;
    p = p * q + 1.0F / 5.0F;
    p = p * q + 1.0F / 3.0F;
    out = 2.0F * (p * q * s + s);
}

}  // namespace graphdet
