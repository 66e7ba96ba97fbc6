#include "ops/corner_pool/corner_pool.h"

#include <string>

#include "bindings/arrays.h"

namespace graphdet::bindings {

namespace {

CornerPool pool_of(const char* op, const Operand& x, const std::string& side) {
    const bool known = side == "top" || side == "bottom" || side == "left" || side == "right";
    raise_if_failed(require(known, op, ": side is '", side, "', expected top, bottom, left or right"));
    return {x.view, side == "left" || side == "right", side == "top" || side == "left"};
}

}  // namespace

void bind_corner_pool(py::module_& m) {
    m.def(
        "corner_pool",
        [](const Floats& x, const std::string& side) {
            const Operand given = operand("corner_pool", "x", x);
            return run<Floats>(pool_of("corner_pool", given, side));
        },
        py::arg("x"), py::pos_only(), py::kw_only(), py::arg("side"),
        "The maximum of each pixel and all those that its side of a corner looks at.");
    m.def(
        "corner_pool_backward",
        [](const Floats& gradient, const Floats& x, const std::string& side) {
            constexpr const char* op = "corner_pool_backward";
            const Operand g = operand(op, "gradient", gradient), given = operand(op, "x", x);
            return run<Floats>(CornerPoolBackward{pool_of(op, given, side), g.view});
        },
        py::arg("gradient"), py::arg("x"), py::pos_only(), py::kw_only(), py::arg("side"), "Gradient of corner_pool.");
}

}  // namespace graphdet::bindings
