#include "cuda/cuda.h"
#include "ops/gather_rows/gather_rows.h"

namespace graphdet {

using namespace cuda;

Status plan(const GatherRows& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = Workspace::need<Word>(1);
    return Status();
}

// Waits for the stream: an index may be out of range.
Status launch(const GatherRows& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "gather_rows";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const Dims& x = args.x.dims;
    const std::int64_t rows = x[x.rank - 2], width = x[x.rank - 1], per_image = x.rank == 3 ? rows * width : 0;
    const std::int64_t picks = args.index.dims[1], count = args.index.dims.count();
    const std::int64_t* index = args.index.i64();
    std::int64_t bad = 0;
    const auto outside = [=] __device__(std::int64_t i) { return index[i] < 0 || index[i] >= rows; };
    GD_CHECK(first_bad(op, device, workspace, count, outside, bad));
    if (bad < count) {
        return require(false, op, ": index[", bad / picks, ", ", bad % picks, "] is ", peek(index + bad, device),
                       ", expected 0 <= index < ", rows);
    }
    const float* table = args.x.f32();
    float* out = outputs[0].f32_out();
    for_each(device, count * width, [=] __device__(std::int64_t at) {
        const std::int64_t pick = at / width;
        out[at] = table[pick / picks * per_image + index[pick] * width + at % width];
    });
    return finish(op);
}

}  // namespace graphdet
