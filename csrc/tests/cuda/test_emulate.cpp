// The emulation of CUDA itself, and what kernels are made of: barriers, orders, limits, sorting, errors.
#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "cuda/sort.h"
#include "tests/check.h"

namespace graphdet {

namespace {

using namespace cuda;

constexpr int kOrders[] = {0, -1, 1, 7, 12345};

__global__ void reverse(const int* in, int* out) {
    __shared__ int held[64];
    held[threadIdx.x] = in[blockIdx.x * 64 + threadIdx.x];
    __syncthreads();
    out[blockIdx.x * 64 + threadIdx.x] = held[63 - threadIdx.x];
}

__global__ void reverse_without_barrier(const int* in, int* out) {
    __shared__ int held[64];
    held[threadIdx.x] = in[blockIdx.x * 64 + threadIdx.x];
    out[blockIdx.x * 64 + threadIdx.x] = held[63 - threadIdx.x];
}

__global__ void two_barriers() {
    if (threadIdx.x < 7) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

__global__ void barrier_of_some() {
    if (threadIdx.x < 7) __syncthreads();
}

__global__ void visit(int* seen) {
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    atomicAdd(&seen[block * blockDim.x * blockDim.y * blockDim.z + thread], 1);
}

std::vector<int> reversed(void (*kernel)(const int*, int*), int order) {
    std::vector<int> in(192), out(192, -1);
    for (int i = 0; i < 192; ++i) in[static_cast<std::size_t>(i)] = i;
    emulate::set_order(order);
    enqueue(Device(), 3, 64, kernel, in.data(), out.data());
    emulate::set_order(0);
    return out;
}

}  // namespace

GD_TEST(barriers_order_threads) {
    for (int order : kOrders) {
        const std::vector<int> out = reversed(reverse, order);
        for (int i = 0; i < 192; ++i) CHECK(out[static_cast<std::size_t>(i)] == i / 64 * 64 + 63 - i % 64);
    }
    CHECK(finish("reverse").ok());
}

GD_TEST(a_missing_barrier_shows_in_some_order) {
    CHECK(reversed(reverse_without_barrier, 0) != reversed(reverse_without_barrier, -1));
}

GD_TEST(divergent_barriers_fail_and_leave_no_trace) {
    for (void (*kernel)() : {two_barriers, barrier_of_some}) {
        enqueue(Device(), 2, 32, kernel);
        CHECK_FAILS(finish("op"), Code::internal, "op: CUDA says threads of a block wait at different barriers");
        CHECK(reversed(reverse, 0)[0] == 63);
        CHECK(finish("op").ok());
    }
}

GD_TEST(launches_outside_the_limits_of_a_device_fail) {
    const struct {
        dim3 grid, block;
    } wrong[] = {{{0}, {32}},       {{1}, {0}},        {{1}, {1025}},        {{1}, {32, 33}},
                 {{1}, {1, 1, 65}}, {{1, 65536}, {1}}, {{1, 1, 65536}, {1}}, {{2147483648U}, {1}}};
    for (const auto& launch : wrong) {
        bool ran = false;
        emulate::launch(
            launch.grid, launch.block, [](const void* flag) { *(bool*)const_cast<void*>(flag) = true; }, &ran);
        CHECK(!ran);
        CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
        CHECK(cudaGetLastError() == cudaSuccess);
    }
}

GD_TEST(every_thread_of_every_block_runs_once) {
    for (int order : kOrders) {
        std::vector<int> seen(2 * 3 * 5 * 4 * 3 * 2, 0);
        int* data = seen.data();
        const auto call = [&] { visit(data); };
        emulate::set_order(order);
        emulate::launch(
            {2, 3, 5}, {4, 3, 2}, [](const void* closure) { (*static_cast<const decltype(call)*>(closure))(); }, &call);
        emulate::set_order(0);
        CHECK(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
    }
}

GD_TEST(for_each_covers_any_count) {
    for (std::int64_t count : {0, 1, 255, 256, 257, 5000}) {
        std::vector<int> seen(static_cast<std::size_t>(count) + 1, 0);
        int* data = seen.data();
        for_each(Device(), count, [=] __device__(std::int64_t i) { ++data[i]; });
        CHECK(std::count(seen.begin(), seen.end(), 1) == count && seen.back() == 0);
    }
    CHECK(finish("for_each").ok());
}

GD_TEST(sort_equals_the_standard_one) {
    std::mt19937_64 random(0);
    for (std::int64_t length : {1, 2, 64, 1024, 2048, 8192}) {
        for (int order : kOrders) {
            std::vector<RankKey> keys(static_cast<std::size_t>(3 * length));
            for (RankKey& key : keys) key = random() % 5 == 0 ? kNoKey : random();
            std::vector<RankKey> expected = keys;
            for (int row = 0; row < 3; ++row)
                std::sort(expected.begin() + row * length, expected.begin() + (row + 1) * length);
            emulate::set_order(order);
            sort_keys(Device(), keys.data(), 3, length);
            emulate::set_order(0);
            CHECK(keys == expected);
        }
    }
    sort_keys(Device(), nullptr, 0, 4);
    CHECK(finish("sort").ok());
    CHECK(room_to_sort(0) == 1 && room_to_sort(1) == 1 && room_to_sort(5) == 8 && room_to_sort(1024) == 1024);
}

GD_TEST(the_first_bad_entry_is_found) {
    std::vector<Word> word(Workspace::need<Word>(1) / sizeof(Word));
    for (int order : kOrders) {
        for (std::int64_t bad : {0, 300, 999}) {
            std::int64_t found = -1;
            Workspace workspace(word.data(), word.size() * sizeof(Word));
            emulate::set_order(order);
            CHECK(first_bad("op", Device(), workspace, 999, [=](std::int64_t i) { return i >= bad; }, found).ok());
            emulate::set_order(0);
            CHECK(found == bad);
        }
    }
}

GD_TEST(memory_is_garbage_until_it_is_written) {
    void* memory = nullptr;
    CHECK(cudaMalloc(&memory, 12) == cudaSuccess);
    CHECK(std::count(static_cast<unsigned char*>(memory), static_cast<unsigned char*>(memory) + 12, 0) == 0);
    const char from[] = "abcdef";
    CHECK(cudaMemsetAsync(memory, '.', 12, nullptr) == cudaSuccess);
    CHECK(cudaMemcpy2DAsync(memory, 4, from, 3, 2, 2, cudaMemcpyHostToDevice, nullptr) == cudaSuccess);
    CHECK(std::memcmp(memory, "ab..de......", 12) == 0);
    CHECK(cudaMemcpy2DAsync(memory, 1, from, 3, 2, 2, cudaMemcpyHostToDevice, nullptr) == cudaErrorInvalidValue);
    CHECK(cudaFree(memory) == cudaSuccess);
    void* too_much = nullptr;
    CHECK(cudaMalloc(&too_much, std::size_t{1} << 60) == cudaErrorMemoryAllocation);
}

GD_TEST(host_threads_launch_at_once) {
    std::vector<std::thread> threads;
    std::vector<int> right(4, 0);
    for (std::size_t t = 0; t < 4; ++t)
        threads.emplace_back([&right, t] { right[t] = reversed(reverse, static_cast<int>(t))[191] == 128 ? 1 : 0; });
    for (std::thread& thread : threads) thread.join();
    CHECK(std::count(right.begin(), right.end(), 1) == 4);
}

}  // namespace graphdet
