// What forward and backward attention share, on CPU and GPU: sizes, checks, and where points read.
#pragma once

#include <cmath>

#include "core/check.h"
#include "core/dispatch.h"
#include "ops/deform_attention/deform_attention.h"

namespace graphdet::attention {

struct Shape {
    std::int64_t images, cells, heads, width, queries, levels, points;
};

inline Status check(const char* op, const DeformAttention& args, Shape& s) {
    GD_CHECK(expect(op, "value", args.value, DType::f32, {"N", "S", "M", "D"}));
    const Dims& v = args.value.dims;
    GD_CHECK(require(args.level_count > 0 && args.level_count <= DeformAttention::kMaxLevels, op, ": found ",
                     args.level_count, " levels, expected 1 to ", DeformAttention::kMaxLevels));
    const Dim n = {"N", v[0]}, m = {"M", v[2]};
    GD_CHECK(expect(op, "locations", args.locations, DType::f32, {n, "Q", m, {"E", args.level_count}, "P", 2}));
    const Dims& at = args.locations.dims;
    s = {v[0], v[1], v[2], v[3], at[1], at[3], at[4]};
    const Dim q = {"Q", s.queries}, e = {"E", s.levels}, p = {"P", s.points};
    GD_CHECK(expect(op, "weights", args.weights, DType::f32, {n, q, m, e, p}));
    std::int64_t cells = 0;
    for (int l = 0; l < args.level_count; ++l) {
        const auto [height, width] = args.levels[static_cast<std::size_t>(l)];
        GD_CHECK(require(height >= 0 && width >= 0, op, ": level ", l, " is ", height, " x ", width));
        cells += height * width;
    }
    return require(cells == s.cells, op, ": value has ", s.cells, " cells, but the levels have ", cells);
}

// Where one point reads: rows of `value` relative to the image's first, -1 outside the map.
struct Corners {
    std::int64_t cell[4];
    float down, right;

    GD_INLINE float weight(int corner) const {
        return ((corner & 2) != 0 ? down : 1.0F - down) * ((corner & 1) != 0 ? right : 1.0F - right);
    }
};

// False for a point that reads nothing.
GD_INLINE bool corners_of(const float* location, const std::int64_t* size, std::int64_t start, Corners& made) {
    const auto height = static_cast<float>(size[0]), width = static_cast<float>(size[1]);
    const float x = location[0] * width - 0.5F, y = location[1] * height - 0.5F;
    if (!(y > -1.0F && x > -1.0F && y < height && x < width)) return false;
    const float low = std::floor(y), left = std::floor(x);
    const auto r = static_cast<std::int64_t>(low), c = static_cast<std::int64_t>(left);
    made.down = y - low, made.right = x - left;
    for (int i = 0; i < 4; ++i) {
        const std::int64_t at = r + (i >> 1), across = c + (i & 1);
        const bool inside = at >= 0 && at < size[0] && across >= 0 && across < size[1];
        made.cell[i] = inside ? start + at * size[1] + across : -1;
    }
    return true;
}

}  // namespace graphdet::attention
