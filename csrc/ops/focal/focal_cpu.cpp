#include "ops/focal/focal.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/smooth.h"

namespace graphdet {

namespace {

// With z the logit of being wrong: the loss is weight * miss^gamma * rise, where miss = sigmoid(z) and
// rise = log(1 + e^z) = -log(1 - miss).
struct Point {
    float miss, rise, power;
};

GD_INLINE Point point_of(float z, float gamma) {
    const float limited = z < -1e4F ? -1e4F : z > 1e4F ? 1e4F : z;
    const float size = limited < 0.0F ? -limited : limited;
    const float small = exp_of_negative(-size), extra = log1p_of_unit(small);
    const float inverse = 1.0F / (1.0F + small);
    const float fall = (limited < 0.0F ? size : 0.0F) + extra;  // -log(miss)
    return {limited < 0.0F ? small * inverse : inverse, (limited < 0.0F ? 0.0F : size) + extra,
            exp_of_negative(-gamma * fall)};
}

GD_CLONES float loss_row(const float* logits, std::int64_t classes, std::int64_t label, float alpha, float gamma) {
    float sums[kLanes] = {};
    for (std::int64_t begin = 0; begin < classes; begin += kLanes) {
        const std::int64_t count = std::min(kLanes, classes - begin);
        float z[kLanes] = {}, weight[kLanes] = {};
        for (std::int64_t i = 0; i < count; ++i) {
            const bool is = begin + i == label;
            z[i] = is ? -logits[begin + i] : logits[begin + i];
            weight[i] = is ? alpha : 1.0F - alpha;
        }
        for (int i = 0; i < kLanes; ++i) {
            const Point at = point_of(z[i], gamma);
            sums[i] += weight[i] * at.power * at.rise;
        }
    }
    return sum_of(*reinterpret_cast<const Lanes*>(sums));
}

GD_CLONES void backward_row(const float* logits, std::int64_t classes, std::int64_t label, float alpha, float gamma,
                            float gradient, float* out) {
    for (std::int64_t c = 0; c < classes; ++c) {
        const bool is = c == label;
        const Point at = point_of(is ? -logits[c] : logits[c], gamma);
        const float slope = at.power * (gamma * (1.0F - at.miss) * at.rise + at.miss);
        out[c] = (is ? -alpha : 1.0F - alpha) * slope * gradient;
    }
}

Status check(const char* op, const FocalLoss& args) {
    GD_CHECK(expect(op, "logits", args.logits, DType::f32, {"N", "A", "C"}));
    const Dims& dims = args.logits.dims;
    GD_CHECK(expect(op, "labels", args.labels, DType::i64, {{"N", dims[0]}, {"A", dims[1]}}));
    return require(args.gamma >= 0.0F && std::isfinite(args.alpha), op, ": gamma is ", args.gamma,
                   ", expected a number >= 0, alpha is ", args.alpha);
}

[[nodiscard]] std::int64_t grain(std::int64_t classes) { return std::max<std::int64_t>(1, 4096 / (classes + 1)); }

}  // namespace

Status plan(const FocalLoss& args, Plan& plan) {
    GD_CHECK(check("focal_loss", args));
    plan.add(DType::f32, args.labels.dims);
    return Status();
}

Status launch(const FocalLoss& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("focal_loss", needed, outputs, workspace));
    const std::int64_t classes = args.logits.dims[2];
    parallel_for(args.labels.dims.count(), grain(classes), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t label = args.labels.i64()[row];
            const float* logits = args.logits.f32() + row * classes;
            outputs[0].f32_out()[row] = label == -1 ? 0.0F : loss_row(logits, classes, label, args.alpha, args.gamma);
        }
    });
    return Status();
}

Status plan(const FocalLossBackward& args, Plan& plan) {
    constexpr const char* op = "focal_loss_backward";
    GD_CHECK(check(op, args.of));
    const Dims& rows = args.of.labels.dims;
    GD_CHECK(expect(op, "gradient", args.gradient, DType::f32, {{"N", rows[0]}, {"A", rows[1]}}));
    plan.add(DType::f32, args.of.logits.dims);
    return Status();
}

Status launch(const FocalLossBackward& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("focal_loss_backward", needed, outputs, workspace));
    const std::int64_t classes = args.of.logits.dims[2];
    parallel_for(args.of.labels.dims.count(), grain(classes), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t label = args.of.labels.i64()[row];
            const float* logits = args.of.logits.f32() + row * classes;
            float* out = outputs[0].f32_out() + row * classes;
            if (label == -1) {
                std::fill_n(out, classes, 0.0F);
            } else {
                backward_row(logits, classes, label, args.of.alpha, args.of.gamma, args.gradient.f32()[row], out);
            }
        }
    });
    return Status();
}

}  // namespace graphdet
