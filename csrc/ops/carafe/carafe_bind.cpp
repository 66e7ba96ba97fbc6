#include "ops/carafe/carafe.h"

#include "bindings/arrays.h"

namespace graphdet::bindings {

void bind_carafe(py::module_& m) {
    m.def(
        "carafe",
        [](const Floats& x, const Floats& kernels, std::int64_t size, std::int64_t groups, std::int64_t scale) {
            const Operand map = operand("carafe", "x", x), weights = operand("carafe", "kernels", kernels);
            return run<Floats>(Carafe{map.view, weights.view, size, groups, scale});
        },
        py::arg("x"), py::arg("kernels"), py::pos_only(), py::kw_only(), py::arg("size") = 5, py::arg("groups") = 1,
        py::arg("scale") = 2, "Upsampling where each output pixel weighs a window of the input itself.");
    m.def(
        "carafe_backward",
        [](const Floats& gradient, const Floats& x, const Floats& kernels, std::int64_t size, std::int64_t groups,
           std::int64_t scale) {
            constexpr const char* op = "carafe_backward";
            const Operand g = operand(op, "gradient", gradient);
            const Operand map = operand(op, "x", x), weights = operand(op, "kernels", kernels);
            return run<Floats, Floats>(CarafeBackward{{map.view, weights.view, size, groups, scale}, g.view});
        },
        py::arg("gradient"), py::arg("x"), py::arg("kernels"), py::pos_only(), py::kw_only(), py::arg("size") = 5,
        py::arg("groups") = 1, py::arg("scale") = 2, "Gradients of carafe: of x and of kernels.");
}

}  // namespace graphdet::bindings
