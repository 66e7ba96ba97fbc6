#include "ops/focal/focal.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/smooth.h"

namespace graphdet {

namespace {

// Sixteen classes of a row. With z the logit of being wrong, the loss is weight * miss^gamma * rise, where miss is
// sigmoid(z), and rise is log(1 + e^z) = -log(1 - miss).
struct Classes {
    float z[kLanes], sign[kLanes], weight[kLanes];
    Lanes miss, rise, power;

    GD_INLINE void read(const float* logits, std::int64_t begin, std::int64_t count, std::int64_t label, float alpha) {
        for (std::int64_t i = 0; i < kLanes; ++i) z[i] = sign[i] = weight[i] = 0.0F;
        for (std::int64_t i = 0; i < count; ++i) {
            z[i] = logits[begin + i];
            sign[i] = 1.0F;
            weight[i] = 1.0F - alpha;
        }
        if (label < begin || label >= begin + count) return;
        z[label - begin] = -z[label - begin];
        sign[label - begin] = -1.0F;
        weight[label - begin] = alpha;
    }

    GD_INLINE void compute(float gamma) {
        const Lanes zero = {}, given = *reinterpret_cast<const Lanes*>(z);
        const Lanes high = given > zero + 1e4F ? zero + 1e4F : given;
        const Lanes at = high < zero - 1e4F ? zero - 1e4F : high;
        const Lanes size = at < zero ? -at : at;
        Lanes small, extra;
        exp_of_negative(-size, small);
        log1p_of_unit(small, extra);
        const Lanes inverse = 1.0F / (1.0F + small);
        const Lanes fall = (at < zero ? size : zero) + extra;  // -log(miss)
        miss = at < zero ? small * inverse : inverse;
        rise = (at < zero ? zero : size) + extra;
        exp_of_negative(-gamma * fall, power);
    }
};

GD_CLONES float loss_row(const float* logits, std::int64_t classes, std::int64_t label, float alpha, float gamma) {
    Lanes sum = {};
    Classes at;
    for (std::int64_t begin = 0; begin < classes; begin += kLanes) {
        at.read(logits, begin, std::min(kLanes, classes - begin), label, alpha);
        at.compute(gamma);
        sum += *reinterpret_cast<const Lanes*>(at.weight) * at.power * at.rise;
    }
    return sum_of(sum);
}

GD_CLONES void backward_row(const float* logits, std::int64_t classes, std::int64_t label, float alpha, float gamma,
                            float gradient, float* out) {
    Classes at;
    for (std::int64_t begin = 0; begin < classes; begin += kLanes) {
        const std::int64_t count = std::min(kLanes, classes - begin);
        at.read(logits, begin, count, label, alpha);
        at.compute(gamma);
        const Lanes slope = at.power * (gamma * (1.0F - at.miss) * at.rise + at.miss) * gradient;
        const Lanes found =
            *reinterpret_cast<const Lanes*>(at.sign) * *reinterpret_cast<const Lanes*>(at.weight) * slope;
        std::memcpy(out + begin, &found, static_cast<std::size_t>(count) * sizeof(float));
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
