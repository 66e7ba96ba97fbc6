#include "ops/roi/roi.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/parallel.h"
#include "ops/roi/taps.h"

namespace graphdet {

namespace {

constexpr std::int64_t kTile = 16;  // channels that lie together: one AVX-512 register, two of AVX2

// A RoI that some level reads: corners in input pixels, and the row of the result.
struct Item {
    float box[4];
    std::int32_t image, level;
    std::int64_t row;
};

struct Map {
    float* data;  // read by the forward pass, written by the backward pass
    std::int64_t images, channels, height, width;
    float scale;

    [[nodiscard]] std::int64_t pixels() const { return height * width; }
    [[nodiscard]] std::int64_t tiles() const { return (channels + kTile - 1) / kTile; }
};

// --- one RoI on one tile: V is a float, or kTile channels that lie together
// -------------------------------------------

// The compiler's own vector type: it splits into whatever registers the processor has.
using Lanes = float __attribute__((vector_size(kTile * sizeof(float)), aligned(sizeof(float)), may_alias));

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

GD_CLONES void gather_tile(const float* tile, std::int64_t width, const Taps& ys, const Taps& xs, const RoiGrid& grid,
                           float share, float* bins) {
    gather_bins<Lanes>(tile, width, ys, xs, grid, share, bins);
}

GD_CLONES void scatter_tile(float* tile, std::int64_t width, const Taps& ys, const Taps& xs, const RoiGrid& grid,
                            float share, const float* bins) {
    scatter_bins<Lanes>(tile, width, ys, xs, grid, share, bins);
}

// to[c * `step` + i] = from[i * kTile + c] for `channels` channels, a block of i at a time so that both stay in cache.
GD_CLONES void spread(const float* from, std::int64_t count, std::int64_t channels, std::int64_t step, float* to) {
    constexpr std::int64_t kBlock = 64;
    for (std::int64_t begin = 0; begin < count; begin += kBlock) {
        const std::int64_t end = std::min(count, begin + kBlock);
        for (std::int64_t c = 0; c < channels; ++c)
            for (std::int64_t i = begin; i < end; ++i) to[c * step + i] = from[i * kTile + c];
    }
}

// The inverse; channels that are not there become 0.
GD_CLONES void collect(const float* from, std::int64_t count, std::int64_t channels, std::int64_t step, float* to) {
    constexpr std::int64_t kBlock = 16;
    std::int64_t i = 0;
    if (channels == kTile) {
        for (; i + kBlock <= count; i += kBlock)
            for (std::int64_t k = 0; k < kBlock; ++k)
                for (std::int64_t c = 0; c < kTile; ++c) to[(i + k) * kTile + c] = from[c * step + i + k];
    }
    for (; i < count; ++i)
        for (std::int64_t c = 0; c < kTile; ++c) to[i * kTile + c] = c < channels ? from[c * step + i] : 0.0F;
}

// --- all RoIs on one map
// ----------------------------------------------------------------------------------------------

// Scratch of one thread.
struct Scratch {
    Taps ys, xs;
    float* bins;  // [B kTile]
    float* tile;  // [H W kTile]

    static std::size_t need(const RoiGrid& grid, std::int64_t height, std::int64_t width) {
        return Taps::need(grid.height, Taps::room(grid.height, grid.samples, height)) +
               Taps::need(grid.width, Taps::room(grid.width, grid.samples, width)) +
               Workspace::need<float>(grid.height * grid.width * kTile) +
               Workspace::need<float>(height * width * kTile);
    }
    Scratch(Workspace from, const RoiGrid& grid, std::int64_t height, std::int64_t width)
        : ys(from, grid.height, Taps::room(grid.height, grid.samples, height)),
          xs(from, grid.width, Taps::room(grid.width, grid.samples, width)),
          bins(from.take<float>(grid.height * grid.width * kTile)),
          tile(from.take<float>(height * width * kTile)) {}

