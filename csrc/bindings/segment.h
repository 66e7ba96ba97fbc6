// Segments that Python runs: how the plan executor reaches backends whose libraries only have a Python interface.
//
// The executor runs without the GIL; a segment takes it for its call. Inputs are NumPy views of the executor's memory,
// valid during the call; outputs are used where they lie and kept until the next run. What Python raises is kept, too:
// `raise_if_failed` hands it on, or names it as the cause.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <functional>
#include <string>

#include "engine/segment.h"

namespace graphdet::bindings {

namespace py = pybind11;

// The backend of `target`, whose segments `open(name, threads)` opens; it returns an object with `run(inputs)`, arrays
// by name -> list of arrays, and `clone()`, another one for another thread.
Backends python_backends(const std::string& target, py::function open);

// Keeps the Python exception of `body` for `raise_if_failed`, and turns it into a Status. The GIL is held.
Status kept(const std::function<Status()>& body);

// Raises the GdError for a failure of this thread's latest call. The GIL is held.
void raise_failure(const Status& status);

// The same as a Python exception that is not raised.
py::object exception_of(const Status& status);

// A NumPy view of memory that somebody else owns.
py::array borrowed(const TensorView& view);

}  // namespace graphdet::bindings
