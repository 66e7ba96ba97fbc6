#include "cuda/cuda.h"
#include "ops/gather_rows/gather_rows.h"

namespace graphdet {

namespace {

using namespace cuda;

// Rows of `width` numbers: table n starts at x + n * per_image and has `rows` of them. Waits for the stream: an index
// may be out of range.
Status copy_rows(const char* op, const float* x, std::int64_t per_image, std::int64_t rows, std::int64_t width,
                 const TensorView& indices, float* out, Workspace workspace, const Device& device) {
    const std::int64_t picks = indices.dims[1], count = indices.dims.count();
    const std::int64_t* index = indices.i64();
    std::int64_t bad = 0;
    const auto outside = [=] __device__(std::int64_t i) { return index[i] < 0 || index[i] >= rows; };
    GD_CHECK(first_bad(op, device, workspace, count, outside, bad));
    if (bad < count) {
        return require(false, op, ": index[", bad / picks, ", ", bad % picks, "] is ", peek(index + bad, device),
                       ", expected 0 <= index < ", rows);
    }
    for_each(device, count * width, [=] __device__(std::int64_t at) {
        const std::int64_t pick = at / width;
        out[at] = x[pick / picks * per_image + index[pick] * width + at % width];
    });
    return finish(op);
}

}  // namespace

Status plan(const GatherRows& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = Workspace::need<Word>(1);
    return Status();
}

Status launch(const GatherRows& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "gather_rows";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const Dims& x = args.x.dims;
    const std::int64_t rows = x[x.rank - 2], width = x[x.rank - 1], per_image = x.rank == 3 ? rows * width : 0;
    return copy_rows(op, args.x.f32(), per_image, rows, width, args.index, outputs[0].f32_out(), workspace, device);
}

Status plan(const Gather& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = Workspace::need<Word>(1);
    return Status();
}

Status launch(const Gather& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "gather";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t entries = args.x.dims[1];
    return copy_rows(op, args.x.f32(), entries, entries, 1, args.index, outputs[0].f32_out(), workspace, device);
}

}  // namespace graphdet
