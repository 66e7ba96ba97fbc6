#include "cuda/cuda.h"
#include "ops/roi/formulas.h"
#include "ops/roi/roi.h"

namespace graphdet {

namespace {

using namespace cuda;

constexpr std::int64_t kGroup = 8;  // channels whose gradient a thread gathers

struct Map {
    const float* data;
    std::int64_t channels, height, width;
    float scale;

    Map() = default;
    Map(const TensorView& view, float by)
        : data(view.f32()), channels(view.dims[1]), height(view.dims[2]), width(view.dims[3]), scale(by) {}
    [[nodiscard]] __device__ const float* plane(std::int64_t image, std::int64_t channel) const {
        return data + (image * channels + channel) * height * width;
    }
};

// An element of f32[R C height width].
struct Cell {
    std::int64_t row, channel, b, a;

    __device__ Cell(std::int64_t at, std::int64_t channels, const RoiGrid& grid) {
        a = at % grid.width, at /= grid.width;
        b = at % grid.height, at /= grid.height;
        channel = at % channels, row = at / channels;
    }
};

// Between two neighbours, of which the second is not read when it has no weight.
__device__ inline float between(const float* at, float part) {
    return part > 0.0F ? at[0] * (1.0F - part) + at[1] * part : at[0];
}

// The average of the samples of bin (b, a) of a box.
__device__ inline float average(const Map& map, const float* plane, const float* box, const RoiGrid& grid,
                                std::int64_t b, std::int64_t a) {
    const Axis xs = axis_of(box, 0, map.scale, grid, map.width), ys = axis_of(box, 1, map.scale, grid, map.height);
    const float share = share_of(xs.count, ys.count);
    if (share == 0.0F) return 0.0F;
    const Axis::Range rows = ys.range(b), columns = xs.range(a);
    float sum = 0.0F;
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
        const Sample y = ys.sample(b, i);
        if (y.pixel < 0) continue;
        const float* line = plane + y.pixel * map.width;
        for (std::int64_t j = columns.begin; j < columns.end; ++j) {
            const Sample x = xs.sample(a, j);
            if (x.pixel < 0) continue;
            const float upper = between(line + x.pixel, x.part);
            sum +=
                y.part > 0.0F ? upper * (1.0F - y.part) + between(line + map.width + x.pixel, x.part) * y.part : upper;
        }
    }
    return sum * share;
}

// What pixel `pixel` weighs in the samples of bin b.
__device__ inline float weight_of(const Axis& axis, std::int64_t b, std::int64_t pixel) {
    const float begin = axis.start(b), end = begin + axis.bin, at = static_cast<float>(pixel);
    if (at < std::min(begin, end) - 2.0F || at > std::max(begin, end) + 2.0F) return 0.0F;
    float weight = 0.0F;
    const Axis::Range range = axis.range(b);
    for (std::int64_t i = range.begin; i < range.end; ++i) {
        const Sample sample = axis.sample(b, i);
        if (sample.pixel < 0) continue;
        if (sample.pixel == pixel) weight += 1.0F - sample.part;
        if (sample.pixel + 1 == pixel) weight += sample.part;
    }
    return weight;
}

// f32[R 5] against the number of images.
Status check_images(const char* op, const TensorView& rois, std::int64_t images, Workspace& workspace,
                    const Device& device) {
    const std::int64_t count = rois.dims[0];
    const float* rows = rois.f32();
    std::int64_t bad = 0;
    const auto nameless = [=] __device__(std::int64_t r) { return !names_image(rows[5 * r], images); };
    GD_CHECK(first_bad(op, device, workspace, count, nameless, bad));
    if (bad == count) return Status();
    return require(false, op, ": rois[", bad, ", 0] is ", peek(rows + 5 * bad, device),
                   ", expected a whole number >= 0 and < ", images);
}

template <class Args>
Status plan_rows(const Args& args, Plan& needed) {
    GD_CHECK(plan(args, needed));
    needed.workspace = Workspace::need<Word>(1);
    return Status();
}

}  // namespace

