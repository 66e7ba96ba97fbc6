// The Python extension `graphdet.runtime._C`. `ops.inc` has one line `GD_OP(name)` for each `graphdet_op(name)` in
// CMakeLists.txt.
#include <pybind11/pybind11.h>

namespace graphdet::bindings {

#define GD_OP(name) void bind_##name(pybind11::module_&);
#include "ops.inc"
#undef GD_OP

}  // namespace graphdet::bindings

PYBIND11_MODULE(_C, m) {
    m.doc() = "Native kernels of the graphdet runtime.";
#define GD_OP(name) graphdet::bindings::bind_##name(m);
#include "ops.inc"
#undef GD_OP
}
