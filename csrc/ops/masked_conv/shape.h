// Sizes and checks of masked convolution, for CPU and GPU.
#pragma once

#include "core/check.h"
#include "core/dispatch.h"
#include "ops/masked_conv/masked_conv.h"

namespace graphdet::masked {

struct Shape {
    std::int64_t images, channels, height, width, outputs, rows, columns, out_height, out_width, stride, padding;

    [[nodiscard]] GD_INLINE std::int64_t pixels() const { return height * width; }
    [[nodiscard]] GD_INLINE std::int64_t places() const { return out_height * out_width; }
    [[nodiscard]] GD_INLINE std::int64_t points() const { return rows * columns; }
};

[[nodiscard]] inline bool has_bias(const MaskedConv& args) {
    return args.bias.dims.rank != 0 || args.bias.data != nullptr;
}

inline Status check(const MaskedConv& args, Shape& s) {
    constexpr const char* op = "masked_conv2d";
    GD_CHECK(expect(op, "x", args.x, DType::f32, {"N", "C", "H", "W"}));
    const Dims& x = args.x.dims;
    GD_CHECK(expect(op, "weight", args.weight, DType::f32, {"O", {"C", x[1]}, "K", "L"}));
    const Dims& w = args.weight.dims;
    GD_CHECK(require(args.stride > 0 && args.padding >= 0 && w.count(1, 4) > 0, op, ": stride is ", args.stride,
                     ", expected a number > 0; padding is ", args.padding, ", expected one >= 0; weight is ",
                     text_of(DType::f32, w), ", expected sizes > 0"));
    const auto size = [&](std::int64_t extent, std::int64_t kernel) {
        const std::int64_t room = extent + 2 * args.padding - kernel;
        return room < 0 ? 0 : room / args.stride + 1;
    };
    s = {x[0], x[1], x[2], x[3], w[0], w[2], w[3], size(x[2], w[2]), size(x[3], w[3]), args.stride, args.padding};
    GD_CHECK(expect(op, "mask", args.mask, DType::f32, {{"N", x[0]}, {"P", s.out_height}, {"Q", s.out_width}}));
    if (has_bias(args)) GD_CHECK(expect(op, "bias", args.bias, DType::f32, {{"O", w[0]}}));
    return Status();
}

}  // namespace graphdet::masked
