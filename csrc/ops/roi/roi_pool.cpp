#include "ops/roi/regions.h"

namespace graphdet {

namespace {

using roi::Item;
using roi::Map;

void pool_plane(const Map& map, const float* plane, const float* at, const RoiGrid& grid, float* out) {
    for (std::int64_t b = 0; b < grid.height; ++b) {
        const PoolSpan y = pool_span(at[1], at[3], b, grid.height, map.height);
        for (std::int64_t a = 0; a < grid.width; ++a) {
            const PoolSpan x = pool_span(at[0], at[2], a, grid.width, map.width);
            float best = -INFINITY;
            for (std::int64_t i = y.begin; i < y.end; ++i)
                for (std::int64_t j = x.begin; j < x.end; ++j) best = std::max(best, plane[i * map.width + j]);
            *out++ = y.begin < y.end && x.begin < x.end ? best : 0.0F;
        }
    }
}

void backward_plane(const Map& map, const float* plane, const float* at, const RoiGrid& grid, const float* gradient,
                    float* out) {
    for (std::int64_t b = 0; b < grid.height; ++b) {
        const PoolSpan y = pool_span(at[1], at[3], b, grid.height, map.height);
        for (std::int64_t a = 0; a < grid.width; ++a, ++gradient) {
            const std::int64_t pixel =
                best_pixel(plane, map.width, y, pool_span(at[0], at[2], a, grid.width, map.width));
            if (pixel >= 0) out[pixel] += *gradient;
        }
    }
}

}  // namespace

Status plan(const RoiPool& args, Plan& plan) {
    constexpr const char* op = "roi_pool";
    GD_CHECK(expect(op, "features", args.features, DType::f32, {"N", "C", "H", "W"}));
    GD_CHECK(expect(op, "rois", args.rois, DType::f32, {"R", 5}));
    GD_CHECK(roi::check_grid(op, args.grid));
    GD_CHECK(roi::check_scale(op, args.scale));
    plan.add(DType::f32, roi::rows_of(args.rois.dims[0], args.features.dims[1], args.grid));
    plan.workspace = Workspace::need<Item>(args.rois.dims[0]);
    return Status();
}

Status launch(const RoiPool& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("roi_pool", needed, outputs, workspace));
    const std::int64_t rois = args.rois.dims[0], bins = args.grid.height * args.grid.width;
    const Map map = roi::map_of(args.features, args.scale);
    auto* items = workspace.take<Item>(rois);
    GD_CHECK(roi::read_rois("roi_pool", args.rois, map.images, items));
    parallel_for(rois, 4, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
            float at[4];
            const bool finite = pool_corners(items[r].box, args.scale, at);
            const float* planes = map.data + items[r].image * map.channels * map.pixels();
            float* out = outputs[0].f32_out() + r * map.channels * bins;
            if (!finite) {
                std::fill_n(out, map.channels * bins, 0.0F);
                continue;
            }
            for (std::int64_t c = 0; c < map.channels; ++c)
                pool_plane(map, planes + c * map.pixels(), at, args.grid, out + c * bins);
        }
    });
    return Status();
}

Status plan(const RoiPoolBackward& args, Plan& plan) {
    constexpr const char* op = "roi_pool_backward";
    Plan forward;
    GD_CHECK(graphdet::plan(args.of, forward));
    const Dims& out = forward.outputs[0].dims;
    const auto height = static_cast<int>(out[2]), width = static_cast<int>(out[3]);
    GD_CHECK(expect(op, "gradient", args.gradient, DType::f32, {{"R", out[0]}, {"C", out[1]}, height, width}));
    plan.add(DType::f32, args.of.features.dims);
    plan.workspace = forward.workspace;
    return Status();
}

Status launch(const RoiPoolBackward& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("roi_pool_backward", needed, outputs, workspace));
    const std::int64_t rois = args.of.rois.dims[0], bins = args.of.grid.height * args.of.grid.width;
    const Map map = roi::map_of(args.of.features, args.of.scale);
    auto* items = workspace.take<Item>(rois);
    GD_CHECK(roi::read_rois("roi_pool_backward", args.of.rois, map.images, items));
    parallel_for(map.images * map.channels, 1, [&](std::int64_t plane, std::int64_t) {
        float* out = outputs[0].f32_out() + plane * map.pixels();
        std::fill_n(out, map.pixels(), 0.0F);
        for (std::int64_t r = 0; r < rois; ++r) {
            float at[4];
            if (items[r].image != plane / map.channels || !pool_corners(items[r].box, args.of.scale, at)) continue;
            const float* gradient = args.gradient.f32() + (r * map.channels + plane % map.channels) * bins;
            backward_plane(map, map.data + plane * map.pixels(), at, args.of.grid, gradient, out);
        }
    });
    return Status();
}

}  // namespace graphdet
