#include <algorithm>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/overlap.h"
#include "core/parallel.h"
#include "core/rank.h"
#include "ops/nms/nms.h"

namespace graphdet {

namespace {

constexpr std::int64_t kBlock = 32;  // kept boxes tested between two chances to stop early

// Kept boxes as one array per coordinate, grouped by label: the inner loop reads them in lanes.
struct Kept {
    float *x1, *y1, *x2, *y2, *area;

    void put(std::int64_t i, const Box& box) const {
        x1[i] = box.x1, y1[i] = box.y1, x2[i] = box.x2, y2[i] = box.y2, area[i] = box.area;
    }
};

// Does any kept box in [begin, end) overlap `box` by more than `limit`?
GD_CLONES bool overlaps(const Kept& kept, std::int64_t begin, std::int64_t end, const Box& box, float limit) {
    for (std::int64_t from = begin; from < end; from += kBlock) {
        const std::int64_t to = std::min(end, from + kBlock);
        std::int32_t hits = 0;
        for (std::int64_t j = from; j < to; ++j) {
            const Box other = {kept.x1[j], kept.y1[j], kept.x2[j], kept.y2[j], kept.area[j]};
            hits += overlap(other, box) > limit ? 1 : 0;
        }
        if (hits > 0) return true;
    }
    return false;
}

// Scratch of one image, used again for the next.
struct Scratch {
    RankKey* order;          // candidates, best first
    std::int64_t* by_label;  // ranks, grouped by label
    std::int64_t* bucket;    // of a rank: the first slot of its label in `kept`
    std::int64_t* filled;    // of a first slot: how many boxes of that label are kept
    Kept kept;

    static std::size_t need(std::int64_t k) {
        return Workspace::need<RankKey>(k) + 3 * Workspace::need<std::int64_t>(k) + 5 * Workspace::need<float>(k);
    }
    Scratch(Workspace& from, std::int64_t k)
        : order(from.take<RankKey>(k)),
          by_label(from.take<std::int64_t>(k)),
          bucket(from.take<std::int64_t>(k)),
          filled(from.take<std::int64_t>(k)),
          kept{from.take<float>(k), from.take<float>(k), from.take<float>(k), from.take<float>(k),
               from.take<float>(k)} {}
};

struct Image {
    const float* boxes;
    const float* scores;
    const std::int64_t* labels;
};

struct Output {
    float* boxes;
    float* scores;
    std::int64_t* labels;
};

std::int64_t rank_candidates(const Image& image, std::int64_t k, float threshold, RankKey* order) {
    std::int64_t n = 0;
    for (std::int64_t i = 0; i < k; ++i) {
        if (is_candidate(image.boxes + 4 * i, image.scores[i], threshold)) order[n++] = rank_key(image.scores[i], i);
    }
    std::sort(order, order + n);
    return n;
}

// Gives each label a contiguous range of slots, as long as it has candidates.
void assign_buckets(const Image& image, std::int64_t n, bool agnostic, const Scratch& s) {
    std::fill_n(s.filled, n, 0);
    if (agnostic) {
        std::fill_n(s.bucket, n, 0);
        return;
    }
    const auto label = [&](std::int64_t rank) { return image.labels[index_of(s.order[rank])]; };
    for (std::int64_t rank = 0; rank < n; ++rank) s.by_label[rank] = rank;
    std::sort(s.by_label, s.by_label + n, [&](std::int64_t a, std::int64_t b) { return label(a) < label(b); });
    std::int64_t first = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        if (label(s.by_label[i]) != label(s.by_label[first])) first = i;
        s.bucket[s.by_label[i]] = first;
    }
}

std::int64_t suppress(const Image& image, std::int64_t n, const Nms& args, std::int64_t room, const Scratch& s,
                      const Output& out) {
    std::int64_t count = 0;
    for (std::int64_t rank = 0; rank < n && count < room; ++rank) {
        const std::int64_t i = index_of(s.order[rank]), first = s.bucket[rank];
        const Box box = load_box(image.boxes + 4 * i);
        if (overlaps(s.kept, first, first + s.filled[first], box, args.iou_threshold)) continue;
        s.kept.put(first + s.filled[first]++, box);
        std::copy_n(image.boxes + 4 * i, 4, out.boxes + 4 * count);
        out.scores[count] = image.scores[i];
        out.labels[count] = image.labels[i];
        ++count;
    }
    return count;
}

}  // namespace

Status plan(const Nms& args, Plan& plan) {
    constexpr const char* op = "nms";
    GD_CHECK(expect(op, "boxes", args.boxes, DType::f32, {"N", "K", 4}));
    const std::int64_t images = args.boxes.dims[0], k = args.boxes.dims[1];
    GD_CHECK(expect(op, "scores", args.scores, DType::f32, {{"N", images}, {"K", k}}));
    GD_CHECK(expect(op, "labels", args.labels, DType::i64, {{"N", images}, {"K", k}}));
    GD_CHECK(require(args.keep >= 0, op, ": keep is ", args.keep, ", expected a number >= 0"));
    GD_CHECK(require(k < kMaxRanked, op, ": boxes has ", k, " rows an image, expected fewer than ", kMaxRanked));
    const std::int64_t m = args.keep == 0 ? k : std::min(args.keep, k);
    plan.add(DType::f32, {images, m, 4});
    plan.add(DType::f32, {images, m});
    plan.add(DType::i64, {images, m});
    plan.add(DType::i64, {images});
    plan.workspace = Scratch::need(k) * static_cast<std::size_t>(std::clamp<std::int64_t>(images, 1, threads()));
    return Status();
}

Status launch(const Nms& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    const std::int64_t images = args.boxes.dims[0], k = args.boxes.dims[1], m = needed.outputs[1].dims[1];
    needed.workspace = Scratch::need(k);  // more only serves more threads
    GD_CHECK(fits("nms", needed, outputs, workspace));
    const int slots = workspace.slots(Scratch::need(k));
    parallel_for(images, 1, slots, [&](std::int64_t n, std::int64_t /*end*/, int slot) {
        Workspace mine = workspace.part(slot, Scratch::need(k));
        const Scratch scratch(mine, k);
        const Image image = {args.boxes.f32() + 4 * n * k, args.scores.f32() + n * k, args.labels.i64() + n * k};
        const Output out = {outputs[0].f32_out() + 4 * n * m, outputs[1].f32_out() + n * m,
                            outputs[2].i64_out() + n * m};
        const std::int64_t candidates = rank_candidates(image, k, args.score_threshold, scratch.order);
        assign_buckets(image, candidates, args.agnostic, scratch);
        const std::int64_t count = suppress(image, candidates, args, m, scratch, out);
        std::fill(out.boxes + 4 * count, out.boxes + 4 * m, 0.0F);
        std::fill(out.scores + count, out.scores + m, 0.0F);
        std::fill(out.labels + count, out.labels + m, std::int64_t{-1});
        outputs[3].i64_out()[n] = count;
    });
    return Status();
}

}  // namespace graphdet
