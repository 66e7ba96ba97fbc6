#include <algorithm>

#include "core/check.h"
#include "ops/gather_rows/gather_rows.h"

namespace graphdet {

namespace {

// Rows of `width` numbers: table n starts at x + n * per_image and has `rows` of them.
Status copy_rows(const char* op, const float* x, std::int64_t per_image, std::int64_t rows, std::int64_t width,
                 const TensorView& index, float* out) {
    const std::int64_t images = index.dims[0], picks = index.dims[1];
    for (std::int64_t n = 0; n < images; ++n) {
        for (std::int64_t k = 0; k < picks; ++k) {
            const std::int64_t row = index.i64()[n * picks + k];
            GD_CHECK(require(row >= 0 && row < rows, op, ": index[", n, ", ", k, "] is ", row,
                             ", expected 0 <= index < ", rows));
            std::copy_n(x + n * per_image + row * width, width, out + (n * picks + k) * width);
        }
    }
    return Status();
}

}  // namespace

Status plan(const GatherRows& args, Plan& plan) {
    constexpr const char* op = "gather_rows";
    GD_CHECK(expect(op, "index", args.index, DType::i64, {"N", "K"}));
    const std::int64_t images = args.index.dims[0];
    if (args.x.dims.rank == 2) {
        GD_CHECK(expect(op, "x", args.x, DType::f32, {"A", "D"}));
    } else {
        GD_CHECK(expect(op, "x", args.x, DType::f32, {{"N", images}, "A", "D"}));
    }
    plan.add(DType::f32, {images, args.index.dims[1], args.x.dims[args.x.dims.rank - 1]});
    return Status();
}

Status launch(const GatherRows& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("gather_rows", needed, outputs, workspace));
    const Dims& x = args.x.dims;
    const std::int64_t rows = x[x.rank - 2], width = x[x.rank - 1], per_image = x.rank == 3 ? rows * width : 0;
    return copy_rows("gather_rows", args.x.f32(), per_image, rows, width, args.index, outputs[0].f32_out());
}

Status plan(const Gather& args, Plan& plan) {
    GD_CHECK(expect("gather", "index", args.index, DType::i64, {"N", "K"}));
    GD_CHECK(expect("gather", "x", args.x, DType::f32, {{"N", args.index.dims[0]}, "A"}));
    plan.add(DType::f32, args.index.dims);
    return Status();
}

Status launch(const Gather& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("gather", needed, outputs, workspace));
    const std::int64_t entries = args.x.dims[1];
    return copy_rows("gather", args.x.f32(), entries, entries, 1, args.index, outputs[0].f32_out());
}

}  // namespace graphdet
