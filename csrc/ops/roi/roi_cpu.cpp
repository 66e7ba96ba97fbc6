#include "ops/roi/regions.h"

namespace graphdet {

namespace {

using roi::Item;
using roi::Map;
using roi::Rois;
using roi::Scratch;

// One RoI on one tile: V is a float, or the channels of a tile.
template <class V>
GD_INLINE void gather_bins(const float* tile, std::int64_t width, const Taps& ys, const Taps& xs, const RoiGrid& grid,
                           float share, float* bins) {
    const auto* pixels = reinterpret_cast<const V*>(tile);
    auto* out = reinterpret_cast<V*>(bins);
    for (std::int64_t b = 0; b < grid.height; ++b) {
        for (std::int64_t a = 0; a < grid.width; ++a) {
            V sum = {};
            for (std::int32_t i = ys.first[b]; i < ys.first[b + 1]; ++i) {
                const V* line = pixels + ys.pixel[i] * width;
                V row = {};
                for (std::int32_t j = xs.first[a]; j < xs.first[a + 1]; ++j) row += xs.weight[j] * line[xs.pixel[j]];
                sum += ys.weight[i] * row;
            }
            *out++ = sum * share;
        }
    }
}

GD_CLONES void gather_tile(const float* tile, std::int64_t width, const Taps& ys, const Taps& xs, const RoiGrid& grid,
                           float share, float* bins) {
    gather_bins<Lanes>(tile, width, ys, xs, grid, share, bins);
}

GD_CLONES void lay_out(const float* planes, std::int64_t pixels, std::int64_t channels, float* tile) {
    collect(planes, pixels, channels, pixels, tile);
}

GD_CLONES void put_back(const float* bins, std::int64_t count, std::int64_t channels, float* out) {
    spread(bins, count, channels, count, out);
}

void forward_unit(const Map& map, const Rois& rois, std::int64_t unit, const Scratch& s) {
    const std::int64_t image = unit / map.tiles(), from = unit % map.tiles() * kLanes, pixels = map.pixels();
    const std::int64_t channels = std::min(kLanes, map.channels - from), bins = rois.bins();
    const float* planes = map.data + (image * map.channels + from) * pixels;
    const bool few = rois.few(image, pixels);
    bool laid_out = few;
    for (std::int64_t i = 0; i < rois.count; ++i) {
        if (!rois.wants(i, image)) continue;
        float* out = rois.values + (rois.items[i].row * map.channels + from) * bins;
        const float share = s.aim(rois.items[i], map, rois.grid);
        if (share == 0.0F) {
            std::fill_n(out, channels * bins, 0.0F);
            continue;
        }
        if (!laid_out) lay_out(planes, pixels, channels, s.tile);
        laid_out = true;
        if (few) {
            for (std::int64_t c = 0; c < channels; ++c)
                gather_bins<float>(planes + c * pixels, map.width, s.ys, s.xs, rois.grid, share, out + c * bins);
        } else {
            gather_tile(s.tile, map.width, s.ys, s.xs, rois.grid, share, s.bins);
            put_back(s.bins, bins, channels, out);
        }
    }
}

}  // namespace

Status plan(const RoiAlign& args, Plan& plan) {
    constexpr const char* op = "roi_align";
    GD_CHECK(expect(op, "features", args.features, DType::f32, {"N", "C", "H", "W"}));
    GD_CHECK(expect(op, "rois", args.rois, DType::f32, {"R", 5}));
    GD_CHECK(roi::check_grid(op, args.grid));
    GD_CHECK(roi::check_scale(op, args.scale));
    GD_CHECK(roi::check_map(op, args.features.dims, args.rois.dims[0]));
    plan.add(DType::f32, roi::rows_of(args.rois.dims[0], args.features.dims[1], args.grid));
    plan.workspace = Workspace::need<Item>(args.rois.dims[0]) + roi::scratch_of(args.grid, args.features.dims);
    return Status();
}

Status launch(const RoiAlign& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    const std::int64_t rois = args.rois.dims[0];
    const Map map = roi::map_of(args.features, args.scale);
    needed.workspace = Workspace::need<Item>(rois) + Scratch::need(args.grid, map.height, map.width);
    GD_CHECK(fits("roi_align", needed, outputs, workspace));
    auto* items = workspace.take<Item>(rois);
    GD_CHECK(roi::read_rois("roi_align", args.rois, map.images, items));
    if (rois > 0) roi::for_units(map, {items, rois, 0, args.grid, outputs[0].f32_out()}, workspace, forward_unit);
    return Status();
}

Status plan(const RoiAlignLevels& args, Plan& plan) {
    constexpr const char* op = "roi_align_levels";
    GD_CHECK(expect(op, "boxes", args.boxes, DType::f32, {"N", "K", 4}));
    const std::int64_t images = args.boxes.dims[0], rows = args.boxes.dims[1];
    GD_CHECK(expect(op, "count", args.count, DType::i64, {{"N", images}}));
    GD_CHECK(roi::check_grid(op, args.grid));
    GD_CHECK(require(args.level_count > 0 && args.level_count <= RoiAlignLevels::kMaxLevels, op, ": found ",
                     args.level_count, " levels, expected 1 to ", RoiAlignLevels::kMaxLevels));
    GD_CHECK(require(args.canonical > 0.0F, op, ": canonical is ", args.canonical, ", expected a number > 0"));
    std::size_t most = 0;
    for (int l = 0; l < args.level_count; ++l) {
        const TensorView& level = args.levels[l];
        const std::int64_t channels = args.levels[0].dims[1];
        GD_CHECK(expect(op, "a level", level, DType::f32, {{"N", images}, {"C", l > 0 ? channels : -1}, "H", "W"}));
        GD_CHECK(roi::check_map(op, level.dims, images * rows));
        GD_CHECK(
            require(args.strides[l] > 0.0F, op, ": stride ", l, " is ", args.strides[l], ", expected a number > 0"));
        most = std::max(most, roi::scratch_of(args.grid, level.dims));
    }
    plan.add(DType::f32, {images, rows, args.levels[0].dims[1], args.grid.height, args.grid.width});
    plan.workspace = Workspace::need<Item>(images * rows) + most;
    return Status();
}

Status launch(const RoiAlignLevels& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    const std::int64_t images = args.boxes.dims[0], rows = args.boxes.dims[1];
    const std::int64_t width = needed.outputs[0].dims.count(2, 5);
    std::size_t least = 0;
    for (int l = 0; l < args.level_count; ++l)
        least = std::max(least, Scratch::need(args.grid, args.levels[l].dims[2], args.levels[l].dims[3]));
    needed.workspace = Workspace::need<Item>(images * rows) + least;
    GD_CHECK(fits("roi_align_levels", needed, outputs, workspace));
    auto* items = workspace.take<Item>(images * rows);
    const LevelLimits limits(args);
    std::int64_t count = 0;
    for (std::int64_t n = 0; n < images; ++n) {
        const std::int64_t valid = std::clamp<std::int64_t>(args.count.i64()[n], 0, rows);
        for (std::int64_t k = 0; k < valid; ++k) {
            const float* b = args.boxes.f32() + (n * rows + k) * 4;
            items[count++] = {{b[0], b[1], b[2], b[3]}, static_cast<std::int32_t>(n), limits.level_of(b), n * rows + k};
        }
        std::fill_n(outputs[0].f32_out() + (n * rows + valid) * width, (rows - valid) * width, 0.0F);
    }
    if (count == 0) return Status();
    for (std::int32_t l = 0; l < args.level_count; ++l) {
        const Rois rois = {items, count, l, args.grid, outputs[0].f32_out()};
        roi::for_units(roi::map_of(args.levels[l], 1.0F / args.strides[l]), rois, workspace, forward_unit);
    }
    return Status();
}

}  // namespace graphdet
