#include "ops/iou/iou.h"

#include "bindings/arrays.h"

namespace graphdet::bindings {

void bind_iou(py::module_& m) {
    m.def(
        "pairwise_iou",
        [](const Floats& a, const Floats& b, bool generalised) {
            const Operand left = operand("pairwise_iou", "a", a), right = operand("pairwise_iou", "b", b);
            return run<Floats>(PairwiseIou{left.view, right.view, generalised});
        },
        py::arg("a"), py::arg("b"), py::pos_only(), py::kw_only(), py::arg("generalised") = false,
        "IoU, or generalised IoU, of each box of a with each of b, image by image.");
}

}  // namespace graphdet::bindings
