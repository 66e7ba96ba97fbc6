// Sizes, checks and windows of CARAFE, for CPU and GPU.
#pragma once

#include <algorithm>

#include "core/check.h"
#include "core/dispatch.h"
#include "ops/carafe/carafe.h"

namespace graphdet::carafe {

struct Shape {
    std::int64_t images, channels, height, width, size, groups, scale;

    [[nodiscard]] GD_INLINE std::int64_t pixels() const { return height * width; }
    [[nodiscard]] GD_INLINE std::int64_t out_width() const { return width * scale; }
    [[nodiscard]] GD_INLINE std::int64_t places() const { return pixels() * scale * scale; }
    [[nodiscard]] GD_INLINE std::int64_t window() const { return size * size; }
    [[nodiscard]] GD_INLINE std::int64_t share() const { return channels / groups; }  // channels of a group
};

inline Status check(const char* op, const Carafe& args, Shape& s) {
    GD_CHECK(expect(op, "x", args.x, DType::f32, {"N", "C", "H", "W"}));
    const Dims& x = args.x.dims;
    const bool fits = args.size > 0 && args.size % 2 == 1 && args.scale > 0 && args.groups > 0 && x[1] > 0;
    GD_CHECK(require(fits && x[1] % args.groups == 0, op, ": size ", args.size, ", scale ", args.scale, ", groups ",
                     args.groups, " do not fit ", x[1],
                     " channels, expected an odd size, a scale > 0, and channels that ", "the groups divide"));
    s = {x[0], x[1], x[2], x[3], args.size, args.groups, args.scale};
    const Dim p = {"P", x[2] * args.scale}, q = {"Q", x[3] * args.scale};
    return expect(op, "kernels", args.kernels, DType::f32,
                  {{"N", x[0]}, static_cast<int>(args.groups * s.window()), p, q});
}

// Calls body(k, pixel) for the window's pixels that lie on the map, around the pixel of an output place.
template <class Body>
GD_INLINE void for_window(const Shape& s, std::int64_t place, const Body& body) {
    const std::int64_t row = place / s.out_width() / s.scale, column = place % s.out_width() / s.scale;
    const std::int64_t reach = s.size / 2;
    for (std::int64_t dy = 0; dy < s.size; ++dy) {
        const std::int64_t y = row + dy - reach;
        if (y < 0 || y >= s.height) continue;
        const std::int64_t begin = std::max<std::int64_t>(0, reach - column);
        const std::int64_t end = std::min(s.size, s.width + reach - column);
        for (std::int64_t dx = begin; dx < end; ++dx) body(dy * s.size + dx, y * s.width + column + dx - reach);
    }
}

}  // namespace graphdet::carafe
