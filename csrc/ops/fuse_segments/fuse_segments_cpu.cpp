#include "ops/fuse_segments/fuse_segments.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/parallel.h"

namespace graphdet {

namespace {

constexpr std::int64_t kMostSide = 1 << 24;  // pixel centres are exact in float32 up to here
constexpr std::int64_t kRowsAtOnce = 16;

// The two cells between which each pixel centre lies along one axis, and the weight of the second.
struct Places {
    std::vector<std::int32_t> low, high;
    std::vector<float> part;

    Places(float begin, float end, std::int64_t pixels, std::int64_t cells) {
        for (std::int64_t i = 0; i < pixels; ++i) {
            const float centre = static_cast<float>(i) + 0.5F;
            const float at = (centre - begin) / (end - begin) * static_cast<float>(cells) - 0.5F;
            const float bounded = std::min(std::max(at, 0.0F), static_cast<float>(cells - 1));
            low.push_back(static_cast<std::int32_t>(std::floor(bounded)));
            high.push_back(std::min(low.back() + 1, static_cast<std::int32_t>(cells - 1)));
            part.push_back(bounded - std::floor(bounded));
        }
    }
};

GD_CLONES void blend_rows(const float* upper, const float* lower, float part, std::int64_t count, float* out) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = upper[i] + (lower[i] - upper[i]) * part;
}

GD_CLONES void stretch(const float* row, const std::int32_t* low, const std::int32_t* high, const float* part,
                       std::int64_t count, float* out) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = row[low[i]] + (row[high[i]] - row[low[i]]) * part[i];
}

// What the queries that are kept have: pixels where the logit is not negative, pixels taken, pixels of both kinds.
struct Counts {
    std::vector<std::int64_t> claimed, held, solid;

    explicit Counts(std::size_t queries) : claimed(queries), held(queries), solid(queries) {}
    void add(const Counts& other) {
        for (std::size_t k = 0; k < claimed.size(); ++k) {
            claimed[k] += other.claimed[k], held[k] += other.held[k], solid[k] += other.solid[k];
        }
    }
};

// Memory of one thread: of a row of the grid, and of pixels.
struct Rows {
    std::vector<float> cells, logit, best;
    Counts counts;

    Rows(std::int64_t columns, std::int64_t width, std::size_t queries)
        : cells(static_cast<std::size_t>(columns)),
          logit(static_cast<std::size_t>(width)),
          best(static_cast<std::size_t>(width)),
          counts(queries) {}
};

// Writes place + 1 of the pixel's query in `keep`, negative where its logit is; 0 where no query claims it.
void claim_row(const FuseSegments& args, const std::vector<std::int64_t>& keep, const Places& ys, const Places& xs,
               std::int64_t y, Rows& rows, std::int32_t* owner) {
    const std::int64_t h = args.logits.dims[1], w = args.logits.dims[2];
    const auto row = static_cast<std::size_t>(y);
    std::fill(rows.best.begin(), rows.best.end(), -1.0F);
    std::fill_n(owner, args.width, 0);
    for (std::size_t k = 0; k < keep.size(); ++k) {
        const float* grid = args.logits.f32() + keep[k] * h * w;
        blend_rows(grid + ys.low[row] * w, grid + ys.high[row] * w, ys.part[row], w, rows.cells.data());
        stretch(rows.cells.data(), xs.low.data(), xs.high.data(), xs.part.data(), args.width, rows.logit.data());
        const float score = args.scores.f32()[keep[k]];
        const auto number = static_cast<std::int32_t>(k) + 1;
        for (std::size_t x = 0; x < rows.logit.size(); ++x) {
            const bool inside = rows.logit[x] >= 0.0F;
            const float claim = score / (1.0F + std::exp(-rows.logit[x]));
            rows.counts.claimed[k] += inside ? 1 : 0;
            if (claim > rows.best[x]) rows.best[x] = claim, owner[x] = inside ? number : -number;
        }
    }
    for (std::int64_t x = 0; x < args.width; ++x) {
        if (owner[x] == 0) continue;
        const auto k = static_cast<std::size_t>(std::abs(owner[x])) - 1;
        rows.counts.held[k] += 1;
        rows.counts.solid[k] += owner[x] > 0 ? 1 : 0;
    }
}

