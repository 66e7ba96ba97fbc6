// Sixteen floats side by side, and the product that matrix kernels are made of.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/dispatch.h"

namespace graphdet {

constexpr std::int64_t kLanes = 16;  // one AVX-512 register, two of AVX2

// The compiler's own vector type: it splits into whatever registers the processor has. It may lie anywhere in memory.
using Lanes __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float)), may_alias)) = float;
static_assert(alignof(Lanes) == sizeof(float), "the compiler takes the type's alignment for the memory's");

// The sum of all lanes: halves are added until one is left, so the order is the same on every processor.
GD_INLINE float sum_of(const Lanes& lanes) {
    float part[kLanes / 2];
    for (int i = 0; i < kLanes / 2; ++i) part[i] = lanes[i] + lanes[i + kLanes / 2];
    for (int i = 0; i < kLanes / 4; ++i) part[i] += part[i + kLanes / 4];
    return (part[0] + part[2]) + (part[1] + part[3]);
}

// to[c * `step` + i] = from[i * kLanes + c] for `channels` channels, a block of i at a time so that both stay in
// cache.
GD_INLINE void spread(const float* from, std::int64_t count, std::int64_t channels, std::int64_t step, float* to) {
    constexpr std::int64_t kBlock = 64;
    for (std::int64_t begin = 0; begin < count; begin += kBlock) {
        const std::int64_t end = std::min(count, begin + kBlock);
        for (std::int64_t c = 0; c < channels; ++c)
            for (std::int64_t i = begin; i < end; ++i) to[c * step + i] = from[i * kLanes + c];
    }
}

// The inverse; channels that are not there become 0.
GD_INLINE void collect(const float* from, std::int64_t count, std::int64_t channels, std::int64_t step, float* to) {
    constexpr std::int64_t kBlock = 16;
    std::int64_t i = 0;
    if (channels == kLanes) {
        for (; i + kBlock <= count; i += kBlock)
            for (std::int64_t k = 0; k < kBlock; ++k)
                for (std::int64_t c = 0; c < kLanes; ++c) to[(i + k) * kLanes + c] = from[c * step + i + k];
    }
    for (; i < count; ++i)
        for (std::int64_t c = 0; c < kLanes; ++c) to[i * kLanes + c] = c < channels ? from[c * step + i] : 0.0F;
}

// How many groups of `size` cover `count`.
[[nodiscard]] constexpr std::int64_t parts_of(std::int64_t count, std::int64_t size) {
    return (count + size - 1) / size;
}

// A matrix that is read one number at a time: element (row, k) lies at data[row * by_row + k * by_k].
struct Strided {
    const float* data;
    std::int64_t by_row, by_k;
};

template <int rows>
GD_INLINE void multiply_rows(const Strided& a, std::int64_t depth, const float* panel, float* out, std::int64_t stride,
                             bool add) {
    const auto* b = reinterpret_cast<const Lanes*>(panel);
    Lanes sum[rows];
    for (int r = 0; r < rows; ++r) sum[r] = add ? *reinterpret_cast<Lanes*>(out + r * stride) : Lanes{};
    for (std::int64_t k = 0; k < depth; ++k) {
        const float* column = a.data + k * a.by_k;
        for (int r = 0; r < rows; ++r) sum[r] += column[r * a.by_row] * b[k];
    }
    for (int r = 0; r < rows; ++r) *reinterpret_cast<Lanes*>(out + r * stride) = sum[r];
}

// out[row, 0..16) (+)= the sum over k of a(row, k) * panel[k, 0..16), for all rows; rows of `out` lie `stride` apart.
GD_INLINE void multiply_panel(Strided a, std::int64_t rows, std::int64_t depth, const float* panel, float* out,
                              std::int64_t stride, bool add) {
    constexpr int kRows = 6;
    for (; rows >= kRows; rows -= kRows, a.data += kRows * a.by_row, out += kRows * stride)
        multiply_rows<kRows>(a, depth, panel, out, stride, add);
    for (; rows > 0; --rows, a.data += a.by_row, out += stride) multiply_rows<1>(a, depth, panel, out, stride, add);
}

}  // namespace graphdet
