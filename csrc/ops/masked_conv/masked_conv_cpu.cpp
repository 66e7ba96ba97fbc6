#include "ops/masked_conv/masked_conv.h"

#include <algorithm>

#include "core/check.h"
#include "core/lanes.h"
#include "core/parallel.h"

namespace graphdet {

namespace {

constexpr std::int64_t kBlock = 48;  // output pixels that are multiplied at a time

struct Shape {
    std::int64_t images, channels, height, width, outputs, rows, columns, out_height, out_width, stride, padding;

    [[nodiscard]] std::int64_t pixels() const { return height * width; }
    [[nodiscard]] std::int64_t places() const { return out_height * out_width; }
    [[nodiscard]] std::int64_t points() const { return rows * columns; }
    [[nodiscard]] std::int64_t panels() const { return parts_of(outputs, kLanes); }
};

[[nodiscard]] bool has_bias(const MaskedConv& args) { return args.bias.dims.rank != 0 || args.bias.data != nullptr; }

Status check(const MaskedConv& args, Shape& s) {
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

// Filters as panels [point panel channel 16]; lanes without a filter are 0.
void pack(const Shape& s, const float* weight, float* packed) {
    for (std::int64_t point = 0; point < s.points(); ++point)
        for (std::int64_t o = 0; o < s.panels() * kLanes; ++o)
            for (std::int64_t c = 0; c < s.channels; ++c) {
                const std::int64_t at = (point * s.panels() + o / kLanes) * s.channels + c;
                packed[at * kLanes + o % kLanes] =
                    o < s.outputs ? weight[(o * s.channels + c) * s.points() + point] : 0.0F;
            }
}

// The output pixels `places` of one image. `map` has channels innermost and a row of zeros at its end.
GD_CLONES void convolve(const Shape& s, const float* map, const float* packed, const float* bias,
                        const std::int64_t* places, std::int64_t count, float* columns, float* sums, float* out) {
    const std::int64_t width = s.panels() * kLanes;
    for (std::int64_t point = 0; point < s.points(); ++point) {
        for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t y = places[i] / s.out_width * s.stride - s.padding + point / s.columns;
            const std::int64_t x = places[i] % s.out_width * s.stride - s.padding + point % s.columns;
            const bool inside = y >= 0 && y < s.height && x >= 0 && x < s.width;
            const float* from = map + (inside ? y * s.width + x : s.pixels()) * s.channels;
            std::copy_n(from, s.channels, columns + i * s.channels);
        }
        for (std::int64_t panel = 0; panel < s.panels(); ++panel) {
            const float* filters = packed + (point * s.panels() + panel) * s.channels * kLanes;
            multiply_panel({columns, s.channels, 1}, count, s.channels, filters, sums + panel * kLanes, width,
                           point > 0);
        }
    }
    for (std::int64_t o = 0; o < s.outputs; ++o)
        for (std::int64_t i = 0; i < count; ++i)
            out[o * s.places() + places[i]] = sums[i * width + o] + (bias == nullptr ? 0.0F : bias[o]);
}

std::size_t need_once(const Shape& s) {
    return Workspace::need<float>((s.pixels() + 1) * s.channels) + Workspace::need<std::int64_t>(s.places()) +
           Workspace::need<float>(s.points() * s.panels() * kLanes * s.channels);
}

std::size_t need_each(const Shape& s) {
    return Workspace::need<float>(kBlock * s.channels) + Workspace::need<float>(kBlock * s.panels() * kLanes);
}

}  // namespace

Status plan(const MaskedConv& args, Plan& plan) {
    Shape s;
    GD_CHECK(check(args, s));
    plan.add(DType::f32, {s.images, s.outputs, s.out_height, s.out_width});
    const auto blocks = std::clamp<std::int64_t>(parts_of(s.places(), kBlock), 1, threads());
    plan.workspace = need_once(s) + need_each(s) * static_cast<std::size_t>(blocks);
    return Status();
}

Status launch(const MaskedConv& args, const TensorView* outputs, Workspace workspace) {
    Shape s;
    Plan needed;
    GD_CHECK(check(args, s));
    GD_CHECK(plan(args, needed));
    needed.workspace = need_once(s) + need_each(s);
    GD_CHECK(fits("masked_conv2d", needed, outputs, workspace));
    std::fill_n(outputs[0].f32_out(), needed.outputs[0].dims.count(), 0.0F);
    auto* map = workspace.take<float>((s.pixels() + 1) * s.channels);
    auto* places = workspace.take<std::int64_t>(s.places());
    auto* packed = workspace.take<float>(s.points() * s.panels() * kLanes * s.channels);
    pack(s, args.weight.f32(), packed);
    for (std::int64_t n = 0; n < s.images; ++n) {
        std::int64_t count = 0;
        for (std::int64_t i = 0; i < s.places(); ++i)
            if (args.mask.f32()[n * s.places() + i] > 0.0F) places[count++] = i;
        const float* planes = args.x.f32() + n * s.channels * s.pixels();
        parallel_for(s.pixels(), 1024, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                for (std::int64_t c = 0; c < s.channels; ++c) map[i * s.channels + c] = planes[c * s.pixels() + i];
        });
        std::fill_n(map + s.pixels() * s.channels, s.channels, 0.0F);
        parallel_for(parts_of(count, kBlock), 1, workspace.slots(need_each(s)),
                     [&](std::int64_t block, std::int64_t, int slot) {
                         Workspace mine = workspace.part(slot, need_each(s));
                         auto* columns = mine.take<float>(kBlock * s.channels);
                         auto* sums = mine.take<float>(kBlock * s.panels() * kLanes);
                         const std::int64_t begin = block * kBlock;
                         convolve(s, map, packed, has_bias(args) ? args.bias.f32() : nullptr, places + begin,
                                  std::min(kBlock, count - begin), columns, sums,
                                  outputs[0].f32_out() + n * s.outputs * s.places());
                     });
    }
    return Status();
}

}  // namespace graphdet
