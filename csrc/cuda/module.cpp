// The Python module `_cuda`: CUDA kernels behind the bindings of `_C`, for tests. `cuda_ops.inc` has one line for each op
// that has a file `*_cuda.cu`.
#include <pybind11/pybind11.h>

#include "cuda/api.h"

namespace graphdet::bindings {

#define GD_OP(name) void bind_##name(pybind11::module_&);
#include "cuda_ops.inc"
#undef GD_OP

}  // namespace graphdet::bindings

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "CUDA kernels of the graphdet runtime, for tests: operands are copied to the device, results back.";
    m.def(
        "devices",
        [] {
            int count = 0;
            return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
        },
        "How many GPUs there are; 1 for the emulation.");
#if defined(GRAPHDET_CUDA_EMULATE)
    m.def("set_order", &graphdet::emulate::set_order, pybind11::arg("order"), pybind11::pos_only(),
          "Order of threads and blocks in later launches of this thread: 0 natural, -1 reversed, else a permutation.");
#endif
#define GD_OP(name) graphdet::bindings::bind_##name(m);
#include "cuda_ops.inc"
#undef GD_OP
}
