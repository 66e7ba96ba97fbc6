#include <algorithm>

#include "core/check.h"
#include "ops/cut_padding/cut_padding.h"

namespace graphdet {

namespace {

std::int64_t rows_for(const CutPadding& args) {
    const std::int64_t* count = args.count.i64();
    const std::int64_t images = args.count.dims[0], rows = args.boxes.dims[1];
    const std::int64_t most = images > 0 ? *std::max_element(count, count + images) : 0;
    const auto step = std::find_if(args.steps.begin(), args.steps.end(), [&](std::int64_t s) { return s >= most; });
    return step == args.steps.end() ? rows : std::min(rows, *step);
}

// The first `kept` rows of each image, of `width` numbers.
template <class T>
void copy_rows(const T* from, std::int64_t images, std::int64_t rows, std::int64_t kept, std::int64_t width, T* to) {
    for (std::int64_t n = 0; n < images; ++n) {
        to = std::copy_n(from + n * rows * width, kept * width, to);
    }
}

}  // namespace

Status plan(const CutPadding& args, Plan& plan) {
    constexpr const char* op = "cut_padding";
    GD_CHECK(expect(op, "boxes", args.boxes, DType::f32, {"N", "K", 4}));
    const std::int64_t images = args.boxes.dims[0], rows = args.boxes.dims[1];
    GD_CHECK(expect(op, "labels", args.labels, DType::i64, {{"N", images}, {"K", rows}}));
    GD_CHECK(expect(op, "count", args.count, DType::i64, {{"N", images}}));
    std::int64_t before = 0;
    for (const std::int64_t step : args.steps) {
        GD_CHECK(require(step > before, op, ": steps are not ascending from 1"));
        before = step;
    }
    const std::int64_t kept = rows_for(args);
    plan.add(DType::f32, {images, kept, 4});
    plan.add(DType::i64, {images, kept});
    return Status();
}

Status launch(const CutPadding& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("cut_padding", needed, outputs, workspace));
    const std::int64_t images = args.boxes.dims[0], rows = args.boxes.dims[1], kept = outputs[1].dims[1];
    copy_rows(args.boxes.f32(), images, rows, kept, 4, outputs[0].f32_out());
    copy_rows(args.labels.i64(), images, rows, kept, 1, outputs[1].i64_out());
    return Status();
}

}  // namespace graphdet
