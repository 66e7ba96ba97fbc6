#include "ops/iou/iou.h"

#include <algorithm>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/parallel.h"

namespace graphdet {

namespace {

// One array per coordinate, so that a row of results is made in lanes.
struct Columns {
    const float *x1, *y1, *x2, *y2, *area;
};

GD_INLINE float side(float low, float high) { return std::max(high - low, 0.0F); }

GD_INLINE float quotient(float part, float whole) { return whole > 0.0F ? part / whole : 0.0F; }

template <bool generalised>
GD_INLINE void fill_row(const float* box, const Columns& b, std::int64_t count, float* out) {
    const float x1 = box[0], y1 = box[1], x2 = box[2], y2 = box[3], area = side(x1, x2) * side(y1, y2);
    for (std::int64_t j = 0; j < count; ++j) {
        const float inter =
            side(std::max(x1, b.x1[j]), std::min(x2, b.x2[j])) * side(std::max(y1, b.y1[j]), std::min(y2, b.y2[j]));
        const float whole = area + b.area[j] - inter;
        float value = quotient(inter, whole);
        if (generalised) {
            const float hull =
                side(std::min(x1, b.x1[j]), std::max(x2, b.x2[j])) * side(std::min(y1, b.y1[j]), std::max(y2, b.y2[j]));
            value -= whole == whole ? quotient(hull - whole, hull) : 0.0F;
        }
        out[j] = value;
    }
}

GD_CLONES void iou_row(const float* box, const Columns& b, std::int64_t count, float* out) {
    fill_row<false>(box, b, count, out);
}

GD_CLONES void giou_row(const float* box, const Columns& b, std::int64_t count, float* out) {
    fill_row<true>(box, b, count, out);
}

}  // namespace

Status plan(const PairwiseIou& args, Plan& plan) {
    constexpr const char* op = "pairwise_iou";
    GD_CHECK(expect(op, "a", args.a, DType::f32, {"N", "A", 4}));
    GD_CHECK(expect(op, "b", args.b, DType::f32, {{"N", args.a.dims[0]}, "B", 4}));
    plan.add(DType::f32, {args.a.dims[0], args.a.dims[1], args.b.dims[1]});
    plan.workspace = 5 * Workspace::need<float>(args.b.dims[0] * args.b.dims[1]);
    return Status();
}

Status launch(const PairwiseIou& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("pairwise_iou", needed, outputs, workspace));
    const std::int64_t rows = args.a.dims[1], count = args.b.dims[1], total = args.b.dims[0] * count;
    float* column[5];
    for (float*& c : column) c = workspace.take<float>(total);
    for (std::int64_t j = 0; j < total; ++j) {
        const float* box = args.b.f32() + 4 * j;
        for (int k = 0; k < 4; ++k) column[k][j] = box[k];
        column[4][j] = side(box[0], box[2]) * side(box[1], box[3]);
    }
    const std::int64_t grain = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(count, 1));
    parallel_for(args.a.dims[0] * rows, grain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t from = i / rows * count;
            const Columns b = {column[0] + from, column[1] + from, column[2] + from, column[3] + from,
                               column[4] + from};
            float* out = outputs[0].f32_out() + i * count;
            if (args.generalised) {
                giou_row(args.a.f32() + 4 * i, b, count, out);
            } else {
                iou_row(args.a.f32() + 4 * i, b, count, out);
            }
        }
    });
    return Status();
}

}  // namespace graphdet
