#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "tests/check.h"

namespace graphdet::tests {

namespace {

std::atomic<int> failures{0};
thread_local std::int64_t allocated = 0;

}  // namespace

std::vector<Test>& all() {
    static std::vector<Test> tests;
    return tests;
}

void failed(const char* file, int line, const std::string& text) {
    std::fprintf(stderr, "%s:%d: %s\n", file, line, text.c_str());
    ++failures;
}

std::int64_t allocations() { return allocated; }

static void* counted(std::size_t size, std::size_t align) {
    ++allocated;
    void* memory = std::aligned_alloc(align, (size + align - 1) / align * align);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

}  // namespace graphdet::tests

// Every form of new ends here, so that a test can see whether code allocates.
void* operator new(std::size_t size) { return graphdet::tests::counted(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return graphdet::tests::counted(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t align) {
    return graphdet::tests::counted(size, static_cast<std::size_t>(align));
}
void* operator new[](std::size_t size, std::align_val_t align) {
    return graphdet::tests::counted(size, static_cast<std::size_t>(align));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

// Runs all tests, or those whose name contains the first argument.
int main(int count, char** words) {
    int run = 0;
    for (const auto& test : graphdet::tests::all()) {
        if (count > 1 && std::strstr(test.name, words[1]) == nullptr) continue;
        test.run();
        ++run;
    }
    std::printf("%d tests, %d failed checks\n", run, graphdet::tests::failures.load());
    return graphdet::tests::failures == 0 && run > 0 ? 0 : 1;
}
