#include "core/lanes.h"
#include "core/parallel.h"
#include "ops/deform_conv/points.h"

namespace graphdet {

namespace {

using deform::Corners;
using deform::Shape;

constexpr std::int64_t kBlock = 48;  // output pixels that are sampled, then multiplied

[[nodiscard]] std::int64_t panels(const Shape& s) { return parts_of(s.group_outputs(), kLanes); }
[[nodiscard]] std::int64_t sum_width(const Shape& s) { return s.groups * panels(s) * kLanes; }

// Filters as panels [point group panel channel 16]; lanes without a filter are 0.
void pack(const Shape& s, const float* weight, float* packed) {
    const std::int64_t inner = s.group_channels(), blocks = s.groups * panels(s);
    parallel_for(s.points() * blocks, 4, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t unit = begin; unit < end; ++unit) {
            const std::int64_t point = unit / blocks, group = unit % blocks / panels(s);
            const std::int64_t first = unit % panels(s) * kLanes;
            for (std::int64_t k = 0; k < inner; ++k) {
                float* to = packed + (unit * inner + k) * kLanes;
                for (std::int64_t lane = 0; lane < kLanes; ++lane) {
                    const std::int64_t filter = group * s.group_outputs() + first + lane;
                    const bool there = first + lane < s.group_outputs();
                    to[lane] = there ? weight[(filter * inner + k) * s.points() + point] : 0.0F;
                }
            }
        }
    });
}

// One image: its map with channels innermost, offsets, mask (or null) and result.
struct Image {
    const float *map, *offset, *mask, *packed, *bias;
    float* out;
};

// The samples of one kernel point: [count C].
GD_INLINE void sample(const Shape& s, const Image& image, std::int64_t point, std::int64_t begin, std::int64_t count,
                      float* columns) {
    const std::int64_t share = s.moved_channels();
    for (std::int64_t g = 0; g < s.offset_groups; ++g) {
        const float* offsets = image.offset + 2 * g * s.points() * s.places();
        for (std::int64_t i = 0; i < count; ++i) {
            Corners at = deform::corners_of(s, offsets, point, begin + i);
            const float factor =
                image.mask == nullptr ? 1.0F : image.mask[(g * s.points() + point) * s.places() + begin + i];
            const float* pixel[4];
            float weight[4];
            for (int k = 0; k < 4; ++k) {
                weight[k] = at.weight(k);
                if (weight[k] == 0.0F) at.pixel[k] = static_cast<std::int32_t>(s.pixels());
                weight[k] *= factor;
                pixel[k] = image.map + at.pixel[k] * s.channels + g * share;
            }
            float* to = columns + i * s.channels + g * share;
            for (std::int64_t c = 0; c < share; ++c)
                to[c] = (weight[0] * pixel[0][c] + weight[1] * pixel[1][c]) +
                        (weight[2] * pixel[2][c] + weight[3] * pixel[3][c]);
        }
    }
}

GD_CLONES void convolve(const Shape& s, const Image& image, std::int64_t begin, std::int64_t count, float* columns,
                        float* sums) {
    const std::int64_t inner = s.group_channels(), blocks = s.groups * panels(s), width = sum_width(s);
    for (std::int64_t point = 0; point < s.points(); ++point) {
        sample(s, image, point, begin, count, columns);
        for (std::int64_t block = 0; block < blocks; ++block) {
            const float* filters = image.packed + (point * blocks + block) * inner * kLanes;
            const Strided a = {columns + block / panels(s) * inner, s.channels, 1};
            multiply_panel(a, count, inner, filters, sums + block * kLanes, width, point > 0);
        }
    }
    for (std::int64_t filter = 0; filter < s.outputs; ++filter) {
        const float shift = image.bias == nullptr ? 0.0F : image.bias[filter];
        const float* from = sums + filter / s.group_outputs() * panels(s) * kLanes + filter % s.group_outputs();
        float* to = image.out + filter * s.places() + begin;
        for (std::int64_t i = 0; i < count; ++i) to[i] = from[i * width] + shift;
    }
}

std::size_t need_once(const Shape& s) {
    return Workspace::need<float>((s.pixels() + 1) * s.channels) +
           Workspace::need<float>(s.points() * sum_width(s) * s.group_channels());
}

std::size_t need_each(const Shape& s) {
    return Workspace::need<float>(kBlock * s.channels) + Workspace::need<float>(kBlock * sum_width(s));
}

}  // namespace

Status plan(const DeformConv& args, Plan& plan) {
    Shape s;
    GD_CHECK(deform::check("deform_conv2d", args, s));
    plan.add(DType::f32, {s.images, s.outputs, s.out_height, s.out_width});
    const auto blocks = std::clamp<std::int64_t>(parts_of(s.places(), kBlock), 1, threads());
    plan.workspace = need_once(s) + need_each(s) * static_cast<std::size_t>(blocks);
    return Status();
}

Status launch(const DeformConv& args, const TensorView* outputs, Workspace workspace) {
    Shape s;
    Plan needed;
    GD_CHECK(deform::check("deform_conv2d", args, s));
    GD_CHECK(plan(args, needed));
    needed.workspace = need_once(s) + need_each(s);
    GD_CHECK(fits("deform_conv2d", needed, outputs, workspace));
    if (needed.outputs[0].dims.count() == 0) return Status();
    auto* map = workspace.take<float>((s.pixels() + 1) * s.channels);
    auto* packed = workspace.take<float>(s.points() * sum_width(s) * s.group_channels());
    pack(s, args.weight.f32(), packed);
    for (std::int64_t n = 0; n < s.images; ++n) {
        const std::int64_t moved = s.offset_groups * s.points() * s.places();
        const Image image = {map,
                             args.offset.f32() + 2 * n * moved,
                             args.has_mask() ? args.mask.f32() + n * moved : nullptr,
                             packed,
                             args.has_bias() ? args.bias.f32() : nullptr,
                             outputs[0].f32_out() + n * s.outputs * s.places()};
        deform::lay_out(args.x.f32() + n * s.channels * s.pixels(), s.pixels(), s.channels, s.channels, map);
        parallel_for(parts_of(s.places(), kBlock), 1, workspace.slots(need_each(s)),
                     [&](std::int64_t block, std::int64_t, int slot) {
                         Workspace mine = workspace.part(slot, need_each(s));
                         auto* columns = mine.take<float>(kBlock * s.channels);
                         auto* sums = mine.take<float>(kBlock * sum_width(s));
                         const std::int64_t begin = block * kBlock;
                         convolve(s, image, begin, std::min(kBlock, s.places() - begin), columns, sums);
                     });
    }
    return Status();
}

}  // namespace graphdet
