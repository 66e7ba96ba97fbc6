// Launches of the module of CPU kernels: arrays are read and written where they lie.
#pragma once

#include <cstddef>
#include <memory>

#include "core/plan.h"

namespace graphdet::bindings {

inline Status bring(const void* data, std::size_t /*bytes*/, std::shared_ptr<void>& memory) {
    memory = std::shared_ptr<void>(std::shared_ptr<void>(), const_cast<void*>(data));  // owned by its array
    return Status();
}

template <class Args>
Status plan_here(const Args& args, Plan& needed) {
    return plan(args, needed);
}

// `outputs` are arrays of the planned types and shapes.
template <class Args>
Status launch_here(const Args& args, const Plan& needed, const TensorView* outputs) {
    struct alignas(Workspace::kAlign) Line {
        std::byte bytes[Workspace::kAlign];
    };
    const std::size_t lines = (needed.workspace + sizeof(Line) - 1) / sizeof(Line);
    const std::unique_ptr<Line[]> scratch(lines > 0 ? new Line[lines] : nullptr);
    return launch(args, outputs, Workspace(scratch.get(), lines * sizeof(Line)));
}

}  // namespace graphdet::bindings