    // Prepares the taps of a RoI. Returns 1 / number of samples of a bin; 0 when there are none.
    [[nodiscard]] float aim(const Item& item, const Map& map, const RoiGrid& grid) const {
        const float shift = grid.aligned ? 0.5F : 0.0F;
        float at[4];
        for (int i = 0; i < 4; ++i) at[i] = item.box[i] * map.scale - shift;
        const std::int64_t x = xs.build(at[0], at[2], !grid.aligned, grid.width, grid.samples, map.width);
        const std::int64_t y = ys.build(at[1], at[3], !grid.aligned, grid.height, grid.samples, map.height);
        return x > 0 && y > 0 ? 1.0F / (static_cast<float>(x) * static_cast<float>(y)) : 0.0F;
    }
};

struct Roi {
    const Item* items;
    std::int64_t count;
    std::int32_t level;
    RoiGrid grid;
    float* values;  // [row C bins]: result, or gradient of it

    [[nodiscard]] std::int64_t bins() const { return grid.height * grid.width; }
    [[nodiscard]] bool wants(std::int64_t i, std::int64_t image) const {
        return items[i].image == image && items[i].level == level;
    }
    // Is it cheaper to read the planes of the map than to lay tiles out first? The results are equal.
    [[nodiscard]] bool few(std::int64_t image, std::int64_t pixels) const {
        std::int64_t mine = 0;
        for (std::int64_t i = 0; i < count; ++i) mine += wants(i, image) ? 1 : 0;
        const std::int64_t side = grid.samples > 0 ? 2 * grid.samples : 4;
        return mine * bins() * side * side < pixels / 2;
    }
};

void forward_unit(const Map& map, const Roi& roi, std::int64_t unit, const Scratch& s) {
    const std::int64_t image = unit / map.tiles(), from = unit % map.tiles() * kTile, pixels = map.pixels();
    const std::int64_t channels = std::min(kTile, map.channels - from), bins = roi.bins();
    const float* planes = map.data + (image * map.channels + from) * pixels;
    const bool few = roi.few(image, pixels);
    bool laid_out = few;
    for (std::int64_t i = 0; i < roi.count; ++i) {
        if (!roi.wants(i, image)) continue;
        float* out = roi.values + (roi.items[i].row * map.channels + from) * bins;
        const float share = s.aim(roi.items[i], map, roi.grid);
        if (share == 0.0F) {
            std::fill_n(out, channels * bins, 0.0F);
            continue;
        }
        if (!laid_out) collect(planes, pixels, channels, pixels, s.tile);
        laid_out = true;
        if (few) {
            for (std::int64_t c = 0; c < channels; ++c)
                gather_bins<float>(planes + c * pixels, map.width, s.ys, s.xs, roi.grid, share, out + c * bins);
        } else {
            gather_tile(s.tile, map.width, s.ys, s.xs, roi.grid, share, s.bins);
            spread(s.bins, bins, channels, bins, out);
        }
    }
}

void backward_unit(const Map& map, const Roi& roi, std::int64_t unit, const Scratch& s) {
    const std::int64_t image = unit / map.tiles(), from = unit % map.tiles() * kTile, pixels = map.pixels();
    const std::int64_t channels = std::min(kTile, map.channels - from), bins = roi.bins();
    float* planes = map.data + (image * map.channels + from) * pixels;
    const bool few = roi.few(image, pixels);
    std::fill_n(few ? planes : s.tile, (few ? channels : kTile) * pixels, 0.0F);
    for (std::int64_t i = 0; i < roi.count; ++i) {
        if (!roi.wants(i, image)) continue;
        const float* gradient = roi.values + (roi.items[i].row * map.channels + from) * bins;
        const float share = s.aim(roi.items[i], map, roi.grid);
        if (share == 0.0F) continue;
        if (few) {
            for (std::int64_t c = 0; c < channels; ++c)
                scatter_bins<float>(planes + c * pixels, map.width, s.ys, s.xs, roi.grid, share, gradient + c * bins);
        } else {
            collect(gradient, bins, channels, bins, s.bins);
            scatter_tile(s.tile, map.width, s.ys, s.xs, roi.grid, share, s.bins);
        }
    }
    if (!few) spread(s.tile, pixels, channels, pixels, planes);
}

using Unit = void (*)(const Map&, const Roi&, std::int64_t, const Scratch&);

void for_units(const Map& map, const Roi& roi, const Workspace& workspace, Unit work) {
    const std::size_t part = Scratch::need(roi.grid, map.height, map.width);
    parallel_for(map.images * map.tiles(), 1, workspace.slots(part), [&](std::int64_t unit, std::int64_t, int slot) {
        const Scratch scratch(workspace.part(slot, part), roi.grid, map.height, map.width);
        work(map, roi, unit, scratch);
    });
}

std::size_t scratch_of(const RoiGrid& grid, const Dims& map) {
    const std::int64_t tiles = (map[1] + kTile - 1) / kTile;
    const auto parts = static_cast<std::size_t>(std::clamp<std::int64_t>(map[0] * tiles, 1, threads()));
    return Scratch::need(grid, map[2], map[3]) * parts;
}

// --- operands
// ---------------------------------------------------------------------------------------------------------

Status check_grid(const char* op, const RoiGrid& grid) {
    GD_CHECK(require(grid.height > 0 && grid.width > 0, op, ": size is ", grid.height, " x ", grid.width,
                     ", expected numbers > 0"));
    return require(grid.samples >= 0, op, ": samples is ", grid.samples, ", expected a number >= 0");
}

Status check_map(const char* op, const Dims& map, std::int64_t rois) {
    GD_CHECK(require(rois == 0 || map[1] == 0 || map.count(2, 4) > 0, op, ": the feature map has no pixels"));
    return require(map.count(2, 4) < (std::int64_t{1} << 31), op, ": the feature map has ", map.count(2, 4),
                   " pixels, expected fewer than 2^31");
}

Status check_scale(const char* op, float scale) {
    return require(scale > 0.0F && std::isfinite(scale), op, ": scale is ", scale, ", expected a number > 0");
}

// RoIs f32[R 5] as items. Fails for a row whose image does not exist.
Status read_rois(const char* op, const TensorView& rois, std::int64_t images, Item* items) {
    for (std::int64_t r = 0; r < rois.dims[0]; ++r) {
        const float* row = rois.f32() + 5 * r;
        const bool exists = row[0] >= 0.0F && row[0] < static_cast<float>(images) && row[0] == std::floor(row[0]);
        GD_CHECK(
            require(exists, op, ": rois[", r, ", 0] is ", row[0], ", expected a whole number >= 0 and < ", images));
        items[r] = {{row[1], row[2], row[3], row[4]}, static_cast<std::int32_t>(row[0]), 0, r};
    }
    return Status();
}

Dims rows_of(std::int64_t rois, std::int64_t channels, const RoiGrid& grid) {
    return {rois, channels, grid.height, grid.width};
}

Map map_of(const TensorView& view, float scale) {
    const Dims& d = view.dims;
    return {static_cast<float*>(view.data), d[0], d[1], d[2], d[3], scale};
}

// The finest level whose RoIs are at most this large, by area: level l ends where level l + 1 begins.
std::int32_t level_of(const float* box, const RoiAlignLevels& args) {
    const float area = std::max(box[2] - box[0], 0.0F) * std::max(box[3] - box[1], 0.0F);
    std::int32_t level = 0;
    for (std::int32_t l = 1; l < args.level_count; ++l) {
        const float side = std::ldexp(args.canonical, static_cast<int>(args.finest) + l - 4);
        if (area >= side * side) level = l;
    }
    return level;
}

}  // namespace

// --- align
// ------------------------------------------------------------------------------------------------------------

Status plan(const RoiAlign& args, Plan& plan) {
    constexpr const char* op = "roi_align";
    GD_CHECK(expect(op, "features", args.features, DType::f32, {"N", "C", "H", "W"}));
    GD_CHECK(expect(op, "rois", args.rois, DType::f32, {"R", 5}));
    GD_CHECK(check_grid(op, args.grid));
    GD_CHECK(check_scale(op, args.scale));
    GD_CHECK(check_map(op, args.features.dims, args.rois.dims[0]));
    plan.add(DType::f32, rows_of(args.rois.dims[0], args.features.dims[1], args.grid));
    plan.workspace = Workspace::need<Item>(args.rois.dims[0]) + scratch_of(args.grid, args.features.dims);
    return Status();
}

Status launch(const RoiAlign& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    const std::int64_t rois = args.rois.dims[0];
    const Map map = map_of(args.features, args.scale);
    needed.workspace = Workspace::need<Item>(rois) + Scratch::need(args.grid, map.height, map.width);
    GD_CHECK(fits("roi_align", needed, outputs, workspace));
    auto* items = workspace.take<Item>(rois);
    GD_CHECK(read_rois("roi_align", args.rois, map.images, items));
    if (rois > 0) for_units(map, {items, rois, 0, args.grid, outputs[0].f32_out()}, workspace, forward_unit);
    return Status();
}

Status plan(const RoiAlignBackward& args, Plan& plan) {
    constexpr const char* op = "roi_align_backward";
    GD_CHECK(check_grid(op, args.grid));
    GD_CHECK(check_scale(op, args.scale));
    GD_CHECK(expect(op, "rois", args.rois, DType::f32, {"R", 5}));
    const auto height = static_cast<int>(args.grid.height), width = static_cast<int>(args.grid.width);
    GD_CHECK(expect(op, "gradient", args.gradient, DType::f32, {{"R", args.rois.dims[0]}, "C", height, width}));
    const bool sized = args.images >= 0 && args.map_height >= 0 && args.map_width >= 0;
    GD_CHECK(require(sized, op, ": the feature map has a negative size"));
    const Dims map = {args.images, args.gradient.dims[1], args.map_height, args.map_width};
    GD_CHECK(check_map(op, map, args.rois.dims[0]));
    plan.add(DType::f32, map);
    plan.workspace = Workspace::need<Item>(args.rois.dims[0]) + scratch_of(args.grid, map);
    return Status();
}

Status launch(const RoiAlignBackward& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    const std::int64_t rois = args.rois.dims[0];
    needed.workspace = Workspace::need<Item>(rois) + Scratch::need(args.grid, args.map_height, args.map_width);
    GD_CHECK(fits("roi_align_backward", needed, outputs, workspace));
    auto* items = workspace.take<Item>(rois);
    GD_CHECK(read_rois("roi_align_backward", args.rois, args.images, items));
    for_units(map_of(outputs[0], args.scale), {items, rois, 0, args.grid, static_cast<float*>(args.gradient.data)},
              workspace, backward_unit);
    return Status();
}

// --- align over levels
// ------------------------------------------------------------------------------------------------

Status plan(const RoiAlignLevels& args, Plan& plan) {
    constexpr const char* op = "roi_align_levels";
    GD_CHECK(expect(op, "boxes", args.boxes, DType::f32, {"N", "K", 4}));
    const std::int64_t images = args.boxes.dims[0], rows = args.boxes.dims[1];
    GD_CHECK(expect(op, "count", args.count, DType::i64, {{"N", images}}));
    GD_CHECK(check_grid(op, args.grid));
    GD_CHECK(require(args.level_count > 0 && args.level_count <= RoiAlignLevels::kMaxLevels, op, ": found ",
                     args.level_count, " levels, expected 1 to ", RoiAlignLevels::kMaxLevels));
    GD_CHECK(require(args.canonical > 0.0F, op, ": canonical is ", args.canonical, ", expected a number > 0"));
    std::size_t most = 0;
    for (int l = 0; l < args.level_count; ++l) {
        const TensorView& level = args.levels[l];
        const std::int64_t channels = args.levels[0].dims[1];
        GD_CHECK(expect(op, "a level", level, DType::f32, {{"N", images}, {"C", l > 0 ? channels : -1}, "H", "W"}));
        GD_CHECK(check_map(op, level.dims, images * rows));
        GD_CHECK(
            require(args.strides[l] > 0.0F, op, ": stride ", l, " is ", args.strides[l], ", expected a number > 0"));
        most = std::max(most, scratch_of(args.grid, level.dims));
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
    std::int64_t count = 0;
    for (std::int64_t n = 0; n < images; ++n) {
        const std::int64_t valid = std::clamp<std::int64_t>(args.count.i64()[n], 0, rows);
        for (std::int64_t k = 0; k < valid; ++k) {
            const float* b = args.boxes.f32() + (n * rows + k) * 4;
            items[count++] = {{b[0], b[1], b[2], b[3]}, static_cast<std::int32_t>(n), level_of(b, args), n * rows + k};
        }
        std::fill_n(outputs[0].f32_out() + (n * rows + valid) * width, (rows - valid) * width, 0.0F);
    }
    if (count == 0) return Status();
    for (std::int32_t l = 0; l < args.level_count; ++l) {
        const Roi roi = {items, count, l, args.grid, outputs[0].f32_out()};
        for_units(map_of(args.levels[l], 1.0F / args.strides[l]), roi, workspace, forward_unit);
    }
    return Status();
}

// --- pool
// -------------------------------------------------------------------------------------------------------------

namespace {

struct Span {
    std::int64_t begin, end;
};

// Pixels of one bin along one axis: `low`, `high` are rounded corners, both inside.
Span pool_span(float low, float high, std::int64_t bin, std::int64_t bins, std::int64_t extent) {
    const float step = std::max(high - low + 1.0F, 1.0F) / static_cast<float>(bins);
    const auto most = static_cast<float>(extent);
    const float begin = std::floor(static_cast<float>(bin) * step) + low;
    const float end = std::ceil(static_cast<float>(bin + 1) * step) + low;
    return {static_cast<std::int64_t>(std::clamp(begin, 0.0F, most)),
            static_cast<std::int64_t>(std::clamp(end, 0.0F, most))};
}

void pool_plane(const Map& map, const float* plane, const float* at, const RoiGrid& grid, float* out) {
    for (std::int64_t b = 0; b < grid.height; ++b) {
        const Span y = pool_span(at[1], at[3], b, grid.height, map.height);
        for (std::int64_t a = 0; a < grid.width; ++a) {
            const Span x = pool_span(at[0], at[2], a, grid.width, map.width);
            float best = -INFINITY;
            for (std::int64_t i = y.begin; i < y.end; ++i)
                for (std::int64_t j = x.begin; j < x.end; ++j) best = std::max(best, plane[i * map.width + j]);
            *out++ = y.begin < y.end && x.begin < x.end ? best : 0.0F;
        }
    }
}

}  // namespace

Status plan(const RoiPool& args, Plan& plan) {
    constexpr const char* op = "roi_pool";
    GD_CHECK(expect(op, "features", args.features, DType::f32, {"N", "C", "H", "W"}));
    GD_CHECK(expect(op, "rois", args.rois, DType::f32, {"R", 5}));
    GD_CHECK(check_grid(op, args.grid));
    GD_CHECK(check_scale(op, args.scale));
    plan.add(DType::f32, rows_of(args.rois.dims[0], args.features.dims[1], args.grid));
    plan.workspace = Workspace::need<Item>(args.rois.dims[0]);
    return Status();
}

Status launch(const RoiPool& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("roi_pool", needed, outputs, workspace));
    const std::int64_t rois = args.rois.dims[0], bins = args.grid.height * args.grid.width;
    const Map map = map_of(args.features, args.scale);
    auto* items = workspace.take<Item>(rois);
    GD_CHECK(read_rois("roi_pool", args.rois, map.images, items));
    parallel_for(rois, 4, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
            float at[4];
            bool finite = true;
            for (int i = 0; i < 4; ++i) {
                at[i] = std::round(items[r].box[i] * args.scale);
                finite = finite && std::isfinite(at[i]);
            }
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

}  // namespace graphdet
