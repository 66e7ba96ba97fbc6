#include "ops/deform_conv/deform_conv.h"

#include "bindings/arrays.h"

namespace graphdet::bindings {

namespace {

// Keeps the arrays alive for as long as `args` is used.
struct Held {
    DeformConv args;
    Operand x, weight, offset, mask, bias;
};

Held hold(const char* op, const py::object& x, const py::object& weight, const py::object& offset,
          const py::object& mask, const py::object& bias, std::int64_t stride, std::int64_t padding,
          std::int64_t dilation, std::int64_t groups, std::int64_t offset_groups) {
    Held held;
    held.x = operand(op, "x", x), held.weight = operand(op, "weight", weight);
    held.offset = operand(op, "offset", offset);
    if (!mask.is_none()) held.mask = operand(op, "mask", mask);
    if (!bias.is_none()) held.bias = operand(op, "bias", bias);
    held.args = {held.x.view, held.weight.view, held.offset.view, held.mask.view, held.bias.view,
                 stride,      padding,          dilation,         groups,         offset_groups};
    return held;
}

}  // namespace

void bind_deform_conv(py::module_& m) {
    m.def(
        "deform_conv2d",
        [](const Floats& x, const Floats& weight, const Floats& offset, const py::typing::Optional<Floats>& mask,
           const py::typing::Optional<Floats>& bias, std::int64_t stride, std::int64_t padding, std::int64_t dilation,
           std::int64_t groups, std::int64_t offset_groups) {
            const Held held =
                hold("deform_conv2d", x, weight, offset, mask, bias, stride, padding, dilation, groups, offset_groups);
            return run<Floats>(held.args);
        },
        py::arg("x"), py::arg("weight"), py::arg("offset"), py::arg("mask") = py::none(), py::arg("bias") = py::none(),
        py::pos_only(), py::kw_only(), py::arg("stride") = 1, py::arg("padding") = 0, py::arg("dilation") = 1,
        py::arg("groups") = 1, py::arg("offset_groups") = 1, "Convolution with moved, weighed kernel points.");
    m.def(
        "deform_conv2d_backward",
        [](const Floats& gradient, const Floats& x, const Floats& weight, const Floats& offset,
           const py::typing::Optional<Floats>& mask, std::int64_t stride, std::int64_t padding, std::int64_t dilation,
           std::int64_t groups, std::int64_t offset_groups) {
            constexpr const char* op = "deform_conv2d_backward";
            const Held held =
                hold(op, x, weight, offset, mask, py::none(), stride, padding, dilation, groups, offset_groups);
            const Operand given = operand(op, "gradient", gradient);
            return run(DeformConvBackward{held.args, given.view});
        },
        py::arg("gradient"), py::arg("x"), py::arg("weight"), py::arg("offset"), py::arg("mask") = py::none(),
        py::pos_only(), py::kw_only(), py::arg("stride") = 1, py::arg("padding") = 0, py::arg("dilation") = 1,
        py::arg("groups") = 1, py::arg("offset_groups") = 1,
        "Gradients of deform_conv2d: of x, weight, offset and, where there is one, mask.");
}

}  // namespace graphdet::bindings
