#include "ops/fuse_segments/fuse_segments.h"

#include <array>

#include "bindings/arrays.h"

namespace graphdet::bindings {

void bind_fuse_segments(py::module_& m) {
    m.def(
        "fuse_segments",
        [](const Floats& scores, const Ints& labels, const Ints& things, const Floats& logits,
           const std::array<float, 4>& span, std::int64_t height, std::int64_t width, float score, double overlap) {
            constexpr const char* op = "fuse_segments";
            const Operand s = host_operand(op, "scores", scores), l = host_operand(op, "labels", labels),
                          t = host_operand(op, "things", things), g = host_operand(op, "logits", logits);
            FuseSegments args{s.view, l.view, t.view, g.view, {}, height, width, score, overlap};
            std::copy(span.begin(), span.end(), args.span);
            FusedSegments found;
            Status status;
            {
                const py::gil_scoped_release unlocked;
                status = fuse_segments(args, found);
            }
            raise_if_failed(status);
            const py::array_t<std::int32_t> map({height, width}, found.map.data());
            const auto count = static_cast<py::ssize_t>(found.labels.size());
            const py::array_t<std::int64_t> names(count, found.labels.data()), kinds(count, found.things.data());
            return py::typing::Tuple<SegmentMap, Ints, Ints>(py::make_tuple(map, names, kinds));
        },
        py::arg("scores"), py::arg("labels"), py::arg("things"), py::arg("logits"), py::pos_only(), py::kw_only(),
        py::arg("span"), py::arg("height"), py::arg("width"), py::arg("score") = 0.8F, py::arg("overlap") = 0.8,
        "The map of segments' ids, i32[height width], 0 for none; by id, from 1, labels and kinds (1: thing).");
}

}  // namespace graphdet::bindings
