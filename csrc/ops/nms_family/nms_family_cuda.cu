#include <cmath>

#include "cuda/candidates.h"
#include "ops/nms_family/nms_family.h"

namespace graphdet {

namespace {

using namespace cuda;

// Scratch on the device, rows of `length` for each image.
struct Ranked {
    RankKey* keys;  // candidates, best first
    float *score, *peak;
    std::int64_t length;

    static std::size_t need(std::int64_t images, std::int64_t rows) {
        const std::int64_t count = images * room_to_sort(rows);
        return Workspace::need<RankKey>(count) + 2 * Workspace::need<float>(count);
    }
    Ranked(Workspace& from, const Scene& scene) : length(room_to_sort(scene.rows)) {
        const std::int64_t count = scene.images * length;
        keys = from.take<RankKey>(count);
        score = from.take<float>(count);
        peak = from.take<float>(count);
    }

    // Where the candidate of a place in the scratch lies in the scene; -1 for none.
    __device__ std::int64_t row(const Scene& scene, std::int64_t at) const {
        return keys[at] == kNoKey ? -1 : at / length * scene.rows + index_of(keys[at]);
    }
};

// IoU of two rows of the scene, 0 for boxes that do not see each other.
__device__ inline float iou_of(const Scene& scene, std::int64_t a, std::int64_t b) {
    return scene.rivals(a, b) ? overlap(load_box(scene.boxes + 4 * a), load_box(scene.boxes + 4 * b)) : 0.0F;
}

// --- soft
// -------------------------------------------------------------------------------------------------------------

struct Shrink {
    Decay decay;
    float iou_threshold, sigma, score_threshold;

