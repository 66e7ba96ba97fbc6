#include "bindings/arrays.h"
#include "ops/nms/nms.h"

namespace graphdet::bindings {

void bind_nms(py::module_& m) {
    m.def(
        "nms",
        [](const Floats& boxes, const Floats& scores, const Ints& labels, const Scalar& score_threshold,
           const Scalar& iou_threshold, std::int64_t keep, bool agnostic) {
            const Operand b = operand("nms", "boxes", boxes), s = operand("nms", "scores", scores),
                          l = operand("nms", "labels", labels);
            return run<Floats, Floats, Ints, Ints>(Nms{b.view, s.view, l.view,
                                                       scalar("nms", "score_threshold", score_threshold),
                                                       scalar("nms", "iou_threshold", iou_threshold), keep, agnostic});
        },
        py::arg("boxes"), py::arg("scores"), py::arg("labels"), py::arg("score_threshold"), py::arg("iou_threshold"),
        py::pos_only(), py::kw_only(), py::arg("keep"), py::arg("agnostic"),
        "Greedy non-maximum suppression, image by image.");
}

}  // namespace graphdet::bindings
