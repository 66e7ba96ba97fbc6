#include "core/lanes.h"
#include "core/parallel.h"
#include "ops/deform_conv/points.h"

namespace graphdet {

namespace {

using deform::Corners;
using deform::Shape;

constexpr std::int64_t kBlock = 48;

// Up to 16 channels that share their filters and their offsets: what one thread works on. Its gradients of the input
// and the weights are its own; what it finds for the offsets is added up later, tile by tile.
struct Tile {
    std::int64_t first, count;
};

[[nodiscard]] std::int64_t tile_end(const Shape& s, std::int64_t first) {
    const auto next = [&](std::int64_t size) { return (first / size + 1) * size; };
    return std::min({first + kLanes, next(s.group_channels()), next(s.moved_channels())});
}

[[nodiscard]] std::int64_t tiles_of(const Shape& s) {
    std::int64_t count = 0;
    for (std::int64_t c = 0; c < s.channels; c = tile_end(s, c)) ++count;
    return count;
}

[[nodiscard]] Tile tile_of(const Shape& s, std::int64_t index) {
    std::int64_t first = 0;
    for (; index > 0; --index) first = tile_end(s, first);
    return {first, tile_end(s, first) - first};
}

[[nodiscard]] std::int64_t weights_of(const Shape& s) { return s.group_outputs() * s.points() * kLanes; }

// Scratch of one thread.
struct Scratch {
    float *map, *map_gradient;          // [H*W+1 16]
    float* filters;                     // [points O 16]
    float *columns, *column_gradients;  // [kBlock 16], of one kernel point
    float* gradient;                    // [O kBlock]

    static std::size_t need(const Shape& s) {
        return 2 * Workspace::need<float>((s.pixels() + 1) * kLanes) + Workspace::need<float>(weights_of(s)) +
               2 * Workspace::need<float>(kBlock * kLanes) + Workspace::need<float>(s.group_outputs() * kBlock);
    }
    Scratch(Workspace from, const Shape& s)
        : map(from.take<float>((s.pixels() + 1) * kLanes)),
          map_gradient(from.take<float>((s.pixels() + 1) * kLanes)),
          filters(from.take<float>(weights_of(s))),
          columns(from.take<float>(kBlock * kLanes)),
          column_gradients(from.take<float>(kBlock * kLanes)),
          gradient(from.take<float>(s.group_outputs() * kBlock)) {}
};

// One image, its results, and what tiles leave behind.
struct Image {
    const float *x, *weight, *mask, *gradient;
    const Corners* corners;  // [offset group, point, place]
    float* x_gradient;
    float* weight_gradients;  // [tile O points 16], over all images
    float* found;             // [tile point 3 place]: of dy, dx and mask

