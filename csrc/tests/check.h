// A test is a function; a failed check prints its place and the test goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace graphdet::tests {

struct Test {
    const char* name;
    void (*run)();
};

std::vector<Test>& all();
void failed(const char* file, int line, const std::string& text);

// Calls of operator new on this thread so far.
std::int64_t allocations();

struct Registered {
    Registered(const char* name, void (*run)()) { all().push_back({name, run}); }
};

}  // namespace graphdet::tests

#define GD_TEST(name)                                                          \
    static void name();                                                        \
    static const ::graphdet::tests::Registered registered_##name(#name, name); \
    static void name()

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) ::graphdet::tests::failed(__FILE__, __LINE__, #condition); \
    } while (false)

// The code and a part of the text of a Status.
#define CHECK_FAILS(status_expression, expected_code, words)                                          \
    do {                                                                                              \
        const ::graphdet::Status gd_found = (status_expression);                                      \
        if (gd_found.code() != (expected_code) || gd_found.text().find(words) == std::string::npos) { \
            ::graphdet::tests::failed(__FILE__, __LINE__, "found '" + gd_found.message() + "'");      \
        }                                                                                             \
    } while (false)
