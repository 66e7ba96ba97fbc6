#include "ops/corner_pool/corner_pool.h"

#include <algorithm>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/parallel.h"
#include "ops/corner_pool/scan.h"

namespace graphdet {

namespace {

GD_CLONES void pool_columns(const Scan& scan, const float* x, float* out) {
    const std::int64_t width = scan.lines;
    for (std::int64_t i = 0; i < scan.length; ++i) {
        const float* from = x + scan.first + i * scan.step;
        float* to = out + scan.first + i * scan.step;
        const float* before = i > 0 ? to - scan.step : from;
        for (std::int64_t c = 0; c < width; ++c) to[c] = takes(from[c], before[c]) ? from[c] : before[c];
    }
}

void pool_rows(const Scan& scan, const float* x, float* out) {
    for (std::int64_t line = 0; line < scan.lines; ++line) {
        std::int64_t at = scan.first + line * scan.next;
        float best = x[at];
        for (std::int64_t i = 0; i < scan.length; ++i, at += scan.step) {
            if (takes(x[at], best)) best = x[at];
            out[at] = best;
        }
    }
}

void backward(const Scan& scan, const float* x, const float* gradient, float* out) {
    for (std::int64_t line = 0; line < scan.lines; ++line) {
        std::int64_t at = scan.first + line * scan.next, best = at;
        for (std::int64_t i = 0; i < scan.length; ++i, at += scan.step) {
            out[at] = 0.0F;
            if (takes(x[at], x[best])) best = at;
            out[best] += gradient[at];
        }
    }
}

}  // namespace

Status plan(const CornerPool& args, Plan& plan) {
    GD_CHECK(expect("corner_pool", "x", args.x, DType::f32, {"N", "C", "H", "W"}));
    plan.add(DType::f32, args.x.dims);
    return Status();
}

Status launch(const CornerPool& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("corner_pool", needed, outputs, workspace));
    const Scan scan = scan_of(args);
    const std::int64_t pixels = scan.lines * scan.length;
    if (pixels == 0) return Status();
    parallel_for(args.x.dims.count(0, 2), 4, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t plane = begin; plane < end; ++plane) {
            const float* x = args.x.f32() + plane * pixels;
            float* out = outputs[0].f32_out() + plane * pixels;
            args.across ? pool_rows(scan, x, out) : pool_columns(scan, x, out);
        }
    });
    return Status();
}

Status plan(const CornerPoolBackward& args, Plan& plan) {
    constexpr const char* op = "corner_pool_backward";
    GD_CHECK(expect(op, "x", args.of.x, DType::f32, {"N", "C", "H", "W"}));
    const Dims& d = args.of.x.dims;
    GD_CHECK(expect(op, "gradient", args.gradient, DType::f32, {{"N", d[0]}, {"C", d[1]}, {"H", d[2]}, {"W", d[3]}}));
    plan.add(DType::f32, d);
    return Status();
}

Status launch(const CornerPoolBackward& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("corner_pool_backward", needed, outputs, workspace));
    const Scan scan = scan_of(args.of);
    const std::int64_t pixels = scan.lines * scan.length;
    if (pixels == 0) return Status();
    parallel_for(args.of.x.dims.count(0, 2), 4, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t plane = begin; plane < end; ++plane) {
            const std::int64_t at = plane * pixels;
            backward(scan, args.of.x.f32() + at, args.gradient.f32() + at, outputs[0].f32_out() + at);
        }
    });
    return Status();
}

}  // namespace graphdet
