// Pre-processing for training and evaluation, by the functions that the engine uses.
#include "bindings/arrays.h"
#include "bindings/pictures.h"

namespace graphdet::bindings {

namespace {

using Pair = std::pair<std::int64_t, std::int64_t>;

Size size_of(const Pair& pair) { return {pair.first, pair.second}; }
std::optional<Bounds> bounds_of(const std::optional<std::pair<Pair, Pair>>& ends) {
    return ends ? std::optional<Bounds>({size_of(ends->first), size_of(ends->second)}) : std::nullopt;
}

// `record` is a `Preprocess` of graphdet/records.py.
PreprocessRule rule_of(const Rule& record) {
    PreprocessRule rule;
    rule.rgb = py::cast<std::string>(record.attr("order")) == "rgb";
    rule.mean = py::cast<std::array<double, 3>>(record.attr("mean"));
    rule.std = py::cast<std::array<double, 3>>(record.attr("std"));
    rule.size = size_of(py::cast<Pair>(record.attr("size")));
    const auto fit = py::cast<std::string>(record.attr("fit"));
    rule.fit = fit == "letterbox" ? PreprocessRule::Fit::letterbox
               : fit == "stretch" ? PreprocessRule::Fit::stretch
                                  : PreprocessRule::Fit::short_side;
    rule.pad = py::cast<double>(record.attr("pad"));
    rule.divisor = py::cast<std::int64_t>(record.attr("divisor"));
    return rule;
}

Floats rows_of(const std::vector<float>& values, py::ssize_t columns) {
    return Floats(py::array_t<float>({static_cast<py::ssize_t>(values.size()) / columns, columns}, values.data()));
}

py::typing::Tuple<Canvas, Floats, Floats> prepare(const Pictures& images, const Rule& record,
                                                  const std::optional<std::pair<Pair, Pair>>& bounds, bool halves) {
    const std::vector<Picture> pictures = pictures_of(images);
    const PreprocessRule rule = rule_of(record);
    const std::size_t count = pictures.size();
    Layout layout;
    lay_out(pictures.data(), count, count, rule, bounds_of(bounds), layout);
    const DType dtype = halves ? DType::bf16 : DType::f32;
    const py::array pixels =
        new_array({dtype, {static_cast<std::int64_t>(count), 3, layout.canvas.height, layout.canvas.width}});
    void* out = view_of(pixels, dtype).data;
    Status status;
    {
        const py::gil_scoped_release unlocked;
        Buffer scratch;
        status = place(pictures.data(), count, count, rule, layout, scratch, dtype, out);
    }
    raise_if_failed(status);
    return py::make_tuple(pixels, rows_of(layout.size, 2), rows_of(layout.geometry, 4));
}

}  // namespace

void bind_prepare(py::module_& m) {
    m.def("prepare", &prepare, py::arg("images"), py::arg("rule"), py::arg("bounds"), py::arg("bf16") = false,
          py::pos_only(),
          "Images as one batch: (pixels [N 3 H W], f32 or the bits of bf16, size f32[N 2], geometry f32[N 4]).");
    m.def(
        "fitted",
        [](const Pair& shape, const Rule& record, const std::optional<std::pair<Pair, Pair>>& bounds) {
            const Size found = fitted(size_of(shape), rule_of(record), bounds_of(bounds));
            return Pair(found.height, found.width);
        },
        py::arg("shape"), py::arg("rule"), py::arg("bounds"), py::pos_only(),
        "(height, width) to which an image is scaled.");
}

}  // namespace graphdet::bindings
