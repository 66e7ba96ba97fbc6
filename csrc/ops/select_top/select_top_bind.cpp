#include <string>

#include "bindings/arrays.h"
#include "ops/select_top/select_top.h"

namespace graphdet::bindings {

namespace {

SelectTop::Activation activation_of(const std::string& name) {
    if (name.empty()) return SelectTop::Activation::none;
    if (name == "sigmoid") return SelectTop::Activation::sigmoid;
    throw py::value_error("select_top: activation is '" + name + "', expected '' or 'sigmoid'");
}

}  // namespace

void bind_select_top(py::module_& m) {
    m.def(
        "select_top",
        [](const Floats& scores, const Scalar& threshold, std::int64_t k, const std::string& activation) {
            const Operand s = operand("select_top", "scores", scores);
            return run<Floats, Ints, Ints>(
                SelectTop{s.view, scalar("select_top", "threshold", threshold), k, activation_of(activation)});
        },
        py::arg("scores"), py::arg("threshold"), py::pos_only(), py::kw_only(), py::arg("k"),
        py::arg("activation") = "",
        "Top-k of the flattened (row, class) entries of each image whose activated score exceeds the threshold.");
}

}  // namespace graphdet::bindings
