// No exception leaves the library: what is thrown inside (memory, backends, the standard library) becomes a Status.
#pragma once

#include <exception>
#include <new>
#include <utility>

#include "core/status.h"

namespace graphdet {

// The result of `body`, or the failure that it threw.
template <class Body>
auto guarded(Body&& body) noexcept -> decltype(body()) {
    try {
        return std::forward<Body>(body)();
    } catch (const std::bad_alloc&) {
        return Status(Code::out_of_memory, "out of memory");
    } catch (const std::exception& error) {
        return Status(Code::internal, error.what());
    } catch (...) {
        return Status(Code::internal, "an unknown exception");
    }
}

}  // namespace graphdet
