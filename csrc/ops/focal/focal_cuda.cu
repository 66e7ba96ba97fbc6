#include "cuda/cuda.h"
#include "ops/focal/focal.h"
#include "ops/focal/formulas.h"

namespace graphdet {

using namespace cuda;

Status plan(const FocalLoss& args, Plan& needed, const Device&) { return plan(args, needed); }
Status plan(const FocalLossBackward& args, Plan& needed, const Device&) { return plan(args, needed); }

// A thread sums a row, class by class.
Status launch(const FocalLoss& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "focal_loss";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t classes = args.logits.dims[2];
    const float *logits = args.logits.f32(), alpha = args.alpha, gamma = args.gamma;
    const std::int64_t* labels = args.labels.i64();
    float* out = outputs[0].f32_out();
    for_each(device, args.labels.dims.count(), [=] __device__(std::int64_t row) {
        const std::int64_t label = labels[row];
        float sum = 0.0F;
        for (std::int64_t c = 0; c < classes && label != -1; ++c) {
            const float logit = logits[row * classes + c];
            const FocalPoint at = focal_point(c == label ? -logit : logit, gamma);
            sum += (c == label ? alpha : 1.0F - alpha) * at.power * at.rise;
        }
        out[row] = sum;
    });
    return finish(op);
}

Status launch(const FocalLossBackward& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "focal_loss_backward";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t classes = args.of.logits.dims[2];
    const float *logits = args.of.logits.f32(), *gradient = args.gradient.f32();
    const float alpha = args.of.alpha, gamma = args.of.gamma;
    const std::int64_t* labels = args.of.labels.i64();
    float* out = outputs[0].f32_out();
    for_each(device, args.of.logits.dims.count(), [=] __device__(std::int64_t at) {
        const std::int64_t row = at / classes, label = labels[row];
        out[at] = label == -1 ? 0.0F : focal_slope(logits[at], at % classes == label, alpha, gamma) * gradient[row];
    });
    return finish(op);
}

}  // namespace graphdet
