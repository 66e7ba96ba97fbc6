#include "cuda/cuda.h"
#include "ops/iou/formulas.h"
#include "ops/iou/iou.h"

namespace graphdet {

using namespace cuda;

Status plan(const PairwiseIou& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = 0;
    return Status();
}

Status launch(const PairwiseIou& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "pairwise_iou";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t rows = args.a.dims[1], columns = args.b.dims[1];
    const float *a = args.a.f32(), *b = args.b.f32();
    const bool generalised = args.generalised;
    float* out = outputs[0].f32_out();
    for_each(device, needed.outputs[0].dims.count(), [=] __device__(std::int64_t at) {
        const std::int64_t row = at / columns;
        const Box left = load_any_box(a + 4 * row);
        const Box right = load_any_box(b + 4 * (row / rows * columns + at % columns));
        out[at] = generalised ? iou_of<true>(left, right) : iou_of<false>(left, right);
    });
    return finish(op);
}

}  // namespace graphdet
