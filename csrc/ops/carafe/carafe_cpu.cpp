#include "ops/carafe/carafe.h"

#include <algorithm>

#include "core/check.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "ops/carafe/window.h"

namespace graphdet {

namespace {

using carafe::check;
using carafe::for_window;
using carafe::Shape;

[[nodiscard]] std::int64_t tiles(const Shape& s) { return parts_of(s.share(), kLanes); }  // of a group
[[nodiscard]] std::int64_t units(const Shape& s) { return s.images * s.groups * tiles(s); }

// Up to 16 channels of a group of an image.
struct Tile {
    std::int64_t image, group, first, count;
};

[[nodiscard]] Tile tile_of(const Shape& s, std::int64_t unit) {
    const std::int64_t tile = unit % tiles(s), group = unit / tiles(s) % s.groups;
    const std::int64_t from = tile * kLanes;
    return {unit / tiles(s) / s.groups, group, group * s.share() + from, std::min(kLanes, s.share() - from)};
}

GD_CLONES void forward_tile(const Shape& s, const float* planes, const float* kernels, std::int64_t channels,
                            float* map, float* result, float* out) {
    collect(planes, s.pixels(), channels, s.pixels(), map);
    const auto* pixels = reinterpret_cast<const Lanes*>(map);
    for (std::int64_t i = 0; i < s.places(); ++i) {
        Lanes sum = {};
        for_window(s, i,
                   [&](std::int64_t k, std::int64_t pixel) { sum += kernels[k * s.places() + i] * pixels[pixel]; });
        reinterpret_cast<Lanes*>(result)[i] = sum;
    }
    spread(result, s.places(), channels, s.places(), out);
}

// `found` receives the tile's share in the gradient of the kernels.
GD_CLONES void backward_tile(const Shape& s, const float* planes, const float* kernels, const float* gradients,
                             std::int64_t channels, float* map, float* map_gradient, float* result, float* out,
                             float* found) {
    collect(planes, s.pixels(), channels, s.pixels(), map);
    collect(gradients, s.places(), channels, s.places(), result);
    std::fill_n(map_gradient, s.pixels() * kLanes, 0.0F);
    std::fill_n(found, s.window() * s.places(), 0.0F);
    const auto* pixels = reinterpret_cast<const Lanes*>(map);
    auto* to = reinterpret_cast<Lanes*>(map_gradient);
    for (std::int64_t i = 0; i < s.places(); ++i) {
        const Lanes gradient = reinterpret_cast<const Lanes*>(result)[i];
        for_window(s, i, [&](std::int64_t k, std::int64_t pixel) {
            to[pixel] += kernels[k * s.places() + i] * gradient;
            found[k * s.places() + i] = sum_of(gradient * pixels[pixel]);
        });
    }
    spread(map_gradient, s.pixels(), channels, s.pixels(), out);
}

std::size_t need_forward(const Shape& s) {
    return Workspace::need<float>(s.pixels() * kLanes) + Workspace::need<float>(s.places() * kLanes);
}

std::size_t need_backward(const Shape& s) {
    return 2 * Workspace::need<float>(s.pixels() * kLanes) + Workspace::need<float>(s.places() * kLanes);
}

[[nodiscard]] std::size_t parts(const Shape& s) {
    return static_cast<std::size_t>(std::clamp<std::int64_t>(units(s), 1, threads()));
}

}  // namespace

Status plan(const Carafe& args, Plan& plan) {
    Shape s;
    GD_CHECK(check("carafe", args, s));
    plan.add(DType::f32, {s.images, s.channels, s.height * s.scale, s.out_width()});
    plan.workspace = need_forward(s) * parts(s);
    return Status();
}

Status launch(const Carafe& args, const TensorView* outputs, Workspace workspace) {
    Shape s;
    Plan needed;
    GD_CHECK(check("carafe", args, s));
    GD_CHECK(plan(args, needed));
    needed.workspace = need_forward(s);
    GD_CHECK(fits("carafe", needed, outputs, workspace));
    if (s.places() == 0) return Status();
    parallel_for(units(s), 1, workspace.slots(need_forward(s)), [&](std::int64_t unit, std::int64_t, int slot) {
        Workspace mine = workspace.part(slot, need_forward(s));
        const Tile tile = tile_of(s, unit);
        const std::int64_t plane = tile.image * s.channels + tile.first;
        const float* kernels = args.kernels.f32() + (tile.image * s.groups + tile.group) * s.window() * s.places();
        auto* map = mine.take<float>(s.pixels() * kLanes);
        auto* result = mine.take<float>(s.places() * kLanes);
        forward_tile(s, args.x.f32() + plane * s.pixels(), kernels, tile.count, map, result,
                     outputs[0].f32_out() + plane * s.places());
    });
    return Status();
}

Status plan(const CarafeBackward& args, Plan& plan) {
    constexpr const char* op = "carafe_backward";
    Shape s;
    GD_CHECK(check(op, args.of, s));
    const Dim p = {"P", s.height * s.scale}, q = {"Q", s.out_width()};
    GD_CHECK(expect(op, "gradient", args.gradient, DType::f32, {{"N", s.images}, {"C", s.channels}, p, q}));
    plan.add(DType::f32, args.of.x.dims);
    plan.add(DType::f32, args.of.kernels.dims);
    plan.workspace = Workspace::need<float>(units(s) * s.window() * s.places()) + need_backward(s) * parts(s);
    return Status();
}

Status launch(const CarafeBackward& args, const TensorView* outputs, Workspace workspace) {
    constexpr const char* op = "carafe_backward";
    Shape s;
    Plan needed;
    GD_CHECK(check(op, args.of, s));
    GD_CHECK(plan(args, needed));
    const std::int64_t kernel = s.window() * s.places();
    needed.workspace = Workspace::need<float>(units(s) * kernel) + need_backward(s);
    GD_CHECK(fits(op, needed, outputs, workspace));
    if (s.places() == 0) return Status();
    auto* found = workspace.take<float>(units(s) * kernel);
    parallel_for(units(s), 1, workspace.slots(need_backward(s)), [&](std::int64_t unit, std::int64_t, int slot) {
        Workspace mine = workspace.part(slot, need_backward(s));
        const Tile tile = tile_of(s, unit);
        const std::int64_t plane = tile.image * s.channels + tile.first;
        auto* map = mine.take<float>(s.pixels() * kLanes);
        auto* map_gradient = mine.take<float>(s.pixels() * kLanes);
        auto* result = mine.take<float>(s.places() * kLanes);
        backward_tile(s, args.of.x.f32() + plane * s.pixels(),
                      args.of.kernels.f32() + (tile.image * s.groups + tile.group) * kernel,
                      args.gradient.f32() + plane * s.places(), tile.count, map, map_gradient, result,
                      outputs[0].f32_out() + plane * s.pixels(), found + unit * kernel);
    });
    parallel_for(s.images * s.groups, 1, [&](std::int64_t group, std::int64_t) {
        float* out = outputs[1].f32_out() + group * kernel;
        std::fill_n(out, kernel, 0.0F);
        for (std::int64_t tile = 0; tile < tiles(s); ++tile) {
            const float* part = found + (group * tiles(s) + tile) * kernel;
            for (std::int64_t i = 0; i < kernel; ++i) out[i] += part[i];
        }
    });
    return Status();
}

}  // namespace graphdet
