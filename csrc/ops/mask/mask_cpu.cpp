#include <algorithm>
#include <memory>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/parallel.h"
#include "ops/mask/formulas.h"
#include "ops/mask/mask.h"

namespace graphdet {

namespace {

// Scratch of one mask. Grids are framed by a row and column of zeros, so that no neighbour is missing.
struct Scratch {
    float* framed;        // [h + 2, w + 2]
    float* stretched;     // [h + 2, W]: columns interpolated
    std::int32_t* place;  // [W]: left neighbour in `framed`
    float* part;          // [W]: weight of the right neighbour

    static std::size_t need(std::int64_t h, std::int64_t w, std::int64_t width) {
        return Workspace::need<float>((h + 2) * (w + 2)) + Workspace::need<float>((h + 2) * width) +
               Workspace::need<std::int32_t>(width) + Workspace::need<float>(width);
    }
    Scratch(Workspace from, std::int64_t h, std::int64_t w, std::int64_t width)
        : framed(from.take<float>((h + 2) * (w + 2))),
          stretched(from.take<float>((h + 2) * width)),
          place(from.take<std::int32_t>(width)),
          part(from.take<float>(width)) {}
};

GD_CLONES void stretch(const float* row, const std::int32_t* place, const float* part, std::int64_t count, float* out) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = blend(row[place[i]], row[place[i] + 1], part[i]);
}

GD_CLONES void paint(const float* upper, const float* lower, float part, float threshold, std::int64_t count,
                     std::uint8_t* out) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = blend(upper[i], lower[i], part) >= threshold ? 1 : 0;
}

struct Mask {
    const float* grid;
    const float* box;
    std::int64_t h, w;
    float threshold;
};

// Paints pixels `xs` x `ys`; pixel (ys.begin, xs.begin) is out[0], rows are `step` apart.
void paint_mask(const Mask& mask, Span xs, Span ys, const Scratch& s, std::uint8_t* out, std::int64_t step) {
    const std::int64_t wide = mask.w + 2, count = xs.size();
    std::fill_n(s.framed, (mask.h + 2) * wide, 0.0F);
    for (std::int64_t j = 0; j < mask.h; ++j)
        std::copy_n(mask.grid + j * mask.w, mask.w, s.framed + (j + 1) * wide + 1);
    for (std::int64_t i = 0; i < count; ++i)
        locate(xs.begin + i, mask.box[0], static_cast<float>(mask.w), mask.box[2], s.place[i], s.part[i]);
    for (std::int64_t j = 0; j < mask.h + 2; ++j)
        stretch(s.framed + j * wide, s.place, s.part, count, s.stretched + j * count);
    for (std::int64_t y = ys.begin; y < ys.end; ++y) {
        std::int32_t place = 0;
        float part = 0.0F;
        locate(y, mask.box[1], static_cast<float>(mask.h), mask.box[3], place, part);
        const float* upper = s.stretched + place * count;
        paint(upper, upper + count, part, mask.threshold, count, out + (y - ys.begin) * step);
    }
}

Mask mask_of(const PasteMasks& args, std::int64_t i) {
    const std::int64_t h = args.masks.dims[2], w = args.masks.dims[3];
    return {args.masks.f32() + i * h * w, args.boxes.f32() + i * 4, h, w, args.threshold};
}

bool is_padding(const PasteMasks& args, std::int64_t i) {
    const std::int64_t rows = args.masks.dims[1];
    return i % rows >= args.count.i64()[i / rows];
}

std::size_t part_of(const PasteMasks& args) {
    return Scratch::need(args.masks.dims[2], args.masks.dims[3], args.width);
}

}  // namespace

Status plan(const PasteMasks& args, Plan& plan) {
    constexpr const char* op = "paste_masks";
    GD_CHECK(expect(op, "masks", args.masks, DType::f32, {"N", "K", "h", "w"}));
    const std::int64_t images = args.masks.dims[0], rows = args.masks.dims[1];
    GD_CHECK(expect(op, "boxes", args.boxes, DType::f32, {{"N", images}, {"K", rows}, 4}));
    GD_CHECK(expect(op, "count", args.count, DType::i64, {{"N", images}}));
    constexpr std::int64_t most = 1 << 24;  // pixel centres are exact in float32 up to here
    const bool sized = args.height >= 0 && args.width >= 0 && args.height < most && args.width < most &&
                       args.height * args.width < (std::int64_t{1} << 32);
    GD_CHECK(require(sized, op, ": the image is ", args.height, " x ", args.width,
                     ", expected sides from 0 to 2^24 and fewer than 2^32 pixels"));
    GD_CHECK(require(args.masks.dims.count(0, 2) == 0 || args.masks.dims.count(2, 4) > 0, op, ": masks has no cells"));
    plan.add(DType::u8, {images, rows, args.height, args.width});
    plan.workspace = part_of(args) * static_cast<std::size_t>(std::clamp<std::int64_t>(images * rows, 1, threads()));
    return Status();
}

Status launch(const PasteMasks& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    needed.workspace = part_of(args);
    GD_CHECK(fits("paste_masks", needed, outputs, workspace));
    const std::int64_t count = args.masks.dims.count(0, 2), pixels = args.height * args.width;
    const std::size_t part = part_of(args);
    parallel_for(count, 1, workspace.slots(part), [&](std::int64_t i, std::int64_t /*end*/, int slot) {
        std::uint8_t* out = outputs[0].u8_out() + i * pixels;
        std::fill_n(out, pixels, std::uint8_t{0});
        if (is_padding(args, i)) return;
        const Mask mask = mask_of(args, i);
        const Span xs = inside(mask.box[0], mask.box[2], args.width),
                   ys = inside(mask.box[1], mask.box[3], args.height);
        if (xs.size() == 0 || ys.size() == 0) return;
        const Scratch scratch(workspace.part(slot, part), mask.h, mask.w, args.width);
        paint_mask(mask, xs, ys, scratch, out + ys.begin * args.width + xs.begin, args.width);
    });
    return Status();
}

Status paste_runs(const PasteMasks& args, std::vector<Runs>& runs) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    const std::int64_t count = args.masks.dims.count(0, 2);
    const std::size_t part = part_of(args);
    runs.assign(static_cast<std::size_t>(count), {});
    parallel_for(count, 1, [&](std::int64_t i, std::int64_t /*end*/) {
        const Mask mask = mask_of(args, i);
        Span xs = inside(mask.box[0], mask.box[2], args.width), ys = inside(mask.box[1], mask.box[3], args.height);
        if (is_padding(args, i)) xs = ys = Span();
        const std::unique_ptr<std::uint8_t[]> bitmap(new std::uint8_t[static_cast<std::size_t>(xs.size() * ys.size())]);
        if (xs.size() > 0 && ys.size() > 0) {
            const std::unique_ptr<std::uint8_t[]> memory(new std::uint8_t[part]);
            const Scratch scratch(Workspace(memory.get(), part), mask.h, mask.w, args.width);
            paint_mask(mask, xs, ys, scratch, bitmap.get(), xs.size());
        }
        const Bitmap region = {bitmap.get(), ys.size(), xs.size(), xs.size(), 1};
        runs[static_cast<std::size_t>(i)] = rle_encode(region, ys.begin, xs.begin, args.height, args.width);
    });
    return Status();
}

}  // namespace graphdet
