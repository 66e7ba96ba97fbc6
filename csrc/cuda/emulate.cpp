#include "cuda/emulate.h"

#include <ucontext.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace graphdet::emulate {

namespace {

constexpr std::size_t kStack = std::size_t{128} << 10;
constexpr std::uint64_t kMostThreads = 1024, kMostBlocksX = (1ULL << 31) - 1, kMostBlocksYZ = 65535;

thread_local cudaError_t last_error = cudaSuccess;
thread_local int order_of_threads = 0;

struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
};
thread_local bool copies_are_late = false;
thread_local std::vector<Copy> late_copies;

// The i-th of `count` in the order that is set: i * step + shift modulo count, with step and count coprime.
std::uint64_t place(std::uint64_t i, std::uint64_t count, int order) {
    if (order == 0 || count < 2) return i;
    if (order < 0) return count - 1 - i;
    std::uint64_t step = static_cast<std::uint64_t>(order) * 2654435761U % count;
    while (std::gcd(step, count) != 1) ++step;
    return (i * (step % count) + static_cast<std::uint64_t>(order)) % count;
}

uint3 index_in(std::uint64_t flat, const dim3& extent) {
    return {static_cast<unsigned>(flat % extent.x), static_cast<unsigned>(flat / extent.x % extent.y),
            static_cast<unsigned>(flat / extent.x / extent.y)};
}

// A stack that runs threads of the block, one after another, until one of them waits at a barrier.
struct Fiber {
    ucontext_t context;
    std::unique_ptr<std::byte[]> stack{new std::byte[kStack]};
    uint3 thread;
    int line = 0;  // of the barrier it waits at, 0 when it is free
};

// The block that runs, and the fibers it needs: as many as threads wait at once, or one for a kernel without barriers.
class Block {
  public:
    bool run(dim3 extent, Body body, const void* closure) {
        count_ = std::uint64_t{extent.x} * extent.y * extent.z;
        next_ = 0;
        extent_ = extent, body_ = body, closure_ = closure;
        waiting_.clear();
        while (next_ < count_) {
            if (free_.empty()) create();
            Fiber* fiber = free_.back();
            free_.pop_back();
            enter(*fiber);
        }
        while (!waiting_.empty()) {
            bool together = waiting_.size() == count_;
            for (const Fiber* fiber : waiting_) together = together && fiber->line == waiting_.front()->line;
            if (!together) return abandon();
            std::vector<Fiber*> released;
            released.swap(waiting_);
            for (Fiber* fiber : released) enter(*fiber);
        }
        return true;
    }

    void wait(int line) {
        Fiber& fiber = *current_;
        fiber.line = line;
        waiting_.push_back(&fiber);
        leave(fiber);
        threadIdx = fiber.thread;
    }

  private:
    static void entry();

    void create() {
        fibers_.push_back(std::make_unique<Fiber>());
        Fiber& fiber = *fibers_.back();
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = kStack;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, &Block::entry, 0);
        free_.push_back(&fiber);
    }

    // What a fiber does for ever: take the next thread, run it; without one, be free and go back.
    [[noreturn]] void work() {
        entered();
        for (;;) {
            while (next_ < count_) {
                Fiber& fiber = *current_;
                fiber.thread = threadIdx = index_in(place(next_++, count_, order_of_threads), extent_);
                body_(closure_);
            }
            free_.push_back(current_);
            leave(*current_);
        }
    }

    void enter(Fiber& fiber) {
        current_ = &fiber;
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_start_switch_fiber(&fake_stack_, fiber.stack.get(), kStack);
#endif
        swapcontext(&scheduler_, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(fake_stack_, nullptr, nullptr);
#endif
    }

    void leave(Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
        void* fake = nullptr;
        __sanitizer_start_switch_fiber(&fake, outer_stack_, outer_size_);
        swapcontext(&fiber.context, &scheduler_);
        __sanitizer_finish_switch_fiber(fake, &outer_stack_, &outer_size_);
#else
        swapcontext(&fiber.context, &scheduler_);
#endif
        fiber.line = 0;
    }

    void entered() {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(nullptr, &outer_stack_, &outer_size_);
#endif
    }

    // Threads hang at different barriers. Device code owns nothing, so their stacks can be dropped.
    bool abandon() {
        fibers_.clear();
        free_.clear();
        waiting_.clear();
        return false;
    }

    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::vector<Fiber*> free_, waiting_;
    Fiber* current_ = nullptr;
    ucontext_t scheduler_{};
    std::uint64_t count_ = 0, next_ = 0;
    dim3 extent_;
    Body body_ = nullptr;
    const void* closure_ = nullptr;
#if defined(__SANITIZE_ADDRESS__)
    void* fake_stack_ = nullptr;
    const void* outer_stack_ = nullptr;
    std::size_t outer_size_ = 0;
#endif
};

Block& block() {
    thread_local Block one;
    return one;
}