// --- align
// ------------------------------------------------------------------------------------------------------------

Status plan(const RoiAlign& args, Plan& needed, const Device&) { return plan_rows(args, needed); }

// Waits for the stream: a row may name an image that does not exist.
Status launch(const RoiAlign& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "roi_align";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    GD_CHECK(check_images(op, args.rois, args.features.dims[0], workspace, device));
    const Map map(args.features, args.scale);
    const RoiGrid grid = args.grid;
    const float* rois = args.rois.f32();
    float* out = outputs[0].f32_out();
    for_each(device, needed.outputs[0].dims.count(), [=] __device__(std::int64_t at) {
        const Cell cell(at, map.channels, grid);
        const float* roi = rois + 5 * cell.row;
        out[at] =
            average(map, map.plane(static_cast<std::int64_t>(roi[0]), cell.channel), roi + 1, grid, cell.b, cell.a);
    });
    return finish(op);
}

Status plan(const RoiAlignBackward& args, Plan& needed, const Device&) { return plan_rows(args, needed); }

// Each pixel gathers from all RoIs in their order: no atomics, so the result does not depend on the order of threads.
Status launch(const RoiAlignBackward& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "roi_align_backward";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    GD_CHECK(check_images(op, args.rois, args.images, workspace, device));
    const std::int64_t channels = args.gradient.dims[1], height = args.map_height, width = args.map_width;
    const std::int64_t pixels = height * width, groups = (channels + kGroup - 1) / kGroup, count = args.rois.dims[0];
    const std::int64_t bins = args.grid.height * args.grid.width;
    const RoiGrid grid = args.grid;
    const float *rois = args.rois.f32(), *gradient = args.gradient.f32(), scale = args.scale;
    float* out = outputs[0].f32_out();
    for_each(device, args.images * groups * pixels, [=] __device__(std::int64_t at) {
        const std::int64_t x = at % width, y = at / width % height, image = at / pixels / groups;
        const std::int64_t from = at / pixels % groups * kGroup;
        const std::int64_t mine = channels - from < kGroup ? channels - from : kGroup;
        float sum[kGroup] = {};
        for (std::int64_t r = 0; r < count; ++r) {
            if (rois[5 * r] != static_cast<float>(image)) continue;
            const Axis xs = axis_of(rois + 5 * r + 1, 0, scale, grid, width);
            const Axis ys = axis_of(rois + 5 * r + 1, 1, scale, grid, height);
            const float share = share_of(xs.count, ys.count);
            if (share == 0.0F) continue;
            for (std::int64_t b = 0; b < grid.height; ++b) {
                const float down = weight_of(ys, b, y);
                if (down == 0.0F) continue;
                for (std::int64_t a = 0; a < grid.width; ++a) {
                    const float weight = share * down * weight_of(xs, a, x);
                    if (weight == 0.0F) continue;
                    const float* g = gradient + (r * channels + from) * bins + b * grid.width + a;
                    for (std::int64_t c = 0; c < mine; ++c) sum[c] += g[c * bins] * weight;
                }
            }
        }
        for (std::int64_t c = 0; c < mine; ++c) out[(image * channels + from + c) * pixels + y * width + x] = sum[c];
    });
    return finish(op);
}

// --- align over levels
// ------------------------------------------------------------------------------------------------

namespace {

struct Pyramid {
    Map levels[RoiAlignLevels::kMaxLevels];
    LevelLimits limits;

    explicit Pyramid(const RoiAlignLevels& args) : limits(args) {
        for (int l = 0; l < args.level_count; ++l) levels[l] = Map(args.levels[l], 1.0F / args.strides[l]);
    }
};

}  // namespace

Status plan(const RoiAlignLevels& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = 0;
    return Status();
}

