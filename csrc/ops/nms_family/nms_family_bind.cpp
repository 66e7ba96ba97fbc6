#include "ops/nms_family/nms_family.h"

#include <string>

#include "bindings/arrays.h"

namespace graphdet::bindings {

namespace {

Decay decay_of(const char* op, const std::string& name) {
    if (name == "linear") return Decay::linear;
    if (name == "gaussian") return Decay::gaussian;
    throw py::value_error(std::string(op) + ": decay is '" + name + "', expected 'linear' or 'gaussian'");
}

// Reads the operands, which stay alive during `then(args)`.
template <class Args, class Then>
auto with_candidates(const char* op, const py::object& boxes, const py::object& scores, const py::object& labels,
                     const py::object& threshold, std::int64_t keep, bool agnostic, const Then& then) {
    const Operand b = operand(op, "boxes", boxes), s = operand(op, "scores", scores), l = operand(op, "labels", labels);
    Args args;
    args.boxes = b.view, args.scores = s.view, args.labels = l.view;
    args.score_threshold = scalar(op, "score_threshold", threshold);
    args.keep = keep, args.agnostic = agnostic;
    then(args);
    return run<Floats, Floats, Ints, Ints>(args);
}

}  // namespace

void bind_nms_family(py::module_& m) {
    m.def(
        "soft_nms",
        [](const Floats& boxes, const Floats& scores, const Ints& labels, const Scalar& score_threshold,
           const Scalar& iou_threshold, std::int64_t keep, bool agnostic, const std::string& decay, float sigma) {
            return with_candidates<SoftNms>("soft_nms", boxes, scores, labels, score_threshold, keep, agnostic,
                                            [&](SoftNms& args) {
                                                args.iou_threshold = scalar("soft_nms", "iou_threshold", iou_threshold);
                                                args.decay = decay_of("soft_nms", decay);
                                                args.sigma = sigma;
                                            });
        },
        py::arg("boxes"), py::arg("scores"), py::arg("labels"), py::arg("score_threshold"), py::arg("iou_threshold"),
        py::pos_only(), py::kw_only(), py::arg("keep") = 0, py::arg("agnostic") = false, py::arg("decay") = "linear",
        py::arg("sigma") = 0.5F, "Soft-NMS, image by image.");
    m.def(
        "matrix_nms",
        [](const Floats& boxes, const Floats& scores, const Ints& labels, const Scalar& score_threshold,
           std::int64_t keep, bool agnostic, const std::string& decay, float sigma) {
            return with_candidates<MatrixNms>("matrix_nms", boxes, scores, labels, score_threshold, keep, agnostic,
                                              [&](MatrixNms& args) {
                                                  args.decay = decay_of("matrix_nms", decay);
                                                  args.sigma = sigma;
                                              });
        },
        py::arg("boxes"), py::arg("scores"), py::arg("labels"), py::arg("score_threshold"), py::pos_only(),
        py::kw_only(), py::arg("keep") = 0, py::arg("agnostic") = false, py::arg("decay") = "gaussian",
        py::arg("sigma") = 2.0F, "Matrix NMS, image by image.");
    m.def(
        "fast_nms",
        [](const Floats& boxes, const Floats& scores, const Ints& labels, const Scalar& score_threshold,
           const Scalar& iou_threshold, std::int64_t keep, bool agnostic) {
            return with_candidates<FastNms>(
                "fast_nms", boxes, scores, labels, score_threshold, keep, agnostic,
                [&](FastNms& args) { args.iou_threshold = scalar("fast_nms", "iou_threshold", iou_threshold); });
        },
        py::arg("boxes"), py::arg("scores"), py::arg("labels"), py::arg("score_threshold"), py::arg("iou_threshold"),
        py::pos_only(), py::kw_only(), py::arg("keep") = 0, py::arg("agnostic") = false, "Fast NMS, image by image.");
}

}  // namespace graphdet::bindings
