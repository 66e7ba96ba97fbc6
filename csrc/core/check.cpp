#include "core/check.h"

#include <sstream>

#include "core/plan.h"

namespace graphdet {

namespace {

std::string text_of(DType dtype, std::initializer_list<Dim> dims) {
    std::ostringstream text;
    text << name_of(dtype) << '[';
    const char* gap = "";
    for (const Dim& dim : dims) {
        text << gap << dim.name;
        if (dim.size >= 0) text << (*dim.name != '\0' ? "=" : "") << dim.size;
        gap = " ";
    }
    text << ']';
    return text.str();
}

bool matches(const Dims& found, std::initializer_list<Dim> expected) {
    if (found.rank != static_cast<int>(expected.size())) return false;
    int i = 0;
    for (const Dim& dim : expected) {
        if (dim.size >= 0 && dim.size != found[i]) return false;
        ++i;
    }
    return true;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const TypeText& type) {
    out << name_of(type.dtype) << '[';
    for (int i = 0; i < type.dims.rank; ++i) out << (i > 0 ? " " : "") << type.dims[i];
    return out << ']';
}

Status expect(const char* op, const char* operand, const TensorView& view, DType dtype,
              std::initializer_list<Dim> dims) {
    if (view.dtype == dtype && matches(view.dims, dims)) return Status();
    return require(false, op, ": ", operand, " is ", text_of(view.dtype, view.dims), ", expected ",
                   text_of(dtype, dims));
}

Status fits(const char* op, const Plan& plan, const TensorView* outputs, const Workspace& workspace) {
    for (int i = 0; i < plan.count; ++i) {
        const Spec& spec = plan.outputs[i];
        const TensorView& out = outputs[i];
        const bool same = out.dtype == spec.dtype && out.dims == spec.dims;
        GD_CHECK(require(same, op, ": output ", i, " is ", text_of(out.dtype, out.dims), ", expected ",
                         text_of(spec.dtype, spec.dims)));
    }
    return require(workspace.left() >= plan.workspace, op, ": workspace has ", workspace.left(),
                   " bytes, expected at least ", plan.workspace);
}

}  // namespace graphdet