Status launch(const RoiAlignLevels& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "roi_align_levels";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const Pyramid pyramid(args);
    const std::int64_t rows = args.boxes.dims[1], channels = args.levels[0].dims[1];
    const RoiGrid grid = args.grid;
    const float* boxes = args.boxes.f32();
    const std::int64_t* count = args.count.i64();
    float* out = outputs[0].f32_out();
    for_each(device, needed.outputs[0].dims.count(), [=] __device__(std::int64_t at) {
        const Cell cell(at, channels, grid);
        const std::int64_t image = cell.row / rows;
        const float* box = boxes + 4 * cell.row;
        out[at] = 0.0F;
        if (cell.row % rows >= count[image]) return;
        const Map& map = pyramid.levels[pyramid.limits.level_of(box)];
        out[at] = average(map, map.plane(image, cell.channel), box, grid, cell.b, cell.a);
    });
    return finish(op);
}

// --- pool
// -------------------------------------------------------------------------------------------------------------

Status plan(const RoiPool& args, Plan& needed, const Device&) { return plan_rows(args, needed); }

// Waits for the stream: a row may name an image that does not exist.
Status launch(const RoiPool& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "roi_pool";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    GD_CHECK(check_images(op, args.rois, args.features.dims[0], workspace, device));
    const Map map(args.features, args.scale);
    const RoiGrid grid = args.grid;
    const float* rois = args.rois.f32();
    float* out = outputs[0].f32_out();
    for_each(device, needed.outputs[0].dims.count(), [=] __device__(std::int64_t at) {
        const Cell cell(at, map.channels, grid);
        const float* roi = rois + 5 * cell.row;
        const float* plane = map.plane(static_cast<std::int64_t>(roi[0]), cell.channel);
        float corners[4];
        float best = -INFINITY;
        if (pool_corners(roi + 1, map.scale, corners)) {
            const PoolSpan y = pool_span(corners[1], corners[3], cell.b, grid.height, map.height);
            const PoolSpan x = pool_span(corners[0], corners[2], cell.a, grid.width, map.width);
            for (std::int64_t i = y.begin; i < y.end; ++i)
                for (std::int64_t j = x.begin; j < x.end; ++j) best = std::max(best, plane[i * map.width + j]);
            if (y.begin >= y.end || x.begin >= x.end) best = 0.0F;
        } else {
            best = 0.0F;
        }
        out[at] = best;
    });
    return finish(op);
}

Status plan(const RoiPoolBackward& args, Plan& needed, const Device&) { return plan_rows(args, needed); }

// Bins add their share with atomics: the last bits depend on the order of threads. Waits for the stream, as above.
Status launch(const RoiPoolBackward& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "roi_pool_backward";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    GD_CHECK(check_images(op, args.of.rois, args.of.features.dims[0], workspace, device));
    const Map map(args.of.features, args.of.scale);
    const RoiGrid grid = args.of.grid;
    const float *rois = args.of.rois.f32(), *gradient = args.gradient.f32();
    float* out = outputs[0].f32_out();
    if (outputs[0].bytes() > 0) GD_CHECK(check(op, cudaMemsetAsync(out, 0, outputs[0].bytes(), device.stream)));
    for_each(device, args.gradient.dims.count(), [=] __device__(std::int64_t at) {
        const Cell cell(at, map.channels, grid);
        const float* roi = rois + 5 * cell.row;
        const float* plane = map.plane(static_cast<std::int64_t>(roi[0]), cell.channel);
        float corners[4];
        if (!pool_corners(roi + 1, map.scale, corners)) return;
        const PoolSpan y = pool_span(corners[1], corners[3], cell.b, grid.height, map.height);
        const PoolSpan x = pool_span(corners[0], corners[2], cell.a, grid.width, map.width);
        const std::int64_t pixel = best_pixel(plane, map.width, y, x);
        if (pixel >= 0) atomicAdd(out + (plane - map.data) + pixel, gradient[at]);
    });
    return finish(op);
}

}  // namespace graphdet
