// Native steps of a plan: from the name and attributes of an op to a kernel call.
#pragma once

#include <memory>
#include <vector>

#include "core/plan.h"
#include "engine/header.h"

namespace graphdet {

using Operands = std::vector<const TensorView*>;  // null: absent

// One native step with its attributes, used by one thread at a time. `plan` takes the operands, `launch` runs on the
// operands of the latest plan. Neither allocates after the first call.
class NativeCall {
  public:
    virtual ~NativeCall() = default;
    virtual Status plan(const Operands& operands, Plan& plan) = 0;
    virtual Status launch(const TensorView* outputs, Workspace workspace) = 0;
    [[nodiscard]] virtual std::unique_ptr<NativeCall> clone() const = 0;
};

// Fails with future_artefact for an unknown op, corrupt_artefact for wrong attributes or a wrong number of operands.
[[nodiscard]] Result<std::unique_ptr<NativeCall>> make_native(const StepRow& step);

}  // namespace graphdet
