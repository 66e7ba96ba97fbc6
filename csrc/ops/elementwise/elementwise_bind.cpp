#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "ops/elementwise/elementwise.h"

namespace graphdet::bindings {

void bind_elementwise(py::module_& m) {
    m.def(
        "concat",
        [](const py::Args<AnyArray>& xs, int axis) {
            std::vector<Operand> operands;
            Concat args;
            args.axis = axis;
            for (const py::handle& x : xs) {
                const std::string name = "operand " + std::to_string(operands.size());
                operands.push_back(operand("concat", name.c_str(), py::reinterpret_borrow<py::object>(x)));
                args.xs.push_back(operands.back().view);
            }
            return run<AnyArray>(args);
        },
        py::kw_only(), py::arg("axis"), "Arrays joined along one axis.");
    m.def(
        "sigmoid",
        [](const Floats& x) {
            const Operand in = operand("sigmoid", "x", x);
            return run<Floats>(Sigmoid{in.view});
        },
        py::arg("x"), py::pos_only(), "1 / (1 + exp(-x)).");
    m.def(
        "mul",
        [](const Floats& a, const Floats& b) {
            const Operand left = operand("mul", "a", a), right = operand("mul", "b", b);
            return run<Floats>(Mul{left.view, right.view});
        },
        py::arg("a"), py::arg("b"), py::pos_only(), "Product with NumPy broadcasting.");
}

}  // namespace graphdet::bindings
