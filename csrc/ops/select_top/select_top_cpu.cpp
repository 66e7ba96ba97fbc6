#include <algorithm>
#include <cmath>
#include <limits>

#include "core/activation.h"
#include "core/check.h"
#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/rank.h"
#include "ops/select_top/select_top.h"

namespace graphdet {

namespace {

using Activation = SelectTop::Activation;

constexpr std::int64_t kBlock = 256;  // entries judged at once: small enough to skip often, large enough to vectorise

std::int64_t capacity(std::int64_t k, std::int64_t entries) { return std::min(entries, std::max(2 * k, k + 1024)); }

// A raw value at or below this bound cannot have an activated score above `cut`. The slack covers the rounding of exp.
float raw_bound(float cut, Activation activation) {
    if (activation == Activation::none) return cut;
    const double low = std::min(1.0, static_cast<double>(cut)) * (1.0 - 1e-6);
    if (low <= 0.0) return -std::numeric_limits<float>::infinity();
    return static_cast<float>(std::log(low / (1.0 - low)) - 1e-3);
}

// The k best entries seen so far, in a buffer that is thinned to k whenever it fills. Each thinning raises the cut, and
// since entries arrive in index order, a later one that only ties with the cut loses: the comparison stays strict.
class Top {
  public:
    Top(RankKey* keys, std::int64_t capacity, std::int64_t k, float threshold)
        : keys_(keys), capacity_(capacity), k_(k), cut_(threshold) {}

    [[nodiscard]] float cut() const { return cut_; }

    // True when the cut has risen.
    bool add(float score, std::int64_t index) {
        if (!(score > cut_)) return false;
        keys_[count_++] = rank_key(score, index);
        if (count_ < capacity_ || count_ <= k_) return false;
        std::nth_element(keys_, keys_ + k_ - 1, keys_ + count_);
        count_ = k_;
        cut_ = score_of(keys_[k_ - 1]);
        return true;
    }

    // Sorts the survivors and returns how many there are.
    std::int64_t finish() {
        const std::int64_t n = std::min(count_, k_);
        if (n < count_) std::nth_element(keys_, keys_ + n, keys_ + count_);
        std::sort(keys_, keys_ + n);
        return n;
    }

  private:
    RankKey* keys_;
    std::int64_t capacity_;
    std::int64_t k_;
    std::int64_t count_ = 0;
    float cut_;
};

GD_CLONES bool any_above(const float* x, std::int64_t n, float bound) {
    std::int32_t hits = 0;
    for (std::int64_t i = 0; i < n; ++i) hits += x[i] > bound ? 1 : 0;
    return hits > 0;
}

void scan(const float* x, std::int64_t entries, Activation activation, Top& top) {
    float bound = raw_bound(top.cut(), activation);
    for (std::int64_t begin = 0; begin < entries; begin += kBlock) {
        const std::int64_t end = std::min(entries, begin + kBlock);
        if (!any_above(x + begin, end - begin, bound)) continue;
        for (std::int64_t i = begin; i < end; ++i) {
            if (!(x[i] > bound)) continue;
            const float score = activation == Activation::sigmoid ? sigmoid_of(x[i]) : x[i];
            if (top.add(score, i)) bound = raw_bound(top.cut(), activation);
        }
    }
}

}  // namespace

Status plan(const SelectTop& args, Plan& plan) {
    constexpr const char* op = "select_top";
    GD_CHECK(expect(op, "scores", args.scores, DType::f32, {"N", "A", "C"}));
    GD_CHECK(require(args.k >= 0, op, ": k is ", args.k, ", expected a number >= 0"));
    GD_CHECK(require(args.threshold >= 0.0F, op, ": threshold is ", args.threshold, ", expected a number >= 0"));
    const std::int64_t entries = args.scores.dims.count(1, 3);
    GD_CHECK(require(entries < kMaxRanked, op, ": scores has ", entries, " entries an image, expected fewer than ",
                     kMaxRanked));
    const std::int64_t k = std::min(args.k, entries);
    const Dims rows = {args.scores.dims[0], k};
    plan.add(DType::f32, rows);
    plan.add(DType::i64, rows);
    plan.add(DType::i64, rows);
    const std::int64_t parts = std::clamp<std::int64_t>(rows[0], 1, threads());
    plan.workspace = k > 0 ? Workspace::need<RankKey>(capacity(k, entries)) * static_cast<std::size_t>(parts) : 0;
    return Status();
}

Status launch(const SelectTop& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    const std::int64_t images = args.scores.dims[0], classes = args.scores.dims[2];
    const std::int64_t entries = args.scores.dims.count(1, 3), k = needed.outputs[0].dims[1];
    const std::int64_t room = capacity(k, entries);
    const std::size_t part = Workspace::need<RankKey>(room);
    needed.workspace = k > 0 ? part : 0;  // more only serves more threads
    GD_CHECK(fits("select_top", needed, outputs, workspace));
    if (images == 0 || k == 0) return Status();

    parallel_for(images, 1, workspace.slots(part), [&](std::int64_t n, std::int64_t /*end*/, int slot) {
        auto* keys = workspace.part(slot, part).take<RankKey>(room);
        Top top(keys, room, k, args.threshold);
        scan(args.scores.f32() + n * entries, entries, args.activation, top);
        const std::int64_t survivors = top.finish();
        float* scores = outputs[0].f32_out() + n * k;
        std::int64_t* labels = outputs[1].i64_out() + n * k;
        std::int64_t* index = outputs[2].i64_out() + n * k;
        for (std::int64_t i = 0; i < k; ++i) {
            const bool real = i < survivors;
            const std::int64_t flat = real ? index_of(keys[i]) : 0;
            scores[i] = real ? score_of(keys[i]) : -1.0F;
            labels[i] = flat % classes;
            index[i] = flat / classes;
        }
    });
    return Status();
}

}  // namespace graphdet
