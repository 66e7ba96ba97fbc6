#include "ops/masked_conv/masked_conv.h"

#include <algorithm>

#include "core/check.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "ops/masked_conv/shape.h"

namespace graphdet {

namespace {

constexpr std::int64_t kBlock = 48;  // output pixels that are multiplied at a time

using masked::check;
using masked::has_bias;
using masked::Shape;

[[nodiscard]] std::int64_t panels(const Shape& s) { return parts_of(s.outputs, kLanes); }

// Filters as panels [point panel channel 16]; lanes without a filter are 0.
void pack(const Shape& s, const float* weight, float* packed) {
    for (std::int64_t point = 0; point < s.points(); ++point)
        for (std::int64_t o = 0; o < panels(s) * kLanes; ++o)
            for (std::int64_t c = 0; c < s.channels; ++c) {
                const std::int64_t at = (point * panels(s) + o / kLanes) * s.channels + c;
                packed[at * kLanes + o % kLanes] =
                    o < s.outputs ? weight[(o * s.channels + c) * s.points() + point] : 0.0F;
            }
}

// The output pixels `places` of one image. `map` has channels innermost and a row of zeros at its end.
GD_CLONES void convolve(const Shape& s, const float* map, const float* packed, const float* bias,
                        const std::int64_t* places, std::int64_t count, float* columns, float* sums, float* out) {
    const std::int64_t width = panels(s) * kLanes;
    for (std::int64_t point = 0; point < s.points(); ++point) {
        for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t y = places[i] / s.out_width * s.stride - s.padding + point / s.columns;
            const std::int64_t x = places[i] % s.out_width * s.stride - s.padding + point % s.columns;
            const bool inside = y >= 0 && y < s.height && x >= 0 && x < s.width;
            const float* from = map + (inside ? y * s.width + x : s.pixels()) * s.channels;
            std::copy_n(from, s.channels, columns + i * s.channels);
        }
        for (std::int64_t panel = 0; panel < panels(s); ++panel) {
            const float* filters = packed + (point * panels(s) + panel) * s.channels * kLanes;
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
           Workspace::need<float>(s.points() * panels(s) * kLanes * s.channels);
}

std::size_t need_each(const Shape& s) {
    return Workspace::need<float>(kBlock * s.channels) + Workspace::need<float>(kBlock * panels(s) * kLanes);
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
    auto* packed = workspace.take<float>(s.points() * panels(s) * kLanes * s.channels);
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
                         auto* sums = mine.take<float>(kBlock * panels(s) * kLanes);
                         const std::int64_t begin = block * kBlock;
                         convolve(s, map, packed, has_bias(args) ? args.bias.f32() : nullptr, places + begin,
                                  std::min(kBlock, count - begin), columns, sums,
                                  outputs[0].f32_out() + n * s.outputs * s.places());
                     });
    }
    return Status();
}

}  // namespace graphdet
