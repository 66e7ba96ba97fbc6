#include "cuda/cuda.h"
#include "ops/mask/formulas.h"
#include "ops/mask/mask.h"

namespace graphdet {

namespace {

using namespace cuda;

// A grid framed by zeros.
struct Framed {
    const float* cells;
    std::int64_t height, width;

    __device__ float at(std::int64_t y, std::int64_t x) const {
        const bool cell = y >= 1 && y <= height && x >= 1 && x <= width;
        return cell ? cells[(y - 1) * width + x - 1] : 0.0F;
    }
    // Columns first, then rows, as on the CPU.
    __device__ float sample(std::int32_t y, float down, std::int32_t x, float across) const {
        return blend(blend(at(y, x), at(y, x + 1), across), blend(at(y + 1, x), at(y + 1, x + 1), across), down);
    }
};

}  // namespace

Status plan(const PasteMasks& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = 0;
    return Status();
}

Status launch(const PasteMasks& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "paste_masks";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t rows = args.masks.dims[1], h = args.masks.dims[2], w = args.masks.dims[3];
    const std::int64_t height = args.height, width = args.width, pixels = height * width;
    const float *masks = args.masks.f32(), *boxes = args.boxes.f32();
    const std::int64_t* count = args.count.i64();
    const float threshold = args.threshold;
    std::uint8_t* out = outputs[0].u8_out();
    for_each(device, needed.outputs[0].dims.count(), [=] __device__(std::int64_t at) {
        const std::int64_t i = at / pixels, y = at % pixels / width, x = at % width;
        const float* box = boxes + 4 * i;
        const Span xs = inside(box[0], box[2], width), ys = inside(box[1], box[3], height);
        const bool mine = i % rows < count[i / rows] && x >= xs.begin && x < xs.end && y >= ys.begin && y < ys.end;
        out[at] = 0;
        if (!mine) return;
        std::int32_t left = 0, top = 0;
        float across = 0.0F, down = 0.0F;
        locate(x, box[0], static_cast<float>(w), box[2], left, across);
        locate(y, box[1], static_cast<float>(h), box[3], top, down);
        const Framed grid = {masks + i * h * w, h, w};
        out[at] = grid.sample(top, down, left, across) >= threshold ? 1 : 0;
    });
    return finish(op);
}

}  // namespace graphdet
