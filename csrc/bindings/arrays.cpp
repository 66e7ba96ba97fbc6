#include "bindings/arrays.h"

#include <vector>

namespace graphdet::bindings {

namespace {

template <class T>
using Dense = py::array_t<T, py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_>;

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
    throw py::value_error(require(false, parts...).text());
}

std::string kind_of(const py::object& value) {
    if (py::isinstance<py::array>(value)) return "an array of " + std::string(py::str(py::array(value).dtype()));
    return "a " + std::string(py::str(py::type::of(value).attr("__name__")));
}

}  // namespace

TensorView view_of(const py::array& array, DType dtype) {
    TensorView view;
    view.data = const_cast<void*>(array.data());
    view.dtype = dtype;
    view.dims.rank = static_cast<int>(array.ndim());
    for (int i = 0; i < view.dims.rank; ++i) view.dims[i] = array.shape(i);
    return view;
}

Operand host_operand(const char* op, const char* name, const py::object& value) {
    const bool floats = py::isinstance<py::array_t<float>>(value);
    if (!floats && !py::isinstance<py::array_t<std::int64_t>>(value)) {
        fail(op, ": ", name, " is ", kind_of(value), ", expected an array of float32 or int64");
    }
    const py::array given(value);
    if (given.ndim() > Dims::kMaxRank) {
        fail(op, ": ", name, " has ", given.ndim(), " dimensions, expected at most ", Dims::kMaxRank);
    }
    const py::array dense =
        floats ? py::array(Dense<float>::ensure(value)) : py::array(Dense<std::int64_t>::ensure(value));
    return {dense, view_of(dense, floats ? DType::f32 : DType::i64), nullptr};
}

Operand operand(const char* op, const char* name, const py::object& value) {
    Operand found = host_operand(op, name, value);
    raise_if_failed(bring(found.view.data, found.view.bytes(), found.memory));
    found.view.data = found.memory.get();
    return found;
}

float scalar(const char* op, const char* name, const py::object& value) {
    const bool array = py::isinstance<py::array>(value);
    if (array && py::isinstance<py::array_t<float>>(value) && py::array(value).size() == 1) {
        return *Dense<float>::ensure(value).data();
    }
    const bool number = PyFloat_Check(value.ptr()) != 0 || PyLong_Check(value.ptr()) != 0;
    if (array || (!number && !py::hasattr(value, "dtype"))) {
        fail(op, ": ", name, " is ", kind_of(value), ", expected a number or a float32 array of one element");
    }
    return py::float_(value).cast<float>();
}

py::array new_array(const Spec& spec) {
    const std::vector<py::ssize_t> shape(spec.dims.size, spec.dims.size + spec.dims.rank);
    switch (spec.dtype) {
        case DType::f32: return py::array_t<float>(shape);
        case DType::i64: return py::array_t<std::int64_t>(shape);
        case DType::u8: return py::array_t<std::uint8_t>(shape);
        case DType::bf16: return py::array_t<std::uint16_t>(shape);
    }
    throw std::logic_error("a new element type");
}

void raise_if_failed(const Status& status) {
    if (!status.ok()) throw py::value_error(status.text());
}

}  // namespace graphdet::bindings
