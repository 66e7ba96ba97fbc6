#include "ops/deform_attention/deform_attention.h"

#include <vector>

#include "bindings/arrays.h"
#include "core/check.h"

namespace graphdet::bindings {

namespace {

// Keeps the arrays alive for as long as `args` is used.
struct Held {
    DeformAttention args;
    Operand value, locations, weights;
};

Held hold(const char* op, const py::object& value, const py::object& locations, const py::object& weights,
          const py::args& levels) {
    Held held;
    held.value = operand(op, "value", value), held.locations = operand(op, "locations", locations);
    held.weights = operand(op, "weights", weights);
    held.args.value = held.value.view, held.args.locations = held.locations.view;
    held.args.weights = held.weights.view;
    raise_if_failed(require(levels.size() <= DeformAttention::kMaxLevels, op, ": found ", levels.size(),
                            " levels, expected 1 to ", DeformAttention::kMaxLevels));
    for (const py::handle& level : levels) {
        const Operand map = operand(op, "a level", py::reinterpret_borrow<py::object>(level));
        raise_if_failed(expect(op, "a level", map.view, DType::f32, {"N", "C", "H", "W"}));
        held.args.levels[static_cast<std::size_t>(held.args.level_count++)] = {map.view.dims[2], map.view.dims[3]};
    }
    return held;
}

}  // namespace

void bind_deform_attention(py::module_& m) {
    m.def(
        "deform_attention",
        [](const Floats& value, const Floats& locations, const Floats& weights, const py::Args<Floats>& levels) {
            return run<Floats>(hold("deform_attention", value, locations, weights, levels).args);
        },
        py::arg("value"), py::arg("locations"), py::arg("weights"), py::pos_only(),
        "Per query and head, a weighted sum of values sampled from the levels' maps.");
    m.def(
        "deform_attention_backward",
        [](const Floats& gradient, const Floats& value, const Floats& locations, const Floats& weights,
           const py::Args<Floats>& levels) {
            constexpr const char* op = "deform_attention_backward";
            const Held held = hold(op, value, locations, weights, levels);
            const Operand given = operand(op, "gradient", gradient);
            return run<Floats, Floats, Floats>(DeformAttentionBackward{held.args, given.view});
        },
        py::arg("gradient"), py::arg("value"), py::arg("locations"), py::arg("weights"), py::pos_only(),
        "Gradients of deform_attention: of value, locations and weights.");
}

}  // namespace graphdet::bindings
