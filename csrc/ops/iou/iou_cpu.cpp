#include "ops/iou/iou.h"

#include <algorithm>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/parallel.h"
#include "ops/iou/formulas.h"

namespace graphdet {

namespace {

// One array per coordinate, so that a row of results is made in lanes.
struct Columns {
    const float *x1, *y1, *x2, *y2, *area;
};

template <bool generalised>
GD_INLINE void fill_row(const float* box, const Columns& b, std::int64_t count, float* out) {
    const Box a = load_any_box(box);
    for (std::int64_t j = 0; j < count; ++j)
        out[j] = iou_of<generalised>(a, {b.x1[j], b.y1[j], b.x2[j], b.y2[j], b.area[j]});
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
