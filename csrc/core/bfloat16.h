// bfloat16: the upper half of a float32. It holds values; nothing computes in it.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dispatch.h"

namespace graphdet {

struct BFloat16 {
    std::uint16_t bits;
};

// Rounds to the nearest, of two to the even one; beyond the largest lies infinity. NaN becomes the quiet one, 0x7FC0.
GD_INLINE void store(float value, BFloat16* to) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint32_t nearest = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
    to->bits = static_cast<std::uint16_t>((bits & 0x7FFFFFFFU) > 0x7F800000U ? 0x7FC0U : nearest);
}
GD_INLINE void store(float value, float* to) { *to = value; }

}  // namespace graphdet
