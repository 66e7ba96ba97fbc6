#include "ops/roi/regions.h"

namespace graphdet {

namespace {

using roi::Item;
using roi::Map;
using roi::Rois;
using roi::Scratch;

// One RoI on one tile: V is a float, or the channels of a tile.
template <class V>
GD_INLINE void scatter_bins(float* tile, std::int64_t width, const Taps& ys, const Taps& xs, const RoiGrid& grid,
                            float share, const float* bins) {
    auto* pixels = reinterpret_cast<V*>(tile);
    const auto* in = reinterpret_cast<const V*>(bins);
    for (std::int64_t b = 0; b < grid.height; ++b) {
        for (std::int64_t a = 0; a < grid.width; ++a, ++in) {
            for (std::int32_t i = ys.first[b]; i < ys.first[b + 1]; ++i) {
                V* line = pixels + ys.pixel[i] * width;
                const V row = *in * share * ys.weight[i];
                for (std::int32_t j = xs.first[a]; j < xs.first[a + 1]; ++j) line[xs.pixel[j]] += xs.weight[j] * row;
            }
        }
    }
}

GD_CLONES void scatter_tile(float* tile, std::int64_t width, const Taps& ys, const Taps& xs, const RoiGrid& grid,
                            float share, const float* bins) {
    scatter_bins<Lanes>(tile, width, ys, xs, grid, share, bins);
}

GD_CLONES void lay_out(const float* bins, std::int64_t count, std::int64_t channels, float* tile) {
    collect(bins, count, channels, count, tile);
}

GD_CLONES void put_back(const float* tile, std::int64_t pixels, std::int64_t channels, float* planes) {
    spread(tile, pixels, channels, pixels, planes);
}

void backward_unit(const Map& map, const Rois& rois, std::int64_t unit, const Scratch& s) {
    const std::int64_t image = unit / map.tiles(), from = unit % map.tiles() * kLanes, pixels = map.pixels();
    const std::int64_t channels = std::min(kLanes, map.channels - from), bins = rois.bins();
    float* planes = map.data + (image * map.channels + from) * pixels;
    const bool few = rois.few(image, pixels);
    std::fill_n(few ? planes : s.tile, (few ? channels : kLanes) * pixels, 0.0F);
    for (std::int64_t i = 0; i < rois.count; ++i) {
        if (!rois.wants(i, image)) continue;
        const float* gradient = rois.values + (rois.items[i].row * map.channels + from) * bins;
        const float share = s.aim(rois.items[i], map, rois.grid);
        if (share == 0.0F) continue;
        if (few) {
            for (std::int64_t c = 0; c < channels; ++c)
                scatter_bins<float>(planes + c * pixels, map.width, s.ys, s.xs, rois.grid, share, gradient + c * bins);
        } else {
            lay_out(gradient, bins, channels, s.bins);
            scatter_tile(s.tile, map.width, s.ys, s.xs, rois.grid, share, s.bins);
        }
    }
    if (!few) put_back(s.tile, pixels, channels, planes);
}

}  // namespace

Status plan(const RoiAlignBackward& args, Plan& plan) {
    constexpr const char* op = "roi_align_backward";
    GD_CHECK(roi::check_grid(op, args.grid));
    GD_CHECK(roi::check_scale(op, args.scale));
    GD_CHECK(expect(op, "rois", args.rois, DType::f32, {"R", 5}));
    const auto height = static_cast<int>(args.grid.height), width = static_cast<int>(args.grid.width);
    GD_CHECK(expect(op, "gradient", args.gradient, DType::f32, {{"R", args.rois.dims[0]}, "C", height, width}));
    const bool sized = args.images >= 0 && args.map_height >= 0 && args.map_width >= 0;
    GD_CHECK(require(sized, op, ": the feature map has a negative size"));
    const Dims map = {args.images, args.gradient.dims[1], args.map_height, args.map_width};
    GD_CHECK(roi::check_map(op, map, args.rois.dims[0]));
    plan.add(DType::f32, map);
    plan.workspace = Workspace::need<Item>(args.rois.dims[0]) + roi::scratch_of(args.grid, map);
    return Status();
}

Status launch(const RoiAlignBackward& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    const std::int64_t rois = args.rois.dims[0];
    needed.workspace = Workspace::need<Item>(rois) + Scratch::need(args.grid, args.map_height, args.map_width);
    GD_CHECK(fits("roi_align_backward", needed, outputs, workspace));
    auto* items = workspace.take<Item>(rois);
    GD_CHECK(roi::read_rois("roi_align_backward", args.rois, args.images, items));
    roi::for_units(roi::map_of(outputs[0], args.scale),
                   {items, rois, 0, args.grid, static_cast<float*>(args.gradient.data)}, workspace, backward_unit);
    return Status();
}

}  // namespace graphdet
