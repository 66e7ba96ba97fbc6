// NumPy arrays in, NumPy arrays out: how every op crosses the Python border.
//
// Inputs must have the exact dtype; strided or unaligned arrays are copied once. Bad input raises ValueError with the
// text of the Status. Outputs are new arrays. The kernel runs without the GIL. The same bindings make the module of CPU
// kernels and that of CUDA kernels: on_cpu.h and on_cuda.h say where operands lie during a launch.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <memory>
#include <string>

#if defined(GRAPHDET_CUDA_MODULE)
#include "bindings/on_cuda.h"
#else
#include "bindings/on_cpu.h"
#endif

namespace graphdet::bindings {

namespace py = pybind11;

// Arguments and results as the stub names them (`make stubs`). They are taken as they come: what an op wants of an
// array is checked by its `plan`, whose text says more than a failed conversion.
inline bool anything(PyObject* /*object*/) { return true; }
template <class Kind>
class Named : public py::object {
    PYBIND11_OBJECT_DEFAULT(Named, py::object, anything)
};
#define GD_NAMED(Name, text)                                       \
    struct Name##Kind {                                            \
        static constexpr auto name = py::detail::const_name(text); \
    };                                                             \
    using Name = Named<Name##Kind>

GD_NAMED(Floats, "NDArray[np.float32]");
GD_NAMED(Doubles, "NDArray[np.float64]");
GD_NAMED(Ints, "NDArray[np.int64]");
GD_NAMED(Bitmaps, "NDArray[np.uint8] | NDArray[np.bool_]");
GD_NAMED(SegmentMap, "NDArray[np.int32]");
GD_NAMED(AnyArray, "NDArray[Any]");
GD_NAMED(Canvas, "NDArray[np.float32] | NDArray[np.uint16]");  // NumPy has no bfloat16: its bits
GD_NAMED(Scalar, "float | np.floating[Any] | NDArray[np.float32]");
GD_NAMED(OpenSegments, "Callable[[str, int | None], Segment]");
GD_NAMED(Rule, "Preprocess");
GD_NAMED(AnyFuture, "Future[Any]");

using Pictures = py::typing::List<py::typing::Tuple<Bitmaps, py::bool_>>;

// An input that keeps its memory alive for as long as the view is used.
struct Operand {
    py::array array;
    TensorView view;
    std::shared_ptr<void> memory;
};

// An array of float32 or int64; which of them an op wants is checked by its `plan`. Where a launch reads it, or, for
// functions that have no other form, always on the host.
Operand operand(const char* op, const char* name, const py::object& value);
Operand host_operand(const char* op, const char* name, const py::object& value);

// A threshold: a Python number, a NumPy scalar, or a float32 array of one element.
float scalar(const char* op, const char* name, const py::object& value);

py::array new_array(const Spec& spec);
TensorView view_of(const py::array& array, DType dtype);
void raise_if_failed(const Status& status);

// Plans, allocates, launches. One output comes back as an array, several as a tuple; `Out` says of which types.
template <class... Out, class Args>
auto run(const Args& args) {
    Plan needed;
    raise_if_failed(plan_here(args, needed));
    py::list arrays;
    TensorView outputs[Plan::kMaxOutputs];
    for (int i = 0; i < needed.count; ++i) {
        const py::array array = new_array(needed.outputs[i]);
        outputs[i] = view_of(array, needed.outputs[i].dtype);
        arrays.append(array);
    }
    Status status;
    {
        const py::gil_scoped_release unlocked;
        status = launch_here(args, needed, outputs);
    }
    raise_if_failed(status);
    const py::object found = needed.count == 1 ? py::object(arrays[0]) : py::object(py::tuple(arrays));
    if constexpr (sizeof...(Out) == 0) {
        return found;
    } else if constexpr (sizeof...(Out) == 1) {
        return (Out(found), ...);
    } else {
        return py::typing::Tuple<Out...>(found);
    }
}

}  // namespace graphdet::bindings

template <class Kind>
struct pybind11::detail::handle_type_name<graphdet::bindings::Named<Kind>> {
    static constexpr auto name = Kind::name;
};