void Block::entry() { graphdet::emulate::block().work(); }

bool valid(const dim3& grid, const dim3& extent) {
    const std::uint64_t threads = std::uint64_t{extent.x} * extent.y * extent.z;
    return threads >= 1 && threads <= kMostThreads && extent.z <= 64 && grid.x >= 1 && grid.y >= 1 && grid.z >= 1 &&
           grid.x <= kMostBlocksX && grid.y <= kMostBlocksYZ && grid.z <= kMostBlocksYZ;
}

// Memory of the device, and pinned memory of the host.
struct Memory {
    std::mutex mutex;
    std::map<const void*, std::size_t> device, pinned;
    std::size_t taken = 0;
};

Memory& memory_of_all() {
    static Memory one;
    return one;
}

cudaError_t take(std::map<const void*, std::size_t>& held, void** memory, std::size_t bytes) {
    constexpr std::size_t most = std::size_t{1} << 40, line = 256;  // no device has more
    *memory = nullptr;
    if (bytes > most || posix_memalign(memory, line, bytes > 0 ? bytes : 1) != 0) return cudaErrorMemoryAllocation;
    std::memset(*memory, 0xA5, bytes);
    const std::lock_guard<std::mutex> lock(memory_of_all().mutex);
    held[*memory] = bytes;
    ++memory_of_all().taken;
    return cudaSuccess;
}

cudaError_t give(std::map<const void*, std::size_t>& held, void* memory) {
    if (memory == nullptr) return cudaSuccess;
    catch_up();
    const std::lock_guard<std::mutex> lock(memory_of_all().mutex);
    if (held.erase(memory) == 0) return cudaErrorInvalidValue;
    std::free(memory);
    return cudaSuccess;
}

}  // namespace

std::size_t device_bytes(const void* memory) {
    const std::lock_guard<std::mutex> lock(memory_of_all().mutex);
    const auto next = memory_of_all().device.upper_bound(memory);
    if (next == memory_of_all().device.begin()) return 0;
    const auto& [begin, bytes] = *std::prev(next);
    const auto before = static_cast<std::size_t>(static_cast<const char*>(memory) - static_cast<const char*>(begin));
    return before < bytes ? bytes - before : 0;
}

Blocks blocks() {
    const std::lock_guard<std::mutex> lock(memory_of_all().mutex);
    return {memory_of_all().device.size() + memory_of_all().pinned.size(), memory_of_all().taken};
}

void catch_up() {
    for (const Copy& copy : late_copies) std::memcpy(copy.to, copy.from, copy.bytes);
    late_copies.clear();
}

void set_late(bool late) {
    catch_up();
    copies_are_late = late;
}

void launch(dim3 grid, dim3 extent, Body body, const void* closure) {
    catch_up();
    if (!valid(grid, extent)) {
        last_error = cudaErrorInvalidConfiguration;
        return;
    }
    gridDim = grid, blockDim = extent;
    const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
    for (std::uint64_t i = 0; i < blocks; ++i) {
        blockIdx = index_in(place(i, blocks, order_of_threads), grid);
        if (block().run(extent, body, closure)) continue;
        last_error = cudaErrorLaunchFailure;
        return;
    }
}

void barrier(int line) { block().wait(line); }

void set_order(int order) { order_of_threads = order; }

}  // namespace graphdet::emulate

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
    return graphdet::emulate::take(graphdet::emulate::memory_of_all().device, memory, bytes);
}

cudaError_t cudaFree(void* memory) {
    return graphdet::emulate::give(graphdet::emulate::memory_of_all().device, memory);
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
    return graphdet::emulate::take(graphdet::emulate::memory_of_all().pinned, memory, bytes);
}

cudaError_t cudaFreeHost(void* memory) {
    return graphdet::emulate::give(graphdet::emulate::memory_of_all().pinned, memory);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
    if (bytes > 0) graphdet::emulate::late_copies.push_back({to, from, bytes});
    if (!graphdet::emulate::copies_are_late) graphdet::emulate::catch_up();
    return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind, cudaStream_t) {
    if (width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
    for (std::size_t y = 0; y < height; ++y)
        std::memcpy(static_cast<char*>(to) + y * to_pitch, static_cast<const char*>(from) + y * from_pitch, width);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int byte, std::size_t bytes, cudaStream_t) {
    if (bytes > 0) std::memset(memory, byte, bytes);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    *stream = nullptr;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }

cudaError_t cudaStreamSynchronize(cudaStream_t) {
    graphdet::emulate::catch_up();
    return cudaSuccess;
}

cudaError_t cudaGetLastError() { return std::exchange(graphdet::emulate::last_error, cudaSuccess); }

cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }

const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "no error";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorInvalidDevice: return "invalid device ordinal";
        case cudaErrorLaunchFailure: return "threads of a block wait at different barriers, or some do not wait";
    }
    return "unknown error";
}
