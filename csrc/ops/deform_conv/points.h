// What forward and backward deformable convolution share, on CPU and GPU: sizes, checks, and where kernel points read.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/dispatch.h"
#include "ops/deform_conv/deform_conv.h"

namespace graphdet::deform {

struct Shape {
    std::int64_t images, channels, height, width;       // input
    std::int64_t outputs, kernel_height, kernel_width;  // filters
    std::int64_t out_height, out_width;                 // result
    std::int64_t groups, offset_groups, stride, padding, dilation;

    [[nodiscard]] GD_INLINE std::int64_t pixels() const { return height * width; }
    [[nodiscard]] GD_INLINE std::int64_t points() const { return kernel_height * kernel_width; }
    [[nodiscard]] GD_INLINE std::int64_t places() const { return out_height * out_width; }
    [[nodiscard]] GD_INLINE std::int64_t group_channels() const { return channels / groups; }
    [[nodiscard]] GD_INLINE std::int64_t group_outputs() const { return outputs / groups; }
    [[nodiscard]] GD_INLINE std::int64_t moved_channels() const { return channels / offset_groups; }
};

inline Status check(const char* op, const DeformConv& args, Shape& shape) {
    GD_CHECK(expect(op, "x", args.x, DType::f32, {"N", "C", "H", "W"}));
    GD_CHECK(expect(op, "weight", args.weight, DType::f32, {"O", "I", "K", "L"}));
    const Dims &x = args.x.dims, &w = args.weight.dims;
    shape = {x[0],        x[1],         x[2],         x[3], w[0], w[2], w[3], 0, 0, args.groups, args.offset_groups,
             args.stride, args.padding, args.dilation};
    const bool positive = args.groups > 0 && args.offset_groups > 0 && args.stride > 0 && args.dilation > 0;
    GD_CHECK(require(positive && args.padding >= 0, op, ": groups, offset_groups, stride and dilation are ",
                     args.groups, ", ", args.offset_groups, ", ", args.stride, " and ", args.dilation,
                     ", expected numbers > 0; padding is ", args.padding, ", expected a number >= 0"));
    const bool split = x[1] > 0 && x[1] % args.groups == 0 && w[0] % args.groups == 0 && x[1] % args.offset_groups == 0;
    GD_CHECK(require(split && w[1] == x[1] / args.groups && shape.points() > 0, op, ": weight is ",
                     text_of(DType::f32, w), ", expected f32[O C/groups K L] for ", x[1], " channels in ", args.groups,
                     " groups and ", args.offset_groups, " offset groups"));
    GD_CHECK(require(shape.pixels() < (std::int64_t{1} << 31) - 1, op, ": the map has ", shape.pixels(),
                     " pixels, expected fewer than 2^31 - 1"));
    const auto size = [&](std::int64_t extent, std::int64_t kernel) {
        const std::int64_t room = extent + 2 * args.padding - args.dilation * (kernel - 1) - 1;
        return room < 0 ? 0 : room / args.stride + 1;
    };
    shape.out_height = size(x[2], w[2]), shape.out_width = size(x[3], w[3]);
    const Dim p = {"P", shape.out_height}, q = {"Q", shape.out_width}, n = {"N", x[0]};
    const auto moved = static_cast<int>(args.offset_groups * shape.points());
    GD_CHECK(expect(op, "offset", args.offset, DType::f32, {n, 2 * moved, p, q}));
    if (args.has_mask()) GD_CHECK(expect(op, "mask", args.mask, DType::f32, {n, moved, p, q}));
    if (args.has_bias()) GD_CHECK(expect(op, "bias", args.bias, DType::f32, {{"O", w[0]}}));
    return Status();
}

// The four pixels around a point: their numbers, row by row, and how far the point is from the first. A pixel outside
// the map has number `pixels()`, where the copy of the map has zeros.
struct Corners {
    std::int32_t pixel[4];
    float down, right;

    GD_INLINE float weight(int corner) const {
        return ((corner & 2) != 0 ? down : 1.0F - down) * ((corner & 1) != 0 ? right : 1.0F - right);
    }
};

// Of output pixel `place` and kernel point `point`, by one image's offsets of one group, f32[points 2 P Q].
GD_INLINE Corners corners_of(const Shape& s, const float* offsets, std::int64_t point, std::int64_t place) {
    const std::int64_t row = place / s.out_width, column = place % s.out_width;
    const float* moved = offsets + 2 * point * s.places() + place;
    const std::int64_t y0 = row * s.stride - s.padding + point / s.kernel_width * s.dilation;
    const std::int64_t x0 = column * s.stride - s.padding + point % s.kernel_width * s.dilation;
    const float y = static_cast<float>(y0) + moved[0], x = static_cast<float>(x0) + moved[s.places()];
    const auto nowhere = static_cast<std::int32_t>(s.pixels());
    Corners made = {{nowhere, nowhere, nowhere, nowhere}, 0.0F, 0.0F};
    if (!(y > -1.0F && x > -1.0F && y < static_cast<float>(s.height) && x < static_cast<float>(s.width))) return made;
    const float low = std::floor(y), left = std::floor(x);
    const auto r = static_cast<std::int64_t>(low), c = static_cast<std::int64_t>(left);
    made.down = y - low, made.right = x - left;
    for (int i = 0; i < 4; ++i) {
        const std::int64_t at = r + (i >> 1), across = c + (i & 1);
        if (at >= 0 && at < s.height && across >= 0 && across < s.width)
            made.pixel[i] = static_cast<std::int32_t>(at * s.width + across);
    }
    return made;
}

// to[i * width + c] = from[c * count + i] for `channels` <= width channels; the others, and a last row, become 0.
inline void lay_out(const float* from, std::int64_t count, std::int64_t channels, std::int64_t width, float* to) {
    constexpr std::int64_t kBlock = 16;
    for (std::int64_t begin = 0; begin < count; begin += kBlock) {
        const std::int64_t end = std::min(count, begin + kBlock);
        for (std::int64_t c = 0; c < channels; ++c)
            for (std::int64_t i = begin; i < end; ++i) to[i * width + c] = from[c * count + i];
        for (std::int64_t i = begin; i < end; ++i) std::fill(to + i * width + channels, to + (i + 1) * width, 0.0F);
    }
    std::fill_n(to + count * width, width, 0.0F);
}

}  // namespace graphdet::deform
