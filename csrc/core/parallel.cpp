#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace graphdet {

namespace {

int processors() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::clamp(CPU_COUNT(&set), 1, kMaxThreads);
#endif
    return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads);
}

std::atomic<int> g_threads{0};  // 0: not yet asked for

// The loop that runs now. Workers and caller take pieces until none is left.
struct Loop {
    std::int64_t count = 0, grain = 1;
    const void* body = nullptr;
    detail::LoopBody call = nullptr;
    std::atomic<std::int64_t> next{0};

    void work(int slot) {
        for (std::int64_t begin = next.fetch_add(grain); begin < count; begin = next.fetch_add(grain)) {
            call(body, begin, std::min(count, begin + grain), slot);
        }
    }
};

// Workers sleep between loops. The pool is never destroyed: threads may outlive static destructors.
class Pool {
  public:
    // True when this caller has the pool for itself until `release`.
    bool acquire() { return !busy_.exchange(true, std::memory_order_acquire); }
    void release() { busy_.store(false, std::memory_order_release); }

    void run(std::int64_t count, std::int64_t grain, int slots, const void* body, detail::LoopBody call) {
        loop_.count = count, loop_.grain = grain, loop_.body = body, loop_.call = call;
        loop_.next.store(0, std::memory_order_relaxed);
        const int helpers = grow(slots - 1);
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            wanted_ = helpers;
            open_ = true;
            ++generation_;
        }
        wake_.notify_all();
        loop_.work(0);
        std::unique_lock<std::mutex> lock(mutex_);
        open_ = false;  // nothing is left to take: a worker that wakes only now must not join
        done_.wait(lock, [&] { return running_ == 0; });
    }

  private:
    // Starts threads up to `helpers`; a system that refuses one leaves the loop with fewer.
    int grow(int helpers) {
        while (started_ < helpers) {
            try {
                std::thread([this, slot = started_ + 1] { serve(slot); }).detach();
            } catch (const std::system_error&) {
                return started_;
            }
            ++started_;
        }
        return helpers;
    }

    [[noreturn]] void serve(int slot) {
        std::uint64_t seen = 0;
        for (;;) {
            {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return open_ && generation_ != seen && slot <= wanted_; });
                seen = generation_;
                ++running_;
            }
            loop_.work(slot);
            bool last = false;
            {
                const std::lock_guard<std::mutex> lock(mutex_);
                last = --running_ == 0;
            }
            if (last) done_.notify_one();
        }
    }

    std::atomic<bool> busy_{false};
    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::uint64_t generation_ = 0;
    bool open_ = false;
    int wanted_ = 0, running_ = 0, started_ = 0;
    Loop loop_;
};

std::atomic<Pool*> g_pool{nullptr};

// A child has none of its parent's threads, and the pool's locks may be held by them: it is left behind for a new one.
void forget_pool() { g_pool.store(nullptr); }

Pool* pool() {
    if (Pool* found = g_pool.load(std::memory_order_acquire)) return found;
    static std::mutex making;
    const std::lock_guard<std::mutex> lock(making);
    if (g_pool.load() == nullptr) {
#if defined(__unix__) || defined(__APPLE__)
        static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
        if (registered != 0) return nullptr;
#endif
        g_pool.store(new (std::nothrow) Pool, std::memory_order_release);
    }
    return g_pool.load();
}

}  // namespace

int threads() {
    int count = g_threads.load(std::memory_order_relaxed);
    if (count == 0) {
        count = processors();
        g_threads.store(count, std::memory_order_relaxed);
    }
    return count;
}

void set_threads(int count) {
    g_threads.store(count < 1 ? processors() : std::min(count, kMaxThreads), std::memory_order_relaxed);
}

namespace detail {

void parallel_loop(std::int64_t count, std::int64_t grain, int slots, const void* body, LoopBody call) {
    if (count <= 0) return;
    const std::int64_t pieces = (count + grain - 1) / grain;
    const int wanted = static_cast<int>(std::min<std::int64_t>(std::min(slots, threads()), pieces));
    Pool* shared = wanted > 1 ? pool() : nullptr;
    if (shared == nullptr || !shared->acquire()) {
        for (std::int64_t begin = 0; begin < count; begin += grain)
            call(body, begin, std::min(count, begin + grain), 0);
        return;
    }
    shared->run(count, grain, wanted, body, call);
    shared->release();
}

}  // namespace detail

}  // namespace graphdet
