#include "ops/mask/mask.h"

#include <string>
#include <vector>

#include "bindings/arrays.h"

namespace graphdet::bindings {

void bind_mask(py::module_& m) {
    m.def(
        "paste_masks",
        [](const Floats& masks, const Floats& boxes, const Ints& count, std::int64_t height, std::int64_t width,
           float threshold) {
            constexpr const char* op = "paste_masks";
            const Operand p = operand(op, "masks", masks), b = operand(op, "boxes", boxes),
                          c = operand(op, "count", count);
            return run<Bitmaps>(PasteMasks{p.view, b.view, c.view, height, width, threshold});
        },
        py::arg("masks"), py::arg("boxes"), py::arg("count"), py::pos_only(), py::kw_only(), py::arg("height"),
        py::arg("width"), py::arg("threshold") = 0.5F, "Bitmaps u8[N K height width] of masks in boxes.");
    m.def(
        "paste_runs",
        [](const Floats& masks, const Floats& boxes, const Ints& count, std::int64_t height, std::int64_t width,
           float threshold) {
            constexpr const char* op = "paste_masks";
            const Operand p = host_operand(op, "masks", masks), b = host_operand(op, "boxes", boxes),
                          c = host_operand(op, "count", count);
            std::vector<std::string> texts;
            Status status;
            {
                const py::gil_scoped_release unlocked;
                std::vector<Runs> runs;
                status = paste_runs({p.view, b.view, c.view, height, width, threshold}, runs);
                for (const Runs& one : runs) texts.push_back(rle_to_text(one));
            }
            raise_if_failed(status);
            py::typing::List<py::typing::List<py::bytes>> out;
            const std::int64_t images = p.view.dims[0], rows = p.view.dims[1];
            for (std::int64_t n = 0; n < images; ++n) {
                py::list image;
                for (std::int64_t k = 0; k < rows; ++k) {
                    image.append(py::bytes(texts[static_cast<std::size_t>(n * rows + k)]));
                }
                out.append(image);
            }
            return out;
        },
        py::arg("masks"), py::arg("boxes"), py::arg("count"), py::pos_only(), py::kw_only(), py::arg("height"),
        py::arg("width"), py::arg("threshold") = 0.5F,
        "COCO's run-length texts, K for each image, of what paste_masks would paint.");
}

}  // namespace graphdet::bindings
