// Where a RoI lies on a map, for CPU and GPU.
#pragma once

#include <algorithm>
#include <cmath>

#include "ops/roi/roi.h"
#include "ops/roi/taps.h"

namespace graphdet {

// The samples of a box along x (`axis` 0) or y (1).
GD_INLINE Axis axis_of(const float* box, int axis, float scale, const RoiGrid& grid, std::int64_t extent) {
    const float shift = grid.aligned ? 0.5F : 0.0F;
    return Axis(box[axis] * scale - shift, box[axis + 2] * scale - shift, !grid.aligned,
                axis == 0 ? grid.width : grid.height, grid.samples, extent);
}

// 1 / number of samples of a bin; 0 when there are none.
GD_INLINE float share_of(std::int64_t x, std::int64_t y) {
    return x > 0 && y > 0 ? 1.0F / (static_cast<float>(x) * static_cast<float>(y)) : 0.0F;
}

// The finest level whose RoIs are at most this large, by area: level l ends where level l + 1 begins.
struct LevelLimits {
    float area[RoiAlignLevels::kMaxLevels] = {};
    int count;

    explicit LevelLimits(const RoiAlignLevels& args) : count(args.level_count) {
        for (int l = 1; l < count; ++l) {
            const float side = std::ldexp(args.canonical, static_cast<int>(args.finest) + l - 4);
            area[l] = side * side;
        }
    }
    [[nodiscard]] GD_INLINE std::int32_t level_of(const float* box) const {
        const float own = std::max(box[2] - box[0], 0.0F) * std::max(box[3] - box[1], 0.0F);
        std::int32_t level = 0;
        for (std::int32_t l = 1; l < count; ++l)
            if (own >= area[l]) level = l;
        return level;
    }
};

// RoIPool's corners, rounded. False when one is NaN or infinite.
GD_INLINE bool pool_corners(const float* box, float scale, float* at) {
    bool finite = true;
    for (int i = 0; i < 4; ++i) {
        at[i] = std::round(box[i] * scale);
        finite = finite && std::isfinite(at[i]);
    }
    return finite;
}

struct PoolSpan {
    std::int64_t begin, end;
};

// Pixels of one bin along one axis: `low`, `high` are rounded corners, both inside.
GD_INLINE PoolSpan pool_span(float low, float high, std::int64_t bin, std::int64_t bins, std::int64_t extent) {
    const float step = std::max(high - low + 1.0F, 1.0F) / static_cast<float>(bins);
    const auto most = static_cast<float>(extent);
    const float begin = std::floor(static_cast<float>(bin) * step) + low;
    const float end = std::ceil(static_cast<float>(bin + 1) * step) + low;
    return {static_cast<std::int64_t>(std::min(std::max(begin, 0.0F), most)),
            static_cast<std::int64_t>(std::min(std::max(end, 0.0F), most))};
}

// The pixel of a bin that is its maximum, of equal ones the first; -1 for a bin without pixels that are numbers.
GD_INLINE std::int64_t best_pixel(const float* plane, std::int64_t width, const PoolSpan& y, const PoolSpan& x) {
    float best = -INFINITY;
    std::int64_t found = -1;
    for (std::int64_t i = y.begin; i < y.end; ++i)
        for (std::int64_t j = x.begin; j < x.end; ++j) {
            const std::int64_t at = i * width + j;
            if (plane[at] > best || (found < 0 && plane[at] == best)) best = plane[at], found = at;
        }
    return found;
}

// Does a row of f32[R 5] name one of the images?
GD_INLINE bool names_image(float image, std::int64_t images) {
    return image >= 0.0F && image < static_cast<float>(images) && image == std::floor(image);
}

}  // namespace graphdet
