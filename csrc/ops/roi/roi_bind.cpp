#include "ops/roi/roi.h"

#include <array>
#include <vector>

#include "bindings/arrays.h"

namespace graphdet::bindings {

namespace {

using Size = std::array<std::int64_t, 2>;

RoiGrid grid_of(const Size& size, std::int64_t samples, bool aligned) { return {size[0], size[1], samples, aligned}; }

Floats levels(const Floats& boxes, const Ints& count, const py::Args<py::typing::Optional<Floats>>& maps,
              const std::vector<float>& strides, const Size& size, std::int64_t samples, bool aligned, float canonical,
              std::int64_t finest) {
    constexpr const char* op = "roi_align_levels";
    const Operand b = operand(op, "boxes", boxes), c = operand(op, "count", count);
    std::vector<Operand> held;
    RoiAlignLevels args;
    args.boxes = b.view, args.count = c.view, args.grid = grid_of(size, samples, aligned);
    args.canonical = canonical, args.finest = finest;
    for (const py::handle& map : maps) {
        if (map.is_none()) continue;
        held.push_back(operand(op, "a level", py::reinterpret_borrow<py::object>(map)));
    }
    const std::size_t count_of_levels = held.size();
    raise_if_failed(require(count_of_levels == strides.size(), op, ": found ", count_of_levels, " levels and ",
                            strides.size(), " strides, expected as many of both"));
    raise_if_failed(require(count_of_levels <= RoiAlignLevels::kMaxLevels, op, ": found ", count_of_levels,
                            " levels, expected 1 to ", RoiAlignLevels::kMaxLevels));
    for (std::size_t i = 0; i < count_of_levels; ++i) args.levels[i] = held[i].view, args.strides[i] = strides[i];
    args.level_count = static_cast<int>(count_of_levels);
    return run<Floats>(args);
}

}  // namespace

void bind_roi(py::module_& m) {
    m.def(
        "roi_align",
        [](const Floats& features, const Floats& rois, const Size& size, float scale, std::int64_t samples,
           bool aligned) {
            const Operand f = operand("roi_align", "features", features), r = operand("roi_align", "rois", rois);
            return run<Floats>(RoiAlign{f.view, r.view, grid_of(size, samples, aligned), scale});
        },
        py::arg("features"), py::arg("rois"), py::pos_only(), py::kw_only(), py::arg("size"), py::arg("scale"),
        py::arg("samples") = 0, py::arg("aligned") = true, "Average of bilinear samples in each bin of each RoI.");
    m.def(
        "roi_align_backward",
        [](const Floats& gradient, const Floats& rois, const std::array<std::int64_t, 3>& map, const Size& size,
           float scale, std::int64_t samples, bool aligned) {
            constexpr const char* op = "roi_align_backward";
            const Operand g = operand(op, "gradient", gradient), r = operand(op, "rois", rois);
            return run<Floats>(
                RoiAlignBackward{g.view, r.view, map[0], map[1], map[2], grid_of(size, samples, aligned), scale});
        },
        py::arg("gradient"), py::arg("rois"), py::pos_only(), py::kw_only(), py::arg("map"), py::arg("size"),
        py::arg("scale"), py::arg("samples") = 0, py::arg("aligned") = true,
        "Gradient of roi_align with respect to its features; map is (images, height, width) of those.");
    m.def("roi_align_levels", &levels, py::arg("boxes"), py::arg("count"), py::pos_only(), py::kw_only(),
          py::arg("strides"), py::arg("size"), py::arg("samples") = 0, py::arg("aligned") = true,
          py::arg("canonical") = 224.0F, py::arg("finest") = 2,
          "roi_align where each RoI reads one level of a pyramid.");
    m.def(
        "roi_pool",
        [](const Floats& features, const Floats& rois, const Size& size, float scale) {
            const Operand f = operand("roi_pool", "features", features), r = operand("roi_pool", "rois", rois);
            return run<Floats>(RoiPool{f.view, r.view, grid_of(size, 0, true), scale});
        },
        py::arg("features"), py::arg("rois"), py::pos_only(), py::kw_only(), py::arg("size"), py::arg("scale"),
        "Maximum over the pixels of each bin of each RoI.");
    m.def(
        "roi_pool_backward",
        [](const Floats& gradient, const Floats& features, const Floats& rois, const Size& size, float scale) {
            constexpr const char* op = "roi_pool_backward";
            const Operand g = operand(op, "gradient", gradient);
            const Operand f = operand(op, "features", features), r = operand(op, "rois", rois);
            return run<Floats>(RoiPoolBackward{{f.view, r.view, grid_of(size, 0, true), scale}, g.view});
        },
        py::arg("gradient"), py::arg("features"), py::arg("rois"), py::pos_only(), py::kw_only(), py::arg("size"),
        py::arg("scale"), "Gradient of roi_pool with respect to its features.");
}

}  // namespace graphdet::bindings
