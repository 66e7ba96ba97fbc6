#include "ops/nms_family/nms_family.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/overlap.h"
#include "core/parallel.h"
#include "core/rank.h"

namespace graphdet {

namespace {

// The candidates of one image, one array per coordinate, best first. `group` numbers the labels; 0 for all if agnostic.
struct Scratch {
    RankKey* order;
    std::int64_t* by_label;
    float *x1, *y1, *x2, *y2, *area, *score, *row, *peak;
    std::int32_t* group;

    static std::size_t need(std::int64_t k) {
        return Workspace::need<RankKey>(k) + Workspace::need<std::int64_t>(k) + 8 * Workspace::need<float>(k) +
               Workspace::need<std::int32_t>(k);
    }
    Scratch(Workspace from, std::int64_t k)
        : order(from.take<RankKey>(k)),
          by_label(from.take<std::int64_t>(k)),
          x1(from.take<float>(k)),
          y1(from.take<float>(k)),
          x2(from.take<float>(k)),
          y2(from.take<float>(k)),
          area(from.take<float>(k)),
          score(from.take<float>(k)),
          row(from.take<float>(k)),
          peak(from.take<float>(k)),
          group(from.take<std::int32_t>(k)) {}
};

struct Image {
    const float* boxes;
    const float* scores;
    const std::int64_t* labels;
};

// row[i] = IoU of candidate j with candidate i, 0 where the groups differ, for i in [0, count).
GD_CLONES void overlaps(const Scratch& s, std::int64_t j, std::int64_t count) {
    const Box box = {s.x1[j], s.y1[j], s.x2[j], s.y2[j], s.area[j]};
    const std::int32_t group = s.group[j];
    for (std::int64_t i = 0; i < count; ++i) {
        const float iou = overlap({s.x1[i], s.y1[i], s.x2[i], s.y2[i], s.area[i]}, box);
        s.row[i] = s.group[i] == group ? iou : 0.0F;
    }
}

GD_CLONES float largest(const float* x, std::int64_t count) {
    float lanes[16];
    std::fill_n(lanes, 16, -1.0F);
    std::int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        for (int k = 0; k < 16; ++k) lanes[k] = x[i + k] > lanes[k] ? x[i + k] : lanes[k];
    for (; i < count; ++i) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    return *std::max_element(lanes, lanes + 16);
}

std::int64_t first_of(const float* x, float value) {
    std::int64_t i = 0;
    while (x[i] != value) ++i;
    return i;
}

// Loads the candidates in rank order; returns how many there are.
std::int64_t load(const Image& image, std::int64_t k, const Candidates& args, const Scratch& s) {
    std::int64_t n = 0;
    for (std::int64_t i = 0; i < k; ++i) {
        if (is_candidate(image.boxes + 4 * i, image.scores[i], args.score_threshold))
            s.order[n++] = rank_key(image.scores[i], i);
    }
    std::sort(s.order, s.order + n);
    const auto label = [&](std::int64_t rank) { return image.labels[index_of(s.order[rank])]; };
    for (std::int64_t r = 0; r < n; ++r) {
        const Box box = load_box(image.boxes + 4 * index_of(s.order[r]));
        s.x1[r] = box.x1, s.y1[r] = box.y1, s.x2[r] = box.x2, s.y2[r] = box.y2, s.area[r] = box.area;
        s.score[r] = image.scores[index_of(s.order[r])];
        s.by_label[r] = r;
        s.group[r] = 0;
    }
    if (args.agnostic) return n;
    std::sort(s.by_label, s.by_label + n, [&](std::int64_t a, std::int64_t b) { return label(a) < label(b); });
    std::int32_t group = 0;
    for (std::int64_t i = 1; i < n; ++i) {
        if (label(s.by_label[i]) != label(s.by_label[i - 1])) ++group;
        s.group[s.by_label[i]] = group;
    }
    return n;
}

// The outputs of one image, filled row by row.
class Rows {
  public:
    Rows(const TensorView* outputs, std::int64_t image, std::int64_t room)
        : boxes_(outputs[0].f32_out() + 4 * image * room),
          scores_(outputs[1].f32_out() + image * room),
          labels_(outputs[2].i64_out() + image * room),
          total_(outputs[3].i64_out() + image),
          room_(room) {}

