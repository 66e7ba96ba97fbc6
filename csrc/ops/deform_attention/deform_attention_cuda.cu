#include "cuda/cuda.h"
#include "ops/deform_attention/points.h"

namespace graphdet {

namespace {

using namespace cuda;
using attention::Corners;
using attention::Shape;

struct Maps {
    std::int64_t size[DeformAttention::kMaxLevels][2] = {};

    explicit Maps(const DeformAttention& args) {
        for (std::size_t l = 0; l < DeformAttention::kMaxLevels; ++l)
            size[l][0] = args.levels[l][0], size[l][1] = args.levels[l][1];
    }
    // The first cell of a level.
    [[nodiscard]] __device__ std::int64_t start(std::int64_t level) const {
        std::int64_t cell = 0;
        for (std::int64_t l = 0; l < level; ++l) cell += size[l][0] * size[l][1];
        return cell;
    }
};

}  // namespace

Status plan(const DeformAttention& args, Plan& needed, const Device&) { return plan(args, needed); }
Status plan(const DeformAttentionBackward& args, Plan& needed, const Device&) { return plan(args, needed); }

Status launch(const DeformAttention& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "deform_attention";
    Shape s;
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    GD_CHECK(attention::check(op, args, s));
    const Maps maps(args);
    const float *values = args.value.f32(), *locations = args.locations.f32(), *weights = args.weights.f32();
    float* out = outputs[0].f32_out();
    for_each(device, needed.outputs[0].dims.count(), [=] __device__(std::int64_t at) {
        const std::int64_t step = s.heads * s.width, image = at / step / s.queries;
        const float* from = values + image * s.cells * step + at % step;
        const std::int64_t first = at / s.width * s.levels * s.points;
        float sum = 0.0F;
        for (std::int64_t l = 0; l < s.levels; ++l) {
            const std::int64_t start = maps.start(l);
            for (std::int64_t point = first + l * s.points; point < first + (l + 1) * s.points; ++point) {
                Corners corners;
                if (!attention::corners_of(locations + 2 * point, maps.size[l], start, corners)) continue;
                for (int k = 0; k < 4; ++k) {
                    if (corners.cell[k] < 0 || corners.weight(k) == 0.0F) continue;
                    sum += corners.weight(k) * weights[point] * from[corners.cell[k] * step];
                }
            }
        }
        out[at] = sum;
    });
    return finish(op);
}

// Points add their share to the values with atomics: the last bits of that gradient depend on the order of threads. The
// other two gradients do not.
Status launch(const DeformAttentionBackward& args, const TensorView* outputs, Workspace workspace,
              const Device& device) {
    constexpr const char* op = "deform_attention_backward";
    Shape s;
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    GD_CHECK(attention::check(op, args.of, s));
    const Maps maps(args.of);
    const float *values = args.of.value.f32(), *locations = args.of.locations.f32(), *weights = args.of.weights.f32();
    const float* gradients = args.gradient.f32();
    float *to_values = outputs[0].f32_out(), *to_locations = outputs[1].f32_out(), *to_weights = outputs[2].f32_out();
    if (outputs[0].bytes() > 0) GD_CHECK(check(op, cudaMemsetAsync(to_values, 0, outputs[0].bytes(), device.stream)));
    for_each(device, args.of.weights.dims.count(), [=] __device__(std::int64_t point) {
        const std::int64_t level = point / s.points % s.levels, row = point / s.points / s.levels;
        const std::int64_t step = s.heads * s.width, image = row / s.heads / s.queries;
        const std::int64_t first = image * s.cells * step + row % s.heads * s.width;
        const float* gradient = gradients + row * s.width;
        const float weight = weights[point];
        const std::int64_t* size = maps.size[level];
        to_locations[2 * point] = to_locations[2 * point + 1] = to_weights[point] = 0.0F;
        Corners corners;
        if (!attention::corners_of(locations + 2 * point, size, maps.start(level), corners)) return;
        float found[4] = {};  // the gradient's product with each corner
        float sum = 0.0F;
        for (int k = 0; k < 4; ++k) {
            if (corners.cell[k] < 0) continue;
            const std::int64_t cell = first + corners.cell[k] * step;
            for (std::int64_t d = 0; d < s.width; ++d) {
                found[k] += gradient[d] * values[cell + d];
                atomicAdd(&to_values[cell + d], corners.weight(k) * weight * gradient[d]);
            }
            sum += corners.weight(k) * found[k];
        }
        const float across = (found[1] - found[0]) * (1.0F - corners.down) + (found[3] - found[2]) * corners.down;
        const float down = (found[2] - found[0]) * (1.0F - corners.right) + (found[3] - found[1]) * corners.right;
        to_weights[point] = sum;
        to_locations[2 * point] = across * weight * static_cast<float>(size[1]);
        to_locations[2 * point + 1] = down * weight * static_cast<float>(size[0]);
    });
    return finish(op);
}

}  // namespace graphdet
