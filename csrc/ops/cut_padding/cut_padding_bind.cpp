#include "bindings/arrays.h"
#include "ops/cut_padding/cut_padding.h"

namespace graphdet::bindings {

void bind_cut_padding(py::module_& m) {
    m.def(
        "cut_padding",
        [](const Floats& boxes, const Ints& labels, const Ints& count, const std::vector<std::int64_t>& steps) {
            constexpr const char* op = "cut_padding";
            const Operand b = operand(op, "boxes", boxes), l = operand(op, "labels", labels),
                          c = operand(op, "count", count);
            return run<Floats, Ints>(CutPadding{b.view, l.view, c.view, steps});
        },
        py::arg("boxes"), py::arg("labels"), py::arg("count"), py::pos_only(), py::kw_only(), py::arg("steps"),
        "Padded boxes and labels in as few rows as hold those that exist.");
}

}  // namespace graphdet::bindings
