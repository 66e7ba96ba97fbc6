#include "cuda/cuda.h"
#include "ops/corner_pool/scan.h"

namespace graphdet {

using namespace cuda;

Status plan(const CornerPool& args, Plan& needed, const Device&) { return plan(args, needed); }
Status plan(const CornerPoolBackward& args, Plan& needed, const Device&) { return plan(args, needed); }

// A thread scans a line.
Status launch(const CornerPool& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "corner_pool";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const Scan scan = scan_of(args);
    const float* x = args.x.f32();
    float* out = outputs[0].f32_out();
    if (scan.length == 0) return Status();
    for_each(device, args.x.dims.count(0, 2) * scan.lines, [=] __device__(std::int64_t i) {
        std::int64_t at = i / scan.lines * scan.lines * scan.length + scan.first + i % scan.lines * scan.next;
        float best = x[at];
        for (std::int64_t k = 0; k < scan.length; ++k, at += scan.step) {
            if (takes(x[at], best)) best = x[at];
            out[at] = best;
        }
    });
    return finish(op);
}

Status launch(const CornerPoolBackward& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "corner_pool_backward";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const Scan scan = scan_of(args.of);
    const float *x = args.of.x.f32(), *gradient = args.gradient.f32();
    float* out = outputs[0].f32_out();
    if (scan.length == 0) return Status();
    for_each(device, args.of.x.dims.count(0, 2) * scan.lines, [=] __device__(std::int64_t i) {
        std::int64_t at = i / scan.lines * scan.lines * scan.length + scan.first + i % scan.lines * scan.next;
        std::int64_t best = at;
        for (std::int64_t k = 0; k < scan.length; ++k, at += scan.step) {
            out[at] = 0.0F;
            if (takes(x[at], x[best])) best = at;
            out[best] += gradient[at];
        }
    });
    return finish(op);
}

}  // namespace graphdet
