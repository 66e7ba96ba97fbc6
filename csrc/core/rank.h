// One 64-bit number per scored entry, so that an ordinary ascending sort yields: score descending, ties lower index
// first.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dispatch.h"

namespace graphdet {

using RankKey = std::uint64_t;

constexpr std::int64_t kMaxRanked = std::int64_t{1} << 32;  // entries that the index half of a key can tell apart

// `score` is not NaN; `index` lies in [0, kMaxRanked).
[[nodiscard]] GD_INLINE RankKey rank_key(float score, std::int64_t index) {
    score += 0.0F;  // -0 and +0 are a tie
    std::uint32_t bits = 0;
    std::memcpy(&bits, &score, sizeof bits);
    const std::uint32_t ascending = (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
    return (static_cast<RankKey>(~ascending) << 32) | static_cast<RankKey>(index);
}

[[nodiscard]] GD_INLINE std::int64_t index_of(RankKey key) { return static_cast<std::int64_t>(key & 0xFFFFFFFFU); }

[[nodiscard]] GD_INLINE float score_of(RankKey key) {
    const auto ascending = ~static_cast<std::uint32_t>(key >> 32);
    const std::uint32_t bits = (ascending >> 31) != 0 ? ascending & 0x7FFFFFFFU : ~ascending;
    float score = 0.0F;
    std::memcpy(&score, &bits, sizeof score);
    return score;
}

}  // namespace graphdet
