#include "ops/masked_conv/masked_conv.h"

#include "bindings/arrays.h"

namespace graphdet::bindings {

void bind_masked_conv(py::module_& m) {
    m.def(
        "masked_conv2d",
        [](const Floats& x, const Floats& weight, const Floats& mask, const py::typing::Optional<Floats>& bias,
           std::int64_t stride, std::int64_t padding) {
            constexpr const char* op = "masked_conv2d";
            const Operand map = operand(op, "x", x), places = operand(op, "mask", mask);
            const Operand filters = operand(op, "weight", weight);
            const Operand shift = bias.is_none() ? Operand() : operand(op, "bias", bias);
            return run<Floats>(MaskedConv{map.view, filters.view, places.view, shift.view, stride, padding});
        },
        py::arg("x"), py::arg("weight"), py::arg("mask"), py::arg("bias") = py::none(), py::pos_only(), py::kw_only(),
        py::arg("stride") = 1, py::arg("padding") = 0, "A convolution where the mask exceeds 0, and 0 elsewhere.");
}

}  // namespace graphdet::bindings
