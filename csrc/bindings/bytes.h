// Arrays of bytes (masks, images): read where they lie, whatever their strides.
#pragma once

#include "bindings/arrays.h"

namespace graphdet::bindings {

struct Bytes {
    py::array array;
    const std::uint8_t* data = nullptr;
    int rank = 0;
    std::int64_t size[4] = {}, stride[4] = {};
};

// An array of uint8 or bool of `rank` dimensions, or a ValueError in the name of the op.
inline Bytes bytes_operand(const char* op, const char* name, const py::object& value, int rank) {
    const bool bytes = py::isinstance<py::array_t<std::uint8_t>>(value) || py::isinstance<py::array_t<bool>>(value);
    raise_if_failed(require(bytes, op, ": ", name, " is no array of uint8 or bool"));
    Bytes found;
    found.array = py::array(value);
    raise_if_failed(require(found.array.ndim() == rank, op, ": ", name, " has ", found.array.ndim(),
                            " dimensions, expected ", rank));
    found.data = static_cast<const std::uint8_t*>(found.array.data());
    found.rank = rank;
    for (int i = 0; i < rank; ++i) found.size[i] = found.array.shape(i), found.stride[i] = found.array.strides(i);
    return found;
}

// Its first byte where a launch reads it. The strides stay: memory between the outermost bytes comes along.
inline const std::uint8_t* bring(const Bytes& bytes, std::shared_ptr<void>& memory) {
    std::int64_t low = 0, high = 0;
    for (int i = 0; i < bytes.rank; ++i) {
        if (bytes.size[i] == 0) return bytes.data;
        const std::int64_t reach = (bytes.size[i] - 1) * bytes.stride[i];
        (reach < 0 ? low : high) += reach;
    }
    raise_if_failed(bring(bytes.data + low, static_cast<std::size_t>(high - low + 1), memory));
    return static_cast<const std::uint8_t*>(memory.get()) - low;
}

}  // namespace graphdet::bindings
