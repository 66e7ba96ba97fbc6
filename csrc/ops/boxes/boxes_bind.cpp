#include <array>

#include "bindings/arrays.h"
#include "ops/boxes/boxes.h"

namespace graphdet::bindings {

namespace {

template <class Args>
Floats run_pair(const char* op, const char* first_name, const py::object& first, const char* second_name,
                const py::object& second) {
    const Operand a = operand(op, first_name, first), b = operand(op, second_name, second);
    return run<Floats>(Args{a.view, b.view});
}

}  // namespace

void bind_boxes(py::module_& m) {
    m.def(
        "decode_deltas",
        [](const Floats& anchors, const Floats& deltas, const std::array<float, 4>& means,
           const std::array<float, 4>& stds, double max_ratio) {
            const Operand a = operand("decode_deltas", "anchors", anchors),
                          d = operand("decode_deltas", "deltas", deltas);
            return run<Floats>(DecodeDeltas{a.view, d.view, means, stds, max_ratio});
        },
        py::arg("anchors"), py::arg("deltas"), py::pos_only(), py::kw_only(), py::arg("means"), py::arg("stds"),
        py::arg("max_ratio") = DecodeDeltas().max_ratio, "Boxes from centre and size deltas against anchors.");
    m.def(
        "decode_points",
        [](const Floats& points, const Floats& raw) {
            return run_pair<DecodePoints>("decode_points", "points", points, "raw", raw);
        },
        py::arg("points"), py::arg("raw"), py::pos_only(), "Boxes from raw centre and log size at grid points.");
    m.def(
        "decode_distances",
        [](const Floats& points, const Floats& distances) {
            return run_pair<DecodeDistances>("decode_distances", "points", points, "distances", distances);
        },
        py::arg("points"), py::arg("distances"), py::pos_only(), "Boxes from points and distances to their sides.");
    m.def(
        "clip_boxes",
        [](const Floats& boxes, const Floats& size) {
            return run_pair<ClipBoxes>("clip_boxes", "boxes", boxes, "size", size);
        },
        py::arg("boxes"), py::arg("size"), py::pos_only(), "Corners moved into [0, w] x [0, h] of their image.");
    m.def(
        "to_image",
        [](const Floats& boxes, const Floats& geometry) {
            return run_pair<ToImage>("to_image", "boxes", boxes, "geometry", geometry);
        },
        py::arg("boxes"), py::arg("geometry"), py::pos_only(), "Boxes in original pixels: (xyxy - offset) / scale.");
}

}  // namespace graphdet::bindings
