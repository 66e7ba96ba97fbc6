// How kernels report a mistake: a text that says what was found and what was expected. Kernels never throw.
#pragma once

#include <sstream>

#include "graphdet/status.hpp"

namespace graphdet {

// Fails with the joined `parts` unless `condition` holds. The text is built only on failure.
template <class... Parts>
Status require(bool condition, const Parts&... parts) {
    if (condition) return Status();
    std::ostringstream text;
    (text << ... << parts);
    return Status(text.str());
}

}  // namespace graphdet

// Leaves the enclosing function with the first failing Status.
#define GD_CHECK(status_expression)                                                                \
    do {                                                                                           \
        if (::graphdet::Status gd_status = (status_expression); !gd_status.ok()) return gd_status; \
    } while (false)
