#include "ops/rle/rle.h"

#include <string>
#include <string_view>
#include <vector>

#include "bindings/bytes.h"
#include "core/parallel.h"

namespace graphdet::bindings {

namespace {

constexpr std::int64_t kMaxPixels = (std::int64_t{1} << 32) - 1;

void check_size(const char* op, std::int64_t height, std::int64_t width) {
    const bool fits = height >= 0 && width >= 0 && (height == 0 || width <= kMaxPixels / height);
    raise_if_failed(require(fits, op, ": the size is ", height, " x ", width, ", expected 0 to 2^32 - 1 pixels"));
}

std::vector<Runs> read(const char* op, const std::vector<std::string>& texts, std::int64_t height, std::int64_t width) {
    check_size(op, height, width);
    std::vector<Runs> all(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
        Status status = rle_from_text(texts[i], all[i]);
        if (status.ok()) status = rle_check(all[i], height * width);
        raise_if_failed(require(status.ok(), op, ": mask ", i, ": ", status.text()));
    }
    return all;
}

py::typing::List<py::bytes> bytes_of_texts(const std::vector<std::string>& texts) {
    py::typing::List<py::bytes> out;
    for (const std::string& text : texts) out.append(py::bytes(text));
    return out;
}

py::typing::List<py::bytes> encode(const Bitmaps& masks) {
    Bytes m = bytes_operand("rle_encode", "masks", masks, 3);
    check_size("rle_encode", m.size[1], m.size[2]);
    const bool rows = m.stride[2] == 1 || m.size[2] <= 1, columns = m.stride[1] == 1;
    if (!rows && !columns) m = bytes_operand("rle_encode", "masks", py::array::ensure(masks, py::array::c_style), 3);
    std::vector<std::string> texts(static_cast<std::size_t>(m.size[0]));
    {
        const py::gil_scoped_release unlocked;
        parallel_for(m.size[0], 1, [&](std::int64_t begin, std::int64_t /*end*/) {
            const Bitmap bitmap = {m.data + begin * m.stride[0], m.size[1], m.size[2], m.stride[1], m.stride[2]};
            texts[static_cast<std::size_t>(begin)] = rle_to_text(rle_encode(bitmap, 0, 0, m.size[1], m.size[2]));
        });
    }
    return bytes_of_texts(texts);
}

Bitmaps decode(const std::vector<std::string>& texts, std::int64_t height, std::int64_t width) {
    const std::vector<Runs> all = read("rle_decode", texts, height, width);
    const auto count = static_cast<std::int64_t>(all.size());
    const py::array out = new_array({DType::u8, {count, height, width}});
    auto* data = static_cast<std::uint8_t*>(const_cast<void*>(out.data()));
    {
        const py::gil_scoped_release unlocked;
        parallel_for(count, 1, [&](std::int64_t i, std::int64_t /*end*/) {
            // the sum of the runs has been checked, which is all that can fail
            (void)rle_decode(all[static_cast<std::size_t>(i)], height, width, data + i * height * width).ok();
        });
    }
    return out;
}

Ints area(const std::vector<std::string>& texts, std::int64_t height, std::int64_t width) {
    const std::vector<Runs> all = read("rle_area", texts, height, width);
    py::array_t<std::int64_t> out(static_cast<py::ssize_t>(all.size()));
    for (std::size_t i = 0; i < all.size(); ++i) out.mutable_at(static_cast<py::ssize_t>(i)) = rle_area(all[i]);
    return out;
}

Doubles iou(const std::vector<std::string>& a, const std::vector<std::string>& b, std::int64_t height,
            std::int64_t width, const std::vector<bool>& crowd) {
    const std::vector<Runs> left = read("rle_iou", a, height, width), right = read("rle_iou", b, height, width);
    raise_if_failed(require(crowd.empty() || crowd.size() == right.size(), "rle_iou: found ", crowd.size(),
                            " crowd flags for ", right.size(), " masks"));
    const auto rows = static_cast<py::ssize_t>(left.size()), columns = static_cast<py::ssize_t>(right.size());
    const py::array_t<double> out({rows, columns});
    double* data = const_cast<double*>(out.data());
    {
        const py::gil_scoped_release unlocked;
        parallel_for(rows, 1, [&](std::int64_t i, std::int64_t /*end*/) {
            for (py::ssize_t j = 0; j < columns; ++j) {
                const auto k = static_cast<std::size_t>(j);
                data[i * columns + j] =
                    rle_iou(left[static_cast<std::size_t>(i)], right[k], !crowd.empty() && crowd[k]);
            }
        });
    }
    return out;
}

}  // namespace

void bind_rle(py::module_& m) {
    m.def("rle_encode", &encode, py::arg("masks"), py::pos_only(), "COCO's run-length text of each mask u8[K H W].");
    m.def("rle_decode", &decode, py::arg("counts"), py::pos_only(), py::kw_only(), py::arg("height"), py::arg("width"),
          "Masks u8[K H W] of run-length texts.");
    m.def("rle_area", &area, py::arg("counts"), py::pos_only(), py::kw_only(), py::arg("height"), py::arg("width"),
          "How many pixels each mask has.");
    m.def("rle_iou", &iou, py::arg("a"), py::arg("b"), py::pos_only(), py::kw_only(), py::arg("height"),
          py::arg("width"), py::arg("crowd") = std::vector<bool>(),
          "f64[A B]: overlap of each mask of a with each of b; over a's area alone where b is a crowd.");
}

}  // namespace graphdet::bindings
