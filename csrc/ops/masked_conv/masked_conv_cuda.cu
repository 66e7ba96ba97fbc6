#include "cuda/cuda.h"
#include "ops/masked_conv/shape.h"

namespace graphdet {

using namespace cuda;

Status plan(const MaskedConv& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = 0;
    return Status();
}

// Sums run over kernel points, then channels, as on the CPU.
Status launch(const MaskedConv& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "masked_conv2d";
    masked::Shape s;
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    GD_CHECK(masked::check(args, s));
    const float *x = args.x.f32(), *weight = args.weight.f32(), *mask = args.mask.f32();
    const float* bias = masked::has_bias(args) ? args.bias.f32() : nullptr;
    float* out = outputs[0].f32_out();
    for_each(device, needed.outputs[0].dims.count(), [=] __device__(std::int64_t at) {
        const std::int64_t place = at % s.places(), o = at / s.places() % s.outputs;
        const std::int64_t image = at / s.places() / s.outputs;
        out[at] = 0.0F;
        if (!(mask[image * s.places() + place] > 0.0F)) return;
        const float* map = x + image * s.channels * s.pixels();
        float sum = 0.0F;
        for (std::int64_t point = 0; point < s.points(); ++point) {
            const std::int64_t row = place / s.out_width * s.stride - s.padding + point / s.columns;
            const std::int64_t column = place % s.out_width * s.stride - s.padding + point % s.columns;
            if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
            for (std::int64_t c = 0; c < s.channels; ++c)
                sum += map[c * s.pixels() + row * s.width + column] * weight[(o * s.channels + c) * s.points() + point];
        }
        out[at] = sum + (bias == nullptr ? 0.0F : bias[o]);
    });
    return finish(op);
}

}  // namespace graphdet
