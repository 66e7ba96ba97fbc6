#include "core/activation.h"
#include "cuda/sort.h"
#include "ops/select_top/select_top.h"

namespace graphdet {

namespace {

using namespace cuda;

constexpr std::int64_t kPerBlock = std::int64_t{16} * kThreads;  // entries that a block counts
constexpr int kDigits = 256;

// The search for the k-th best key of one image, a byte of it in each pass, the highest first.
struct Search {
    RankKey prefix;     // bytes found so far; once done, every entry with a key <= prefix is wanted
    std::int64_t left;  // wanted entries among those that share the prefix
    Word filled;        // keys that were collected
    int done;
    unsigned digit[kDigits];  // of keys that share the prefix: how many have this next byte
};

struct Entries {
    const float* scores;
    std::int64_t images, count;  // count: of an image
    float threshold;
    bool sigmoid;

    __device__ RankKey key(std::int64_t image, std::int64_t i) const {
        const float raw = scores[image * count + i], score = sigmoid ? sigmoid_of(raw) : raw;
        return score > threshold ? rank_key(score, i) : kNoKey;
    }
};

// `blocks` blocks an image.
__global__ void count_digits(Entries entries, Search* searches, int shift, std::int64_t blocks) {
    __shared__ unsigned digit[kDigits];
    const std::int64_t image = blockIdx.x / blocks;
    Search& search = searches[image];
    for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kThreads) digit[i] = 0;
    __syncthreads();
    const RankKey above = shift == 56 ? 0 : ~RankKey{0} << (shift + 8);
    for (std::int64_t i = blockIdx.x % blocks * kThreads + threadIdx.x; i < entries.count && search.done == 0;
         i += blocks * kThreads) {
        const RankKey key = entries.key(image, i);
        if (key != kNoKey && (key & above) == search.prefix) atomicAdd(&digit[key >> shift & (kDigits - 1)], 1U);
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kThreads)
        if (digit[i] > 0) atomicAdd(&search.digit[i], digit[i]);
}

// Finds the byte in which the last wanted key lies, and clears the counts.
__device__ inline void choose_digit(Search& search, int shift) {
    if (search.done != 0) return;
    std::int64_t left = search.left;
    int chosen = -1;
    for (int i = 0; i < kDigits; ++i) {
        if (chosen < 0 && left <= search.digit[i]) chosen = i;
        if (chosen < 0) left -= search.digit[i];
    }
    if (chosen < 0) {  // fewer entries pass than are wanted, seen in the first pass
        search.prefix = kNoKey - 1;
        search.done = 1;
    } else {
        search.prefix |= static_cast<RankKey>(chosen) << shift;
        search.left = left;
        if (left == search.digit[chosen] || shift == 0) {
            search.prefix |= (RankKey{1} << shift) - 1;
            search.done = 1;
        }
    }
    for (unsigned& count : search.digit) count = 0;
}

void find_limits(const Device& device, const Entries& entries, std::int64_t k, Search* searches) {
    for_each(device, entries.images, [=] __device__(std::int64_t n) {
        Search& search = searches[n];
        search.prefix = 0, search.left = k, search.filled = 0, search.done = 0;
        for (unsigned& count : search.digit) count = 0;
    });
    const std::int64_t blocks = std::min<std::int64_t>((entries.count + kPerBlock - 1) / kPerBlock, 1024);
    for (int shift = 56; shift >= 0; shift -= 8) {
        enqueue(device, entries.images * blocks, kThreads, count_digits, entries, searches, shift, blocks);
        for_each(device, entries.images, [=] __device__(std::int64_t n) { choose_digit(searches[n], shift); });
    }
}

}  // namespace

Status plan(const SelectTop& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    const Dims& rows = needed.outputs[0].dims;
    needed.workspace = Workspace::need<Search>(rows[0]) + Workspace::need<RankKey>(rows[0] * room_to_sort(rows[1]));
    return Status();
}

Status launch(const SelectTop& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "select_top";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t images = args.scores.dims[0], classes = args.scores.dims[2], k = needed.outputs[0].dims[1];
    if (images == 0 || k == 0) return Status();
    const Entries entries = {args.scores.f32(), images, args.scores.dims.count(1, 3), args.threshold,
                             args.activation == SelectTop::Activation::sigmoid};
    const std::int64_t length = room_to_sort(k), count = entries.count;
    auto* searches = workspace.take<Search>(images);
    auto* keys = workspace.take<RankKey>(images * length);
    find_limits(device, entries, k, searches);
    for_each(device, images * length, [=] __device__(std::int64_t at) { keys[at] = kNoKey; });
    for_each(device, images * count, [=] __device__(std::int64_t at) {
        Search& search = searches[at / count];
        const RankKey key = entries.key(at / count, at % count);
        if (key <= search.prefix) keys[at / count * length + atomicAdd(&search.filled, Word{1})] = key;
    });
    sort_keys(device, keys, images, length);  // the set is exact and its keys differ: the order of collection is gone
    float* scores = outputs[0].f32_out();
    std::int64_t *labels = outputs[1].i64_out(), *index = outputs[2].i64_out();
    for_each(device, images * k, [=] __device__(std::int64_t at) {
        const RankKey key = keys[at / k * length + at % k];
        const std::int64_t flat = key == kNoKey ? 0 : index_of(key);
        scores[at] = key == kNoKey ? -1.0F : score_of(key);
        labels[at] = flat % classes;
        index[at] = flat / classes;
    });
    return finish(op);
}

}  // namespace graphdet
