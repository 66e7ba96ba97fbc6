// Images from Python, read where they lie.
#pragma once

#include <vector>

#include "bindings/bytes.h"
#include "engine/preprocess.h"

namespace graphdet::bindings {

// Items are (array u8[H W] or u8[H W C] with any strides, whether its colours stand as RGB). The list keeps the arrays.
// `first` is the number of the first image.
inline std::vector<Picture> pictures_of(const Pictures& images, std::size_t first = 0) {
    std::vector<Picture> pictures;
    for (const py::handle& item : images) {
        const auto pair = py::cast<py::tuple>(item);
        const py::object array = pair[0];
        const bool flat = py::isinstance<py::array>(array) && py::array(array).ndim() == 2;
        const Bytes b = bytes_operand("image", "array", array, flat ? 2 : 3);
        const Pixels pixels = {
            b.data, b.size[0], b.size[1], flat ? 1 : b.size[2], b.stride[0], b.stride[1], flat ? 1 : b.stride[2]};
        pictures.push_back({pixels, py::cast<bool>(pair[1]), first + pictures.size(), std::nullopt});
    }
    return pictures;
}

}  // namespace graphdet::bindings
