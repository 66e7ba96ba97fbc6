#include "ops/focal/focal.h"

#include "bindings/arrays.h"

namespace graphdet::bindings {

void bind_focal(py::module_& m) {
    m.def(
        "focal_loss",
        [](const Floats& logits, const Ints& labels, float alpha, float gamma) {
            const Operand x = operand("focal_loss", "logits", logits), y = operand("focal_loss", "labels", labels);
            return run<Floats>(FocalLoss{x.view, y.view, alpha, gamma});
        },
        py::arg("logits"), py::arg("labels"), py::pos_only(), py::kw_only(), py::arg("alpha") = 0.25F,
        py::arg("gamma") = 2.0F, "Sigmoid focal loss of each row, summed over classes.");
    m.def(
        "focal_loss_backward",
        [](const Floats& gradient, const Floats& logits, const Ints& labels, float alpha, float gamma) {
            constexpr const char* op = "focal_loss_backward";
            const Operand g = operand(op, "gradient", gradient);
            const Operand x = operand(op, "logits", logits), y = operand(op, "labels", labels);
            return run<Floats>(FocalLossBackward{{x.view, y.view, alpha, gamma}, g.view});
        },
        py::arg("gradient"), py::arg("logits"), py::arg("labels"), py::pos_only(), py::kw_only(),
        py::arg("alpha") = 0.25F, py::arg("gamma") = 2.0F, "Gradient of focal_loss with respect to its logits.");
}

}  // namespace graphdet::bindings
