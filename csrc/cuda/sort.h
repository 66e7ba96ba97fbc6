// Sorting rank keys (core/rank.h) on a device, image by image.
#pragma once

#include "core/rank.h"
#include "cuda/cuda.h"

namespace graphdet::cuda {

constexpr RankKey kNoKey = ~RankKey{0};  // behind every real key

// The smallest power of two >= n, at least 1: room for n keys to be sorted.
[[nodiscard]] inline std::int64_t room_to_sort(std::int64_t n) {
    std::int64_t room = 1;
    while (room < n) room *= 2;
    return room;
}

// Sorts keys[segments, length] in place, each row ascending. `length` comes from `room_to_sort`; rows are filled up with
// `kNoKey`. Bitonic: log2(length)^2 / 2 steps, those inside 1024 keys in shared memory.
void sort_keys(const Device& device, RankKey* keys, std::int64_t segments, std::int64_t length);

}  // namespace graphdet::cuda