// The id of each kept query's segment, 0 where it gives none; with the segments' labels and areas.
std::vector<std::int32_t> name_segments(const FuseSegments& args, const std::vector<std::int64_t>& keep,
                                        const Counts& counts, FusedSegments& found) {
    std::vector<std::int32_t> ids(keep.size(), 0);
    std::map<std::int64_t, std::int32_t> stuff;  // by label
    for (std::size_t k = 0; k < keep.size(); ++k) {
        const auto held = static_cast<double>(counts.held[k]), claimed = static_cast<double>(counts.claimed[k]);
        if (counts.solid[k] == 0 || held < args.overlap * claimed) continue;
        const std::int64_t label = args.labels.i64()[keep[k]];
        const auto next = static_cast<std::int32_t>(found.labels.size()) + 1;
        const bool thing = args.things.i64()[keep[k]] != 0;
        ids[k] = thing ? next : stuff.emplace(label, next).first->second;
        if (ids[k] == next) {
            found.labels.push_back(label), found.things.push_back(thing ? 1 : 0), found.areas.push_back(0);
        }
        found.areas[static_cast<std::size_t>(ids[k]) - 1] += counts.solid[k];
    }
    return ids;
}

Status check(const FuseSegments& args) {
    constexpr const char* op = "fuse_segments";
    GD_CHECK(expect(op, "scores", args.scores, DType::f32, {"Q"}));
    const std::int64_t queries = args.scores.dims[0];
    GD_CHECK(expect(op, "labels", args.labels, DType::i64, {{"Q", queries}}));
    GD_CHECK(expect(op, "things", args.things, DType::i64, {{"Q", queries}}));
    GD_CHECK(expect(op, "logits", args.logits, DType::f32, {{"Q", queries}, "h", "w"}));
    const Dims& grid = args.logits.dims;
    GD_CHECK(require(queries == 0 || (grid[1] > 0 && grid[2] > 0 && grid[1] < kMostSide && grid[2] < kMostSide), op,
                     ": a grid is ", grid[1], " x ", grid[2], ", expected sides from 1 to 2^24"));
    const bool sized = args.height >= 0 && args.width >= 0 && args.height < kMostSide && args.width < kMostSide;
    GD_CHECK(require(sized && args.height * args.width < (std::int64_t{1} << 31), op, ": the image is ", args.height,
                     " x ", args.width, ", expected sides from 0 to 2^24 and fewer than 2^31 pixels"));
    const float* span = args.span;
    const bool spans =
        std::all_of(span, span + 4, [](float v) { return std::isfinite(v); }) && span[2] > span[0] && span[3] > span[1];
    return require(spans, op, ": the span is no box of positive extent");
}

}  // namespace

Status fuse_segments(const FuseSegments& args, FusedSegments& found) {
    GD_CHECK(check(args));
    found = FusedSegments();
    found.map.assign(static_cast<std::size_t>(args.height * args.width), 0);
    std::vector<std::int64_t> keep;
    for (std::int64_t q = 0; q < args.scores.dims[0]; ++q) {
        if (args.scores.f32()[q] > args.score) keep.push_back(q);
    }
    if (keep.empty() || found.map.empty()) return Status();
    const Places ys(args.span[1], args.span[3], args.height, args.logits.dims[1]);
    const Places xs(args.span[0], args.span[2], args.width, args.logits.dims[2]);
    std::vector<Rows> rows(static_cast<std::size_t>(threads()), Rows(args.logits.dims[2], args.width, keep.size()));
    parallel_for(args.height, kRowsAtOnce, static_cast<int>(rows.size()),
                 [&](std::int64_t begin, std::int64_t end, int slot) {
                     for (std::int64_t y = begin; y < end; ++y) {
                         std::int32_t* owner = found.map.data() + y * args.width;
                         claim_row(args, keep, ys, xs, y, rows[static_cast<std::size_t>(slot)], owner);
                     }
                 });
    Counts counts(keep.size());
    for (const Rows& one : rows) counts.add(one.counts);
    const std::vector<std::int32_t> ids = name_segments(args, keep, counts, found);
    for (std::int32_t& pixel : found.map) pixel = pixel > 0 ? ids[static_cast<std::size_t>(pixel) - 1] : 0;
    return Status();
}

}  // namespace graphdet
