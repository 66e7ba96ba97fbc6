// A GPU as a caller of kernels sees it. An op that has a CUDA kernel (`csrc/ops/<op>/<op>_cuda.cu`) declares beside its
// `plan` and `launch`
//
//   Status plan(const Args&, Plan&, const Device&);                  the same checks and outputs; its workspace is
//                                                                    memory of the device
//   Status launch(const Args&, const TensorView* outputs, Workspace, const Device&);  queues the work on the stream
//
// Views and workspace point into memory of the device, which the caller has made current (`cudaSetDevice`). `launch`
// returns when the work is queued; ops whose input can be wrong in its values (an index out of range) wait for the
// stream to say so. Only builds with GRAPHDET_CUDA define these functions.
#pragma once

struct CUstream_st;  // what a cudaStream_t points at

namespace graphdet {

struct Device {
    CUstream_st* stream = nullptr;  // null: the default stream
};

}  // namespace graphdet
