// The Python extension `graphdet.runtime._C`. `ops.inc` has one line `GD_OP(name)` for each `graphdet_op(name)` in
// CMakeLists.txt.
#include <pybind11/pybind11.h>

#include "core/parallel.h"

namespace graphdet::bindings {

#define GD_OP(name) void bind_##name(pybind11::module_&);
#include "ops.inc"
#undef GD_OP

}  // namespace graphdet::bindings

PYBIND11_MODULE(_C, m) {
    m.doc() = "Native kernels of the graphdet runtime.";
    m.def("threads", &graphdet::threads, "How many threads a kernel may use.");
    m.def("set_threads", &graphdet::set_threads, pybind11::arg("count"), pybind11::pos_only(),
          "Set how many threads a kernel may use; 0 restores the number of processors.");
#define GD_OP(name) graphdet::bindings::bind_##name(m);
#include "ops.inc"
#undef GD_OP
}
