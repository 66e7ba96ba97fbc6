#include "ops/preprocess/preprocess.h"

#include <array>
#include <memory>

#include "bindings/bytes.h"

namespace graphdet::bindings {

namespace {

Pixels pixels_of(const py::object& image, std::shared_ptr<void>& memory) {
    constexpr const char* op = "preprocess";
    const bool flat = py::isinstance<py::array>(image) && py::array(image).ndim() == 2;
    const Bytes b = bytes_operand(op, "image", image, flat ? 2 : 3);
    return {bring(b, memory),      b.size[0], b.size[1], flat ? 1 : b.size[2], b.stride[0], b.stride[1],
            flat ? 1 : b.stride[2]};
}

void preprocess(const Bitmaps& image, const Canvas& canvas, std::int64_t height, std::int64_t width,
                const std::array<float, 3>& mean, const std::array<float, 3>& std, bool reverse, float pad) {
    constexpr const char* op = "preprocess";
    const bool halves = py::isinstance<py::array_t<std::uint16_t>>(canvas);
    raise_if_failed(require(halves || py::isinstance<py::array_t<float>>(canvas), op,
                            ": out is no array of float32, nor of uint16 for the bits of bfloat16"));
    const py::array out(canvas);
    const bool dense = out.ndim() == 3 && (out.flags() & py::array::c_style) != 0 && out.writeable();
    raise_if_failed(require(dense, op, ": out is no writeable, contiguous array of 3 dimensions"));
    const TensorView view = view_of(out, halves ? DType::bf16 : DType::f32);
    std::shared_ptr<void> memory;
    const Preprocess args = {
        pixels_of(image, memory), height, width, view.dims[1], view.dims[2], mean, std, reverse, pad, view.dtype};
    Plan needed;
    raise_if_failed(plan_here(args, needed));
    Status status;
    {
        const py::gil_scoped_release unlocked;
        status = launch_here(args, needed, &view);
    }
    raise_if_failed(status);
}

}  // namespace

void bind_preprocess(py::module_& m) {
    m.def("preprocess", &preprocess, py::arg("image"), py::arg("out"), py::pos_only(), py::kw_only(), py::arg("height"),
          py::arg("width"), py::arg("mean"), py::arg("std"), py::arg("reverse") = false, py::arg("pad") = 0.0F,
          "Resize, normalise and pad an image of bytes into out [3 H W], f32 or the bits of bf16.");
}

}  // namespace graphdet::bindings
