#include "engine/native.h"

#include <algorithm>

#include "engine/native_call.h"

namespace graphdet {

namespace {

const OpRow* find(const std::string& name) {
    for (const auto* ops : {&dense_ops(), &region_ops(), &sampling_ops()}) {
        const auto row = std::find_if(ops->begin(), ops->end(), [&](const OpRow& op) { return op.name == name; });
        if (row != ops->end()) return &*row;
    }
    return nullptr;
}

Status check_operands(const StepRow& step, const OpRow& row) {
    const std::size_t count = step.inputs.size();
    GD_CHECK(require(count >= row.least && count <= row.most, "native step ", step.name, " has ", count,
                     " operands, expected ", row.least));
    for (std::size_t i = 0; i < row.least; ++i) {
        GD_CHECK(require(step.inputs[i].has_value(), "native step ", step.name, ": operand ", i, " is absent"));
    }
    return Status();
}

}  // namespace

Result<std::unique_ptr<NativeCall>> make_native(const StepRow& step) {
    const OpRow* row = find(step.name);
    if (row == nullptr) {
        return Status(Code::future_artefact,
                      "the plan uses native op '" + step.name + "', which this graphdet does not have");
    }
    if (const Status fits = check_operands(step, *row); !fits.ok()) return Status(Code::corrupt_artefact, fits.text());
    Attributes attributes(step);
    Made made = row->make(attributes);
    GD_CHECK(attributes.finish());
    return made;
}

}  // namespace graphdet
