#include <algorithm>

#include "core/check.h"
#include "ops/gather_rows/gather_rows.h"

namespace graphdet {

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
    const std::int64_t images = args.index.dims[0], picks = args.index.dims[1];
    for (std::int64_t n = 0; n < images; ++n) {
        const float* table = args.x.f32() + n * per_image;
        for (std::int64_t k = 0; k < picks; ++k) {
            const std::int64_t row = args.index.i64()[n * picks + k];
            GD_CHECK(require(row >= 0 && row < rows, "gather_rows: index[", n, ", ", k, "] is ", row,
                             ", expected 0 <= index < ", rows));
            std::copy_n(table + row * width, width, outputs[0].f32_out() + (n * picks + k) * width);
        }
    }
    return Status();
}

}  // namespace graphdet