    // -inf where the box is dropped, below every score that can still be found.
    __device__ float operator()(float score, float iou) const {
        if (iou == 0.0F || score == -INFINITY) return score;
        if (decay == Decay::gaussian) {
            score *= std::exp(-(iou * iou) / sigma);
        } else if (iou > iou_threshold) {
            score *= 1.0F - iou;
        }
        return score > score_threshold ? score : -INFINITY;
    }
};

// One block an image: the best score is found by all threads, its box is taken, all others shrink.
__global__ void take_and_shrink(Scene scene, Results results, Ranked ranked, Shrink shrink) {
    __shared__ RankKey best[kThreads];
    const std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * ranked.length;
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * scene.rows;
    const Rows out = results.of(blockIdx.x);
    const int me = static_cast<int>(threadIdx.x);
    for (std::int64_t i = me; i < ranked.length; i += kThreads) {
        const std::int64_t row = ranked.row(scene, base + i);
        ranked.score[base + i] = row < 0 ? -INFINITY : scene.scores[row];
    }
    std::int64_t count = 0;
    for (; count < results.room; ++count) {
        RankKey mine = kNoKey;
        for (std::int64_t i = me; i < ranked.length; i += kThreads) {
            const float score = ranked.score[base + i];
            if (score != -INFINITY) mine = std::min(mine, rank_key(score, index_of(ranked.keys[base + i])));
        }
        best[me] = mine;
        __syncthreads();
        for (int apart = kThreads / 2; apart > 0; apart /= 2) {
            if (me < apart) best[me] = std::min(best[me], best[me + apart]);
            __syncthreads();
        }
        const RankKey top = best[0];
        __syncthreads();
        if (top == kNoKey) break;
        const std::int64_t taken = first + index_of(top);
        if (me == 0) out.put(count, scene, taken, score_of(top));
        for (std::int64_t i = me; i < ranked.length; i += kThreads) {
            float& score = ranked.score[base + i];
            const std::int64_t row = ranked.row(scene, base + i);
            if (row == taken) score = -INFINITY;
            if (score != -INFINITY) score = shrink(score, iou_of(scene, row, taken));
        }
    }
    for (std::int64_t k = count + me; k < results.room; k += kThreads) out.clear(k);
    if (me == 0) results.count[blockIdx.x] = count;
}

// --- matrix and fast: all pairs at once, then the survivors in order
// --------------------------------------------------------

// One block an image: candidates whose score is not -inf, in the order of `keys`, become rows of results.
__global__ void pack(Scene scene, Results results, Ranked ranked) {
    __shared__ int sum[kThreads];
    const std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * ranked.length;
    const Rows out = results.of(blockIdx.x);
    const int me = static_cast<int>(threadIdx.x);
    std::int64_t count = 0;
    for (std::int64_t begin = 0; begin < ranked.length; begin += kThreads) {
        const std::int64_t at = base + begin + me;
        const std::int64_t row = begin + me < ranked.length ? ranked.row(scene, at) : -1;
        const int kept = row >= 0 && ranked.score[at] != -INFINITY ? 1 : 0;
        sum[me] = kept;
        __syncthreads();
        for (int apart = 1; apart < kThreads; apart *= 2) {
            const int left = me >= apart ? sum[me - apart] : 0;
            __syncthreads();
            sum[me] += left;
            __syncthreads();
        }
        const std::int64_t place = count + sum[me] - 1;
        if (kept == 1 && place < results.room) out.put(place, scene, row, ranked.score[at]);
        count += sum[kThreads - 1];
        __syncthreads();
    }
    count = std::min(count, results.room);
    for (std::int64_t k = count + me; k < results.room; k += kThreads) out.clear(k);
    if (me == 0) results.count[blockIdx.x] = count;
}

// The largest IoU of each candidate with one of higher rank, at least `least`; NaN does not count.
void find_peaks(const Device& device, const Scene& scene, const Ranked& ranked, float least) {
    for_each(device, scene.images * ranked.length, [=] __device__(std::int64_t at) {
        const std::int64_t row = ranked.row(scene, at);
        float most = least;
        for (std::int64_t i = at - at % ranked.length; row >= 0 && i < at; ++i) {
            const float iou = iou_of(scene, ranked.row(scene, i), row);
            most = iou > most ? iou : most;
        }
        ranked.peak[at] = most;
    });
}

void suppress(const FastNms& args, const Device& device, const Scene& scene, const Ranked& ranked) {
    find_peaks(device, scene, ranked, -1.0F);
    const float limit = args.iou_threshold;
    for_each(device, scene.images * ranked.length, [=] __device__(std::int64_t at) {
        const std::int64_t row = ranked.row(scene, at);
        ranked.score[at] = row >= 0 && !(ranked.peak[at] > limit) ? scene.scores[row] : -INFINITY;
    });
}

// The factor of the score of candidate `at`: the smallest over candidates of higher rank, at most 1.
__device__ inline float decay_of(const Scene& scene, const Ranked& ranked, std::int64_t at, std::int64_t row,
                                 Decay decay, float sigma) {
    float most = 0.0F, least = 1.0F;
    for (std::int64_t i = at - at % ranked.length; i < at; ++i) {
        const std::int64_t other = ranked.row(scene, i);
        if (!scene.rivals(other, row)) continue;
        const float iou = iou_of(scene, other, row), peak = ranked.peak[i];
        most = std::max(most, iou * iou - peak * peak);
        if (peak < 1.0F) least = std::min(least, (1.0F - iou) / (1.0F - peak));
    }
    return decay == Decay::gaussian ? std::exp(-sigma * most) : least;
}

void suppress(const MatrixNms& args, const Device& device, const Scene& scene, const Ranked& ranked) {
    find_peaks(device, scene, ranked, 0.0F);
    const Decay decay = args.decay;
    const float sigma = args.sigma, threshold = args.score_threshold;
    for_each(device, scene.images * ranked.length, [=] __device__(std::int64_t at) {
        const std::int64_t row = ranked.row(scene, at);
        ranked.score[at] = -INFINITY;
        if (row < 0) return;
        const float score = scene.scores[row] * decay_of(scene, ranked, at, row, decay, sigma);
        if (score > threshold) ranked.score[at] = score;
    });
    // by the new scores
    for_each(device, scene.images * ranked.length, [=] __device__(std::int64_t at) {
        const float score = ranked.score[at];
        ranked.keys[at] = score == -INFINITY ? kNoKey : rank_key(score, index_of(ranked.keys[at]));
    });
    sort_keys(device, ranked.keys, scene.images, ranked.length);
    for_each(device, scene.images * ranked.length, [=] __device__(std::int64_t at) {
        ranked.score[at] = ranked.keys[at] == kNoKey ? -INFINITY : score_of(ranked.keys[at]);
    });
}

void write(const MatrixNms& args, const TensorView* outputs, const Device& device, const Scene& scene,
           const Ranked& ranked) {
    suppress(args, device, scene, ranked);
    enqueue(device, scene.images, kThreads, pack, scene, Results(outputs), ranked);
}

void write(const FastNms& args, const TensorView* outputs, const Device& device, const Scene& scene,
           const Ranked& ranked) {
    suppress(args, device, scene, ranked);
    enqueue(device, scene.images, kThreads, pack, scene, Results(outputs), ranked);
}

void write(const SoftNms& args, const TensorView* outputs, const Device& device, const Scene& scene,
           const Ranked& ranked) {
    const Shrink shrink = {args.decay, args.iou_threshold, args.sigma, args.score_threshold};
    enqueue(device, scene.images, kThreads, take_and_shrink, scene, Results(outputs), ranked, shrink);
}

// --- plan and launch
// --------------------------------------------------------------------------------------------------

template <class Args>
Status plan_rule(const Args& args, Plan& needed) {
    GD_CHECK(plan(args, needed));
    needed.workspace = Ranked::need(args.boxes.dims[0], args.boxes.dims[1]);
    return Status();
}

template <class Args>
Status launch_rule(const char* op, const Args& args, const TensorView* outputs, Workspace workspace,
                   const Device& device) {
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const Scene scene = scene_of(args);
    if (scene.images == 0) return Status();
    const Ranked ranked(workspace, scene);
    rank_candidates(device, scene, args.score_threshold, ranked.keys);
    write(args, outputs, device, scene, ranked);
    return finish(op);
}

}  // namespace

Status plan(const SoftNms& args, Plan& plan, const Device&) { return plan_rule(args, plan); }
Status plan(const MatrixNms& args, Plan& plan, const Device&) { return plan_rule(args, plan); }
Status plan(const FastNms& args, Plan& plan, const Device&) { return plan_rule(args, plan); }

Status launch(const SoftNms& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    return launch_rule("soft_nms", args, outputs, workspace, device);
}

Status launch(const MatrixNms& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    return launch_rule("matrix_nms", args, outputs, workspace, device);
}

Status launch(const FastNms& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    return launch_rule("fast_nms", args, outputs, workspace, device);
}

}  // namespace graphdet
