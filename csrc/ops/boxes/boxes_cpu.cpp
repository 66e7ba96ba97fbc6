#include "core/check.h"
#include "ops/boxes/formulas.h"

namespace graphdet {

namespace {

// `rows` f32[N K 4], with a table that is either f32[N K 4] or f32[K 4].
Status plan_rows_and_table(const char* op, const char* rows_name, const TensorView& rows, const char* table_name,
                           const TensorView& table, Plan& plan) {
    GD_CHECK(expect(op, rows_name, rows, DType::f32, {"N", "K", 4}));
    const std::int64_t images = rows.dims[0], per_image = rows.dims[1];
    if (table.dims.rank == 2) {
        GD_CHECK(expect(op, table_name, table, DType::f32, {{"K", per_image}, 4}));
    } else {
        GD_CHECK(expect(op, table_name, table, DType::f32, {{"N", images}, {"K", per_image}, 4}));
    }
    plan.add(DType::f32, rows.dims);
    return Status();
}

// `boxes` f32[N K 4] with one row of `width` numbers for each image.
Status plan_boxes_and_image(const char* op, const TensorView& boxes, const char* image_name, const TensorView& image,
                            int width, Plan& plan) {
    GD_CHECK(expect(op, "boxes", boxes, DType::f32, {"N", "K", 4}));
    GD_CHECK(expect(op, image_name, image, DType::f32, {{"N", boxes.dims[0]}, width}));
    plan.add(DType::f32, boxes.dims);
    return Status();
}

template <class Args>
Status ready(const char* op, const Args& args, const TensorView* outputs, const Workspace& workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    return fits(op, needed, outputs, workspace);
}

// Calls `row(table row, input row, output row)` for every row of f32[N K 4]; a table of rank 2 starts again at each
// image.
template <class Row>
void for_rows(const TensorView& table, const TensorView& rows, const TensorView& out, Row row) {
    const std::int64_t images = rows.dims[0], per_image = rows.dims[1];
    const std::int64_t table_step = table.dims.rank == 3 ? per_image * 4 : 0;
    for (std::int64_t n = 0; n < images; ++n) {
        const float* t = table.f32() + n * table_step;
        const float* in = rows.f32() + n * per_image * 4;
        float* o = out.f32_out() + n * per_image * 4;
        for (std::int64_t k = 0; k < per_image; ++k) row(t + 4 * k, in + 4 * k, o + 4 * k);
    }
}

}  // namespace

Status plan(const DecodeDeltas& args, Plan& plan) {
    GD_CHECK(require(args.max_ratio > 0.0, "decode_deltas: max_ratio is ", args.max_ratio, ", expected a number > 0"));
    return plan_rows_and_table("decode_deltas", "deltas", args.deltas, "anchors", args.anchors, plan);
}

Status plan(const DecodePoints& args, Plan& plan) {
    return plan_rows_and_table("decode_points", "raw", args.raw, "points", args.points, plan);
}

Status plan(const DecodeDistances& args, Plan& plan) {
    return plan_rows_and_table("decode_distances", "distances", args.distances, "points", args.points, plan);
}

Status plan(const ClipBoxes& args, Plan& plan) {
    return plan_boxes_and_image("clip_boxes", args.boxes, "size", args.size, 2, plan);
}

Status plan(const ToImage& args, Plan& plan) {
    return plan_boxes_and_image("to_image", args.boxes, "geometry", args.geometry, 4, plan);
}

Status launch(const DecodeDeltas& args, const TensorView* outputs, Workspace workspace) {
    GD_CHECK(ready("decode_deltas", args, outputs, workspace));
    for_rows(args.anchors, args.deltas, outputs[0], DecodeDelta(args));
    return Status();
}

Status launch(const DecodePoints& args, const TensorView* outputs, Workspace workspace) {
    GD_CHECK(ready("decode_points", args, outputs, workspace));
    for_rows(args.points, args.raw, outputs[0], DecodePoint());
    return Status();
}

Status launch(const DecodeDistances& args, const TensorView* outputs, Workspace workspace) {
    GD_CHECK(ready("decode_distances", args, outputs, workspace));
    for_rows(args.points, args.distances, outputs[0], DecodeDistance());
    return Status();
}

Status launch(const ClipBoxes& args, const TensorView* outputs, Workspace workspace) {
    GD_CHECK(ready("clip_boxes", args, outputs, workspace));
    const std::int64_t images = args.boxes.dims[0], per_image = args.boxes.dims[1];
    for (std::int64_t n = 0; n < images; ++n) {
        const float h = args.size.f32()[2 * n], w = args.size.f32()[2 * n + 1];
        const float* in = args.boxes.f32() + n * per_image * 4;
        float* out = outputs[0].f32_out() + n * per_image * 4;
        for (std::int64_t i = 0; i < per_image * 4; ++i) out[i] = clip(in[i], 0.0F, i % 2 == 0 ? w : h);
    }
    return Status();
}

Status launch(const ToImage& args, const TensorView* outputs, Workspace workspace) {
    GD_CHECK(ready("to_image", args, outputs, workspace));
    const std::int64_t images = args.boxes.dims[0], per_image = args.boxes.dims[1];
    for (std::int64_t n = 0; n < images; ++n) {
        const float* g = args.geometry.f32() + 4 * n;
        const float* in = args.boxes.f32() + n * per_image * 4;
        float* out = outputs[0].f32_out() + n * per_image * 4;
        for (std::int64_t i = 0; i < per_image * 4; ++i) out[i] = (in[i] - g[2 + i % 2]) / g[i % 2];
    }
    return Status();
}

}  // namespace graphdet
