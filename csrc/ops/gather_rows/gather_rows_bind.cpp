#include "bindings/arrays.h"
#include "ops/gather_rows/gather_rows.h"

namespace graphdet::bindings {

void bind_gather_rows(py::module_& m) {
    m.def(
        "gather_rows",
        [](const Floats& x, const Ints& index) {
            const Operand table = operand("gather_rows", "x", x), picks = operand("gather_rows", "index", index);
            return run<Floats>(GatherRows{table.view, picks.view});
        },
        py::arg("x"), py::arg("index"), py::pos_only(), "Rows of a table, picked by index, image by image.");
    m.def(
        "gather",
        [](const Floats& x, const Ints& index) {
            const Operand entries = operand("gather", "x", x), picks = operand("gather", "index", index);
            return run<Floats>(Gather{entries.view, picks.view});
        },
        py::arg("x"), py::arg("index"), py::pos_only(), "Entries of a row, picked by index, image by image.");
}

}  // namespace graphdet::bindings
