#include "cuda/cuda.h"
#include "ops/carafe/window.h"

namespace graphdet {

using namespace cuda;

Status plan(const Carafe& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = 0;
    return Status();
}

Status plan(const CarafeBackward& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = 0;
    return Status();
}

Status launch(const Carafe& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "carafe";
    carafe::Shape s;
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    GD_CHECK(carafe::check(op, args, s));
    const float *x = args.x.f32(), *kernels = args.kernels.f32();
    float* out = outputs[0].f32_out();
    for_each(device, needed.outputs[0].dims.count(), [=] __device__(std::int64_t at) {
        const std::int64_t place = at % s.places(), plane = at / s.places();
        const float* weight = kernels + plane / s.share() * s.window() * s.places() + place;
        const float* pixels = x + plane * s.pixels();
        float sum = 0.0F;
        carafe::for_window(s, place,
                           [&](std::int64_t k, std::int64_t pixel) { sum += weight[k * s.places()] * pixels[pixel]; });
        out[at] = sum;
    });
    return finish(op);
}

// Each pixel gathers from the places that read it: no atomics.
Status launch(const CarafeBackward& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "carafe_backward";
    carafe::Shape s;
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    GD_CHECK(carafe::check(op, args.of, s));
    const float *x = args.of.x.f32(), *kernels = args.of.kernels.f32(), *gradient = args.gradient.f32();
    float *to_x = outputs[0].f32_out(), *to_kernels = outputs[1].f32_out();
    for_each(device, needed.outputs[0].dims.count(), [=] __device__(std::int64_t at) {
        const std::int64_t plane = at / s.pixels(), row = at % s.pixels() / s.width, column = at % s.width;
        const float* weight = kernels + plane / s.share() * s.window() * s.places();
        const float* from = gradient + plane * s.places();
        const std::int64_t reach = s.size / 2;
        float sum = 0.0F;
        for (std::int64_t k = 0; k < s.window(); ++k) {
            const std::int64_t y = row - k / s.size + reach, z = column - k % s.size + reach;
            if (y < 0 || y >= s.height || z < 0 || z >= s.width) continue;
            for (std::int64_t i = 0; i < s.scale * s.scale; ++i) {
                const std::int64_t place = (y * s.scale + i / s.scale) * s.out_width() + z * s.scale + i % s.scale;
                sum += weight[k * s.places() + place] * from[place];
            }
        }
        to_x[at] = sum;
    });
    for_each(device, needed.outputs[1].dims.count(), [=] __device__(std::int64_t at) {
        const std::int64_t place = at % s.places(), k = at / s.places() % s.window();
        const std::int64_t group = at / s.places() / s.window();  // counted over images
        const std::int64_t reach = s.size / 2;
        const std::int64_t y = place / s.out_width() / s.scale + k / s.size - reach;
        const std::int64_t z = place % s.out_width() / s.scale + k % s.size - reach;
        float sum = 0.0F;
        const bool inside = y >= 0 && y < s.height && z >= 0 && z < s.width;
        for (std::int64_t plane = group * s.share(); inside && plane < (group + 1) * s.share(); ++plane)
            sum += gradient[plane * s.places() + place] * x[plane * s.pixels() + y * s.width + z];
        to_kernels[at] = sum;
    });
    return finish(op);
}

}  // namespace graphdet
