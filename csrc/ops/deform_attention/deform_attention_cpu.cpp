#include "ops/deform_attention/deform_attention.h"

#include <algorithm>

#include "core/lanes.h"
#include "core/parallel.h"
#include "ops/deform_attention/points.h"

namespace graphdet {

namespace {

using attention::Corners;
using attention::corners_of;
using attention::Shape;

// One query of one head: out[0..D) = the weighted sum of its samples.
GD_CLONES void attend(const Shape& s, const DeformAttention& args, const float* values, const float* locations,
                      const float* weights, float* out) {
    const std::int64_t step = s.heads * s.width;
    std::fill_n(out, s.width, 0.0F);
    std::int64_t start = 0;
    for (std::int64_t l = 0; l < s.levels; ++l) {
        const auto& size = args.levels[static_cast<std::size_t>(l)];
        for (std::int64_t p = 0; p < s.points; ++p) {
            Corners at;
            const std::int64_t point = l * s.points + p;
            if (!corners_of(locations + 2 * point, size.data(), start, at)) continue;
            for (int k = 0; k < 4; ++k) {
                const float weight = at.weight(k) * weights[point];
                if (at.cell[k] < 0 || at.weight(k) == 0.0F) continue;
                const float* from = values + at.cell[k] * step;
                for (std::int64_t d = 0; d < s.width; ++d) out[d] += weight * from[d];
            }
        }
        start += size[0] * size[1];
    }
}

// The dot product of D numbers, in lanes of 16, then the rest.
GD_INLINE float dot(const float* a, const float* b, std::int64_t count) {
    Lanes lanes = {};
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
        lanes += *reinterpret_cast<const Lanes*>(a + i) * *reinterpret_cast<const Lanes*>(b + i);
    float sum = sum_of(lanes);
    for (; i < count; ++i) sum += a[i] * b[i];
    return sum;
}

// The same query backwards: adds to the head's value gradients, writes those of locations and weights.
GD_CLONES void attend_backward(const Shape& s, const DeformAttention& args, const float* values, const float* locations,
                               const float* weights, const float* gradient, float* value_gradients,
                               float* location_gradients, float* weight_gradients) {
    const std::int64_t step = s.heads * s.width;
    std::int64_t start = 0;
    for (std::int64_t l = 0; l < s.levels; ++l) {
        const auto& size = args.levels[static_cast<std::size_t>(l)];
        for (std::int64_t p = 0; p < s.points; ++p) {
            Corners at;
            const std::int64_t point = l * s.points + p;
            float* moved = location_gradients + 2 * point;
            moved[0] = moved[1] = weight_gradients[point] = 0.0F;
            if (!corners_of(locations + 2 * point, size.data(), start, at)) continue;
            float found[4];  // the gradient's product with each corner
            for (int k = 0; k < 4; ++k) {
                found[k] = 0.0F;
                if (at.cell[k] < 0) continue;
                const float* from = values + at.cell[k] * step;
                found[k] = dot(gradient, from, s.width);
                const float share = at.weight(k) * weights[point];
                float* to = value_gradients + at.cell[k] * step;
                for (std::int64_t d = 0; d < s.width; ++d) to[d] += share * gradient[d];
                weight_gradients[point] += at.weight(k) * found[k];
            }
            const float across = (found[1] - found[0]) * (1.0F - at.down) + (found[3] - found[2]) * at.down;
            const float down = (found[2] - found[0]) * (1.0F - at.right) + (found[3] - found[1]) * at.right;
            moved[0] = across * weights[point] * static_cast<float>(size[1]);
            moved[1] = down * weights[point] * static_cast<float>(size[0]);
        }
        start += size[0] * size[1];
    }
}

}  // namespace

Status plan(const DeformAttention& args, Plan& plan) {
    Shape s;
    GD_CHECK(attention::check("deform_attention", args, s));
    plan.add(DType::f32, {s.images, s.queries, s.heads * s.width});
    return Status();
}

Status launch(const DeformAttention& args, const TensorView* outputs, Workspace workspace) {
    Shape s;
    Plan needed;
    GD_CHECK(attention::check("deform_attention", args, s));
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("deform_attention", needed, outputs, workspace));
    const std::int64_t points = s.levels * s.points, rows = s.heads * s.width;
    parallel_for(s.images * s.queries, 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            const float* values = args.value.f32() + row / s.queries * s.cells * rows;
            for (std::int64_t m = 0; m < s.heads; ++m) {
                const std::int64_t at = (row * s.heads + m) * points;
                attend(s, args, values + m * s.width, args.locations.f32() + 2 * at, args.weights.f32() + at,
                       outputs[0].f32_out() + row * rows + m * s.width);
            }
        }
    });
    return Status();
}

Status plan(const DeformAttentionBackward& args, Plan& plan) {
    constexpr const char* op = "deform_attention_backward";
    Shape s;
    GD_CHECK(attention::check(op, args.of, s));
    const auto width = static_cast<int>(s.heads * s.width);
    GD_CHECK(expect(op, "gradient", args.gradient, DType::f32, {{"N", s.images}, {"Q", s.queries}, width}));
    for (const TensorView* view : {&args.of.value, &args.of.locations, &args.of.weights})
        plan.add(DType::f32, view->dims);
    return Status();
}

Status launch(const DeformAttentionBackward& args, const TensorView* outputs, Workspace workspace) {
    constexpr const char* op = "deform_attention_backward";
    Shape s;
    Plan needed;
    GD_CHECK(attention::check(op, args.of, s));
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits(op, needed, outputs, workspace));
    const std::int64_t points = s.levels * s.points, rows = s.heads * s.width;
    std::fill_n(outputs[0].f32_out(), s.images * s.cells * rows, 0.0F);
    parallel_for(s.images * s.heads, 1, [&](std::int64_t unit, std::int64_t) {
        const std::int64_t image = unit / s.heads, m = unit % s.heads;
        const std::int64_t cells = image * s.cells * rows + m * s.width;
        for (std::int64_t row = image * s.queries; row < (image + 1) * s.queries; ++row) {
            const std::int64_t at = (row * s.heads + m) * points;
            attend_backward(s, args.of, args.of.value.f32() + cells, args.of.locations.f32() + 2 * at,
                            args.of.weights.f32() + at, args.gradient.f32() + row * rows + m * s.width,
                            outputs[0].f32_out() + cells, outputs[1].f32_out() + 2 * at, outputs[2].f32_out() + at);
        }
    });
    return Status();
}

}  // namespace graphdet
