#include "cuda/candidates.h"
#include "ops/nms/nms.h"

namespace graphdet {

namespace {

using namespace cuda;

constexpr int kWords = kThreads / 64;

// One block an image, a tile of candidates at a time: each thread holds one candidate against the boxes kept so far, all
// pairs of the tile are compared into a matrix of bits, and one thread walks that matrix in rank order.
__global__ void walk(Scene scene, Results results, const RankKey* keys, std::int64_t length, float limit) {
    __shared__ Box tile[kThreads];
    __shared__ std::int64_t index[kThreads];  // -1: no candidate
    __shared__ Word clash[kThreads][kWords];  // with candidates of lower rank
    __shared__ std::int64_t place[kThreads];  // row of the results, -1: dropped
    __shared__ std::int64_t count;
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * scene.rows;
    const Rows out = results.of(blockIdx.x);
    const int me = static_cast<int>(threadIdx.x);
    keys += static_cast<std::int64_t>(blockIdx.x) * length;
    if (me == 0) count = 0;
    for (std::int64_t begin = 0; begin < length && results.room > 0; begin += kThreads) {
        const RankKey key = begin + me < length ? keys[begin + me] : kNoKey;
        index[me] = key == kNoKey ? -1 : first + index_of(key);
        if (index[me] >= 0) tile[me] = load_box(scene.boxes + 4 * index[me]);
        __syncthreads();

        bool alive = index[me] >= 0;
        for (std::int64_t k = 0; alive && k < count; ++k) {
            const bool rival = scene.agnostic || out.labels[k] == scene.labels[index[me]];
            alive = !(rival && overlap(load_box(out.boxes + 4 * k), tile[me]) > limit);
        }
        place[me] = alive ? 0 : -1;
        for (int word = 0; word < kWords; ++word) {
            Word bits = 0;
            for (int i = std::max(me + 1, word * 64); alive && i < (word + 1) * 64 && index[i] >= 0; ++i)
                if (scene.rivals(index[i], index[me]) && overlap(tile[me], tile[i]) > limit)
                    bits |= Word{1} << (i % 64);
            clash[me][word] = bits;
        }
        __syncthreads();

        if (me == 0) {
            Word dropped[kWords] = {};
            for (int i = 0; i < kThreads; ++i) {
                const bool kept = place[i] == 0 && (dropped[i / 64] >> (i % 64) & 1) == 0 && count < results.room;
                place[i] = kept ? count++ : -1;
                for (int word = 0; kept && word < kWords; ++word) dropped[word] |= clash[i][word];
            }
        }
        __syncthreads();

        if (place[me] >= 0) out.put(place[me], scene, index[me], scene.scores[index[me]]);
        const bool done = index[kThreads - 1] < 0 || count == results.room;
        __syncthreads();
        if (done) break;
    }
    __syncthreads();
    for (std::int64_t k = count + me; k < results.room; k += kThreads) out.clear(k);
    if (me == 0) results.count[blockIdx.x] = count;
}

}  // namespace

Status plan(const Nms& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = Workspace::need<RankKey>(args.boxes.dims[0] * room_to_sort(args.boxes.dims[1]));
    return Status();
}

Status launch(const Nms& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "nms";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const Scene scene = scene_of(args);
    const std::int64_t length = room_to_sort(scene.rows);
    if (scene.images == 0) return Status();
    auto* keys = workspace.take<RankKey>(scene.images * length);
    rank_candidates(device, scene, args.score_threshold, keys);
    enqueue(device, scene.images, kThreads, walk, scene, Results(outputs), keys, length, args.iou_threshold);
    return finish(op);
}

}  // namespace graphdet
