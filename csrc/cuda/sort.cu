#include "cuda/sort.h"

namespace graphdet::cuda {

namespace {

constexpr std::int64_t kChunk = 1024;  // keys that a block sorts in shared memory

// Runs of `run` keys alternate between ascending and descending; the last run, as long as the row, ascends.
__device__ inline void order(RankKey& low, RankKey& high, std::int64_t at, std::int64_t run, std::int64_t length) {
    const bool ascending = ((at & (length - 1)) & run) == 0;
    if ((low > high) != ascending) return;
    const RankKey held = low;
    low = high;
    high = held;
}

// All steps of runs [first, last] whose partners lie in the same chunk.
__global__ void sort_chunk(RankKey* keys, std::int64_t length, std::int64_t chunk, std::int64_t first,
                           std::int64_t last) {
    __shared__ RankKey held[kChunk];
    const std::int64_t base = blockIdx.x * chunk;
    for (std::int64_t i = threadIdx.x; i < chunk; i += blockDim.x) held[i] = keys[base + i];
    __syncthreads();
    for (std::int64_t run = first; run <= last; run *= 2) {
        for (std::int64_t apart = std::min(run, chunk) / 2; apart > 0; apart /= 2) {
            for (std::int64_t pair = threadIdx.x; pair < chunk / 2; pair += blockDim.x) {
                const std::int64_t i = pair / apart * 2 * apart + pair % apart;
                order(held[i], held[i + apart], base + i, run, length);
            }
            __syncthreads();
        }
    }
    for (std::int64_t i = threadIdx.x; i < chunk; i += blockDim.x) keys[base + i] = held[i];
}

}  // namespace

void sort_keys(const Device& device, RankKey* keys, std::int64_t segments, std::int64_t length) {
    if (segments == 0 || length < 2) return;
    const std::int64_t chunk = std::min(length, kChunk), blocks = segments * (length / chunk);
    const int threads = static_cast<int>(std::min<std::int64_t>(chunk / 2, kThreads));
    enqueue(device, blocks, threads, sort_chunk, keys, length, chunk, std::int64_t{2}, chunk);
    for (std::int64_t run = 2 * chunk; run <= length; run *= 2) {
        for (std::int64_t apart = run / 2; apart >= chunk; apart /= 2) {
            for_each(device, segments * length / 2, [=] __device__(std::int64_t pair) {
                const std::int64_t i = pair / apart * 2 * apart + pair % apart;
                order(keys[i], keys[i + apart], i, run, length);
            });
        }
        enqueue(device, blocks, threads, sort_chunk, keys, length, chunk, run, run);
    }
}

}  // namespace graphdet::cuda