    [[nodiscard]] GD_INLINE float factor(std::int64_t at) const { return mask == nullptr ? 1.0F : mask[at]; }
};

// One kernel point: from gradients of the samples to those of map, offsets and mask; and the samples themselves.
GD_INLINE void scatter(const Scratch& scratch, const Corners* corners, const float* mask, std::int64_t count,
                       float* found, std::int64_t places) {
    const auto* map = reinterpret_cast<const Lanes*>(scratch.map);
    auto* map_gradient = reinterpret_cast<Lanes*>(scratch.map_gradient);
    for (std::int64_t i = 0; i < count; ++i) {
        const Corners& at = corners[i];
        const float factor = mask == nullptr ? 1.0F : mask[i];
        const Lanes a = map[at.pixel[0]], b = map[at.pixel[1]], c = map[at.pixel[2]], d = map[at.pixel[3]];
        const Lanes gradient = reinterpret_cast<const Lanes*>(scratch.column_gradients)[i];
        const Lanes sampled = (at.weight(0) * a + at.weight(1) * b) + (at.weight(2) * c + at.weight(3) * d);
        reinterpret_cast<Lanes*>(scratch.columns)[i] = sampled * factor;
        found[i] = factor * sum_of(gradient * ((c - a) * (1.0F - at.right) + (d - b) * at.right));
        found[places + i] = factor * sum_of(gradient * ((b - a) * (1.0F - at.down) + (d - c) * at.down));
        found[2 * places + i] = sum_of(gradient * sampled);
        const Lanes scaled = gradient * factor;
        for (int k = 0; k < 4; ++k) map_gradient[at.pixel[k]] += at.weight(k) * scaled;
    }
}

GD_CLONES void backward_tile(const Shape& s, const Image& image, std::int64_t index, const Tile& tile,
                             const Scratch& scratch) {
    const std::int64_t group = tile.first / s.group_channels(), moved = tile.first / s.moved_channels();
    const std::int64_t outputs = s.group_outputs(), places = s.places(), pixels = s.pixels(), points = s.points();
    float* weight_gradient = image.weight_gradients + index * weights_of(s);
    float* found = image.found + index * points * 3 * places;
    deform::lay_out(image.x + tile.first * pixels, pixels, tile.count, kLanes, scratch.map);
    std::fill_n(scratch.map_gradient, (pixels + 1) * kLanes, 0.0F);
    for (std::int64_t point = 0; point < points; ++point) {
        for (std::int64_t o = 0; o < outputs; ++o) {
            const std::int64_t inner = s.group_channels();
            const float* from = image.weight + ((group * outputs + o) * inner + tile.first % inner) * points + point;
            float* to = scratch.filters + (point * outputs + o) * kLanes;
            for (std::int64_t c = 0; c < kLanes; ++c) to[c] = c < tile.count ? from[c * points] : 0.0F;
        }
    }
    for (std::int64_t begin = 0; begin < places; begin += kBlock) {
        const std::int64_t count = std::min(kBlock, places - begin);
        for (std::int64_t o = 0; o < outputs; ++o)
            std::copy_n(image.gradient + (group * outputs + o) * places + begin, count, scratch.gradient + o * kBlock);
        for (std::int64_t point = 0; point < points; ++point) {
            const std::int64_t at = (moved * points + point) * places + begin;
            multiply_panel({scratch.gradient, 1, kBlock}, count, outputs, scratch.filters + point * outputs * kLanes,
                           scratch.column_gradients, kLanes, false);
            scatter(scratch, image.corners + at, image.mask == nullptr ? nullptr : image.mask + at, count,
                    found + point * 3 * places + begin, places);
            multiply_panel({scratch.gradient, kBlock, 1}, outputs, count, scratch.columns,
                           weight_gradient + point * kLanes, points * kLanes, true);
        }
    }
    for (std::int64_t c = 0; c < tile.count; ++c)
        for (std::int64_t i = 0; i < pixels; ++i)
            image.x_gradient[(tile.first + c) * pixels + i] = scratch.map_gradient[i * kLanes + c];
}

// The sums over tiles, in their order. `mask` may be null.
void add_up(const Shape& s, const float* found, std::int64_t unit, float* offset, float* mask) {
    const std::int64_t moved = unit / s.points(), point = unit % s.points(), places = s.places();
    float* sums[3] = {offset + 2 * unit * places, offset + (2 * unit + 1) * places,
                      mask == nullptr ? nullptr : mask + unit * places};
    for (int which = 0; which < 3; ++which) {
        if (sums[which] == nullptr) continue;
        std::fill_n(sums[which], places, 0.0F);
        std::int64_t index = 0;
        for (std::int64_t c = 0; c < s.channels; c = tile_end(s, c), ++index) {
            if (c / s.moved_channels() != moved) continue;
            const float* part = found + ((index * s.points() + point) * 3 + which) * places;
            for (std::int64_t i = 0; i < places; ++i) sums[which][i] += part[i];
        }
    }
}

void write_weights(const Shape& s, const float* gradients, std::int64_t index, float* out) {
    const Tile tile = tile_of(s, index);
    const std::int64_t inner = s.group_channels(), group = tile.first / inner;
    const float* from = gradients + index * weights_of(s);
    for (std::int64_t o = 0; o < s.group_outputs(); ++o)
        for (std::int64_t c = 0; c < tile.count; ++c)
            for (std::int64_t point = 0; point < s.points(); ++point)
                out[((group * s.group_outputs() + o) * inner + tile.first % inner + c) * s.points() + point] =
                    from[(o * s.points() + point) * kLanes + c];
}

std::size_t need_once(const Shape& s) {
    const std::int64_t tiles = tiles_of(s), moved = s.points() * s.places();
    return Workspace::need<Corners>(s.offset_groups * moved) + Workspace::need<float>(tiles * weights_of(s)) +
           Workspace::need<float>(tiles * moved * 3);
}

Status check(const DeformConvBackward& args, Shape& s) {
    constexpr const char* op = "deform_conv2d_backward";
    GD_CHECK(deform::check(op, args.of, s));
    const Dim p = {"P", s.out_height}, q = {"Q", s.out_width};
    return expect(op, "gradient", args.gradient, DType::f32, {{"N", s.images}, {"O", s.outputs}, p, q});
}

}  // namespace

Status plan(const DeformConvBackward& args, Plan& plan) {
    Shape s;
    GD_CHECK(check(args, s));
    for (const TensorView* view : {&args.of.x, &args.of.weight, &args.of.offset}) plan.add(DType::f32, view->dims);
    if (args.of.has_mask()) plan.add(DType::f32, args.of.mask.dims);
    const auto parts = std::clamp<std::int64_t>(tiles_of(s), 1, threads());
    plan.workspace = need_once(s) + Scratch::need(s) * static_cast<std::size_t>(parts);
    return Status();
}

Status launch(const DeformConvBackward& args, const TensorView* outputs, Workspace workspace) {
    Shape s;
    Plan needed;
    GD_CHECK(check(args, s));
    GD_CHECK(plan(args, needed));
    needed.workspace = need_once(s) + Scratch::need(s);
    GD_CHECK(fits("deform_conv2d_backward", needed, outputs, workspace));
    const std::int64_t tiles = tiles_of(s), moved = s.offset_groups * s.points(), places = s.places();
    auto* corners = workspace.take<Corners>(moved * places);
    auto* weight_gradients = workspace.take<float>(tiles * weights_of(s));
    auto* found = workspace.take<float>(tiles * s.points() * 3 * places);
    std::fill_n(weight_gradients, tiles * weights_of(s), 0.0F);
    for (std::int64_t n = 0; n < s.images; ++n) {
        const float* offset = args.of.offset.f32() + 2 * n * moved * places;
        const Image image = {args.of.x.f32() + n * s.channels * s.pixels(),
                             args.of.weight.f32(),
                             args.of.has_mask() ? args.of.mask.f32() + n * moved * places : nullptr,
                             args.gradient.f32() + n * s.outputs * places,
                             corners,
                             outputs[0].f32_out() + n * s.channels * s.pixels(),
                             weight_gradients,
                             found};
        parallel_for(moved, 1, [&](std::int64_t unit, std::int64_t) {
            const float* of_group = offset + 2 * (unit / s.points()) * s.points() * places;
            for (std::int64_t i = 0; i < places; ++i)
                corners[unit * places + i] = deform::corners_of(s, of_group, unit % s.points(), i);
        });
        parallel_for(tiles, 1, workspace.slots(Scratch::need(s)), [&](std::int64_t index, std::int64_t, int slot) {
            const Scratch scratch(workspace.part(slot, Scratch::need(s)), s);
            backward_tile(s, image, index, tile_of(s, index), scratch);
        });
        parallel_for(moved, 1, [&](std::int64_t unit, std::int64_t) {
            float* mask = args.of.has_mask() ? outputs[3].f32_out() + n * moved * places : nullptr;
            add_up(s, found, unit, outputs[2].f32_out() + 2 * n * moved * places, mask);
        });
    }
    parallel_for(tiles, 1, [&](std::int64_t index, std::int64_t) {
        write_weights(s, weight_gradients, index, outputs[1].f32_out());
    });
    return Status();
}

}  // namespace graphdet
