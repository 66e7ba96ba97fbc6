// What the kernels of regions share: RoIs and maps, checks of operands, and the work on tiles of 16 channels.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "ops/roi/formulas.h"

namespace graphdet::roi {

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
    [[nodiscard]] std::int64_t tiles() const { return (channels + kLanes - 1) / kLanes; }
};

// Scratch of one thread.
struct Scratch {
    Taps ys, xs;
    float* bins;  // [B kLanes]
    float* tile;  // [H W kLanes]

    static std::size_t need(const RoiGrid& grid, std::int64_t height, std::int64_t width) {
        return Taps::need(grid.height, Taps::room(grid.height, grid.samples, height)) +
               Taps::need(grid.width, Taps::room(grid.width, grid.samples, width)) +
               Workspace::need<float>(grid.height * grid.width * kLanes) +
               Workspace::need<float>(height * width * kLanes);
    }
    Scratch(Workspace from, const RoiGrid& grid, std::int64_t height, std::int64_t width)
        : ys(from, grid.height, Taps::room(grid.height, grid.samples, height)),
          xs(from, grid.width, Taps::room(grid.width, grid.samples, width)),
          bins(from.take<float>(grid.height * grid.width * kLanes)),
          tile(from.take<float>(height * width * kLanes)) {}

    // Prepares the taps of a RoI. Returns 1 / number of samples of a bin; 0 when there are none.
    [[nodiscard]] float aim(const Item& item, const Map& map, const RoiGrid& grid) const {
        const std::int64_t x = xs.build(axis_of(item.box, 0, map.scale, grid, map.width), grid.width);
        const std::int64_t y = ys.build(axis_of(item.box, 1, map.scale, grid, map.height), grid.height);
        return share_of(x, y);
    }
};

// The RoIs that one map is read by, and their values.
struct Rois {
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

using Unit = void (*)(const Map&, const Rois&, std::int64_t, const Scratch&);

inline void for_units(const Map& map, const Rois& roi, const Workspace& workspace, Unit work) {
    const std::size_t part = Scratch::need(roi.grid, map.height, map.width);
    parallel_for(map.images * map.tiles(), 1, workspace.slots(part), [&](std::int64_t unit, std::int64_t, int slot) {
        const Scratch scratch(workspace.part(slot, part), roi.grid, map.height, map.width);
        work(map, roi, unit, scratch);
    });
}

inline std::size_t scratch_of(const RoiGrid& grid, const Dims& map) {
    const std::int64_t tiles = (map[1] + kLanes - 1) / kLanes;
    const auto parts = static_cast<std::size_t>(std::clamp<std::int64_t>(map[0] * tiles, 1, threads()));
    return Scratch::need(grid, map[2], map[3]) * parts;
}

inline Status check_grid(const char* op, const RoiGrid& grid) {
    GD_CHECK(require(grid.height > 0 && grid.width > 0, op, ": size is ", grid.height, " x ", grid.width,
                     ", expected numbers > 0"));
    return require(grid.samples >= 0, op, ": samples is ", grid.samples, ", expected a number >= 0");
}

inline Status check_map(const char* op, const Dims& map, std::int64_t rois) {
    GD_CHECK(require(rois == 0 || map[1] == 0 || map.count(2, 4) > 0, op, ": the feature map has no pixels"));
    return require(map.count(2, 4) < (std::int64_t{1} << 31), op, ": the feature map has ", map.count(2, 4),
                   " pixels, expected fewer than 2^31");
}

inline Status check_scale(const char* op, float scale) {
    return require(scale > 0.0F && std::isfinite(scale), op, ": scale is ", scale, ", expected a number > 0");
}

// RoIs f32[R 5] as items. Fails for a row whose image does not exist.
inline Status read_rois(const char* op, const TensorView& rois, std::int64_t images, Item* items) {
    for (std::int64_t r = 0; r < rois.dims[0]; ++r) {
        const float* row = rois.f32() + 5 * r;
        const bool exists = names_image(row[0], images);
        GD_CHECK(
            require(exists, op, ": rois[", r, ", 0] is ", row[0], ", expected a whole number >= 0 and < ", images));
        items[r] = {{row[1], row[2], row[3], row[4]}, static_cast<std::int32_t>(row[0]), 0, r};
    }
    return Status();
}

inline Dims rows_of(std::int64_t rois, std::int64_t channels, const RoiGrid& grid) {
    return {rois, channels, grid.height, grid.width};
}

inline Map map_of(const TensorView& view, float scale) {
    const Dims& d = view.dims;
    return {static_cast<float*>(view.data), d[0], d[1], d[2], d[3], scale};
}

}  // namespace graphdet::roi
