// Threads for kernels: one pool a process, and loops over independent work.
//
// A kernel splits its work into pieces that write to different places, so results never depend on the number of
// threads. Calls allocate nothing once the pool has its threads. Any number of caller threads may loop at once: the
// pool serves one of them at a time and the others run their loop by themselves, as does a loop inside a loop; nobody
// waits for a busy pool. After a fork the child starts with an empty pool and makes its own threads when it needs them.
#pragma once

#include <cstdint>
#include <type_traits>

namespace graphdet {

// How many threads a loop may use, the caller included: at first the number of processors this process may run on.
[[nodiscard]] int threads();

// `count` < 1 restores the initial number; more than kMaxThreads are capped. Loops that run meanwhile keep theirs.
void set_threads(int count);

constexpr int kMaxThreads = 256;

namespace detail {

using LoopBody = void (*)(const void* body, std::int64_t begin, std::int64_t end, int slot);

void parallel_loop(std::int64_t count, std::int64_t grain, int slots, const void* body, LoopBody call);

}  // namespace detail

// Calls `body(begin, end, slot)` for pieces that cover [0, count), each of at most `grain` > 0 items, on up to `slots`
// threads. Calls with the same slot in [0, slots) never run at the same time: scratch memory is indexed by it. `body`
// must not throw. All pieces are done, and visible to the caller, when it returns.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t grain, int slots, const Body& body) {
    detail::parallel_loop(count, grain, slots, &body,
                          [](const void* any, std::int64_t begin, std::int64_t end, int slot) {
                              (*static_cast<const Body*>(any))(begin, end, slot);
                          });
}

// The same on as many threads as are allowed, for bodies without scratch: `body(begin, end)`.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t grain, const Body& body) {
    parallel_for(count, grain, kMaxThreads,
                 [&](std::int64_t begin, std::int64_t end, int /*slot*/) { body(begin, end); });
}

}  // namespace graphdet
