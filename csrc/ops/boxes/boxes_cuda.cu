#include "cuda/cuda.h"
#include "ops/boxes/formulas.h"

namespace graphdet {

namespace {

using namespace cuda;

// `rule(table row, input row, output row)` for every row of f32[N K 4]; a table of rank 2 starts again at each image.
template <class Args, class Rule>
Status decode(const char* op, const Args& args, const TensorView& table, const TensorView& rows, const Rule& rule,
              const TensorView* outputs, const Workspace& workspace, const Device& device) {
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t count = rows.dims.count(0, 2), period = table.dims.rank == 3 ? count : rows.dims[1];
    const float *from = rows.f32(), *beside = table.f32();
    float* out = outputs[0].f32_out();
    for_each(device, count,
             [=] __device__(std::int64_t i) { rule(beside + i % period * 4, from + 4 * i, out + 4 * i); });
    return finish(op);
}

}  // namespace

Status plan(const DecodeDeltas& args, Plan& needed, const Device&) { return plan(args, needed); }
Status plan(const DecodePoints& args, Plan& needed, const Device&) { return plan(args, needed); }
Status plan(const DecodeDistances& args, Plan& needed, const Device&) { return plan(args, needed); }
Status plan(const ClipBoxes& args, Plan& needed, const Device&) { return plan(args, needed); }
Status plan(const ToImage& args, Plan& needed, const Device&) { return plan(args, needed); }

Status launch(const DecodeDeltas& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    return decode("decode_deltas", args, args.anchors, args.deltas, DecodeDelta(args), outputs, workspace, device);
}

Status launch(const DecodePoints& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    return decode("decode_points", args, args.points, args.raw, DecodePoint(), outputs, workspace, device);
}

Status launch(const DecodeDistances& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "decode_distances";
    return decode(op, args, args.points, args.distances, DecodeDistance(), outputs, workspace, device);
}

Status launch(const ClipBoxes& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "clip_boxes";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t count = args.boxes.dims.count(), per_image = args.boxes.dims[1] * 4;
    const float *boxes = args.boxes.f32(), *size = args.size.f32();
    float* out = outputs[0].f32_out();
    for_each(device, count, [=] __device__(std::int64_t i) {
        out[i] = clip(boxes[i], 0.0F, size[i / per_image * 2 + (i % 2 == 0 ? 1 : 0)]);
    });
    return finish(op);
}

Status launch(const ToImage& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "to_image";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t count = args.boxes.dims.count(), per_image = args.boxes.dims[1] * 4;
    const float *boxes = args.boxes.f32(), *geometry = args.geometry.f32();
    float* out = outputs[0].f32_out();
    for_each(device, count, [=] __device__(std::int64_t i) {
        const float* g = geometry + i / per_image * 4;
        out[i] = (boxes[i] - g[2 + i % 2]) / g[i % 2];
    });
    return finish(op);
}

}  // namespace graphdet