    [[nodiscard]] bool full() const { return count_ == room_; }
    void add(const Image& image, std::int64_t index, float score) {
        std::copy_n(image.boxes + 4 * index, 4, boxes_ + 4 * count_);
        scores_[count_] = score;
        labels_[count_++] = image.labels[index];
    }
    void finish() {
        std::fill(boxes_ + 4 * count_, boxes_ + 4 * room_, 0.0F);
        std::fill(scores_ + count_, scores_ + room_, 0.0F);
        std::fill(labels_ + count_, labels_ + room_, std::int64_t{-1});
        *total_ = count_;
    }

  private:
    float *boxes_, *scores_;
    std::int64_t *labels_, *total_;
    std::int64_t room_, count_ = 0;
};

// --- the three rules
// --------------------------------------------------------------------------------------------------

// A candidate that is taken or dropped has score -inf, below every score that can still be found.
void shrink(const SoftNms& args, std::int64_t n, const Scratch& s) {
    for (std::int64_t i = 0; i < n; ++i) {
        if (s.row[i] == 0.0F || s.score[i] == -INFINITY) continue;
        if (args.decay == Decay::gaussian) {
            s.score[i] *= std::exp(-(s.row[i] * s.row[i]) / args.sigma);
        } else if (s.row[i] > args.iou_threshold) {
            s.score[i] *= 1.0F - s.row[i];
        }
        if (!(s.score[i] > args.score_threshold)) s.score[i] = -INFINITY;
    }
}

void suppress(const SoftNms& args, const Image& image, std::int64_t n, const Scratch& s, Rows& out) {
    // ties go to the lower index: candidates lie in rank order, but shrunken scores may tie across ranks
    while (!out.full()) {
        const float best = n > 0 ? *std::max_element(s.score, s.score + n) : -INFINITY;
        if (best == -INFINITY) return;
        std::int64_t at = first_of(s.score, best);
        for (std::int64_t i = at + 1; i < n; ++i)
            if (s.score[i] == best && index_of(s.order[i]) < index_of(s.order[at])) at = i;
        out.add(image, index_of(s.order[at]), best);
        s.score[at] = -INFINITY;
        overlaps(s, at, n);
        shrink(args, n, s);
    }
}

// The exponent of the gaussian, or the quotient of the linear rule, that decides box j.
float decay_of(const MatrixNms& args, std::int64_t j, const Scratch& s) {
    if (args.decay == Decay::gaussian) {
        float most = 0.0F;
        for (std::int64_t i = 0; i < j; ++i)
            most = std::max(most, s.group[i] == s.group[j] ? s.row[i] * s.row[i] - s.peak[i] * s.peak[i] : 0.0F);
        return std::exp(-args.sigma * most);
    }
    float least = 1.0F;
    for (std::int64_t i = 0; i < j; ++i)
        if (s.group[i] == s.group[j] && s.peak[i] < 1.0F)
            least = std::min(least, (1.0F - s.row[i]) / (1.0F - s.peak[i]));
    return least;
}

void suppress(const MatrixNms& args, const Image& image, std::int64_t n, const Scratch& s, Rows& out) {
    for (std::int64_t j = 0; j < n; ++j) {
        overlaps(s, j, j);
        s.peak[j] = std::max(largest(s.row, j), 0.0F);
        s.score[j] *= decay_of(args, j, s);
    }
    std::int64_t left = 0;
    for (std::int64_t j = 0; j < n; ++j)
        if (s.score[j] > args.score_threshold) s.order[left++] = rank_key(s.score[j], index_of(s.order[j]));
    std::sort(s.order, s.order + left);
    for (std::int64_t j = 0; j < left && !out.full(); ++j) out.add(image, index_of(s.order[j]), score_of(s.order[j]));
}

void suppress(const FastNms& args, const Image& image, std::int64_t n, const Scratch& s, Rows& out) {
    for (std::int64_t j = 0; j < n && !out.full(); ++j) {
        overlaps(s, j, j);
        if (largest(s.row, j) > args.iou_threshold) continue;
        out.add(image, index_of(s.order[j]), s.score[j]);
    }
}

// --- plan and launch
// --------------------------------------------------------------------------------------------------

Status plan_candidates(const char* op, const Candidates& args, Plan& plan) {
    GD_CHECK(expect(op, "boxes", args.boxes, DType::f32, {"N", "K", 4}));
    const std::int64_t images = args.boxes.dims[0], k = args.boxes.dims[1];
    GD_CHECK(expect(op, "scores", args.scores, DType::f32, {{"N", images}, {"K", k}}));
    GD_CHECK(expect(op, "labels", args.labels, DType::i64, {{"N", images}, {"K", k}}));
    GD_CHECK(require(args.keep >= 0, op, ": keep is ", args.keep, ", expected a number >= 0"));
    constexpr std::int64_t most = std::int64_t{1} << 31;
    GD_CHECK(require(k < most, op, ": boxes has ", k, " rows an image, expected fewer than ", most));
    const std::int64_t m = args.keep == 0 ? k : std::min(args.keep, k);
    plan.add(DType::f32, {images, m, 4});
    plan.add(DType::f32, {images, m});
    plan.add(DType::i64, {images, m});
    plan.add(DType::i64, {images});
    plan.workspace = Scratch::need(k) * static_cast<std::size_t>(std::clamp<std::int64_t>(images, 1, threads()));
    return Status();
}

template <class Args>
Status launch_rule(const char* op, const Args& args, const TensorView* outputs, const Workspace& workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    const std::int64_t images = args.boxes.dims[0], k = args.boxes.dims[1], m = needed.outputs[1].dims[1];
    const std::size_t part = Scratch::need(k);
    needed.workspace = part;  // more only serves more threads
    GD_CHECK(fits(op, needed, outputs, workspace));
    parallel_for(images, 1, workspace.slots(part), [&](std::int64_t n, std::int64_t /*end*/, int slot) {
        const Scratch scratch(workspace.part(slot, part), k);
        const Image image = {args.boxes.f32() + 4 * n * k, args.scores.f32() + n * k, args.labels.i64() + n * k};
        Rows rows(outputs, n, m);
        const std::int64_t candidates = load(image, k, args, scratch);
        suppress(args, image, candidates, scratch, rows);
        rows.finish();
    });
    return Status();
}

}  // namespace

Status plan(const SoftNms& args, Plan& plan) {
    GD_CHECK(require(args.sigma > 0.0F, "soft_nms: sigma is ", args.sigma, ", expected a number > 0"));
    return plan_candidates("soft_nms", args, plan);
}

Status plan(const MatrixNms& args, Plan& plan) {
    GD_CHECK(require(args.sigma > 0.0F, "matrix_nms: sigma is ", args.sigma, ", expected a number > 0"));
    return plan_candidates("matrix_nms", args, plan);
}

Status plan(const FastNms& args, Plan& plan) { return plan_candidates("fast_nms", args, plan); }

Status launch(const SoftNms& args, const TensorView* outputs, Workspace workspace) {
    return launch_rule("soft_nms", args, outputs, workspace);
}

Status launch(const MatrixNms& args, const TensorView* outputs, Workspace workspace) {
    return launch_rule("matrix_nms", args, outputs, workspace);
}

Status launch(const FastNms& args, const TensorView* outputs, Workspace workspace) {
    return launch_rule("fast_nms", args, outputs, workspace);
}

}  // namespace graphdet
