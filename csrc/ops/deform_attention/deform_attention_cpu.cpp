#include "ops/deform_attention/deform_attention.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/lanes.h"
#include "core/parallel.h"

namespace graphdet {

namespace {

struct Shape {
    std::int64_t images, cells, heads, width, queries, levels, points;
};

Status check(const char* op, const DeformAttention& args, Shape& s) {
    GD_CHECK(expect(op, "value", args.value, DType::f32, {"N", "S", "M", "D"}));
    const Dims& v = args.value.dims;
    GD_CHECK(require(args.level_count > 0 && args.level_count <= DeformAttention::kMaxLevels, op, ": found ",
                     args.level_count, " levels, expected 1 to ", DeformAttention::kMaxLevels));
    const Dim n = {"N", v[0]}, m = {"M", v[2]};
    GD_CHECK(expect(op, "locations", args.locations, DType::f32, {n, "Q", m, {"E", args.level_count}, "P", 2}));
    const Dims& at = args.locations.dims;
    s = {v[0], v[1], v[2], v[3], at[1], at[3], at[4]};
    const Dim q = {"Q", s.queries}, e = {"E", s.levels}, p = {"P", s.points};
    GD_CHECK(expect(op, "weights", args.weights, DType::f32, {n, q, m, e, p}));
    std::int64_t cells = 0;
    for (int l = 0; l < args.level_count; ++l) {
        const auto [height, width] = args.levels[static_cast<std::size_t>(l)];
        GD_CHECK(require(height >= 0 && width >= 0, op, ": level ", l, " is ", height, " x ", width));
        cells += height * width;
    }
    return require(cells == s.cells, op, ": value has ", s.cells, " cells, but the levels have ", cells);
}

// Where one point reads: rows of `value` relative to the image's first, -1 outside the map.
struct Corners {
    std::int64_t cell[4];
    float down, right;

    GD_INLINE float weight(int corner) const {
        return ((corner & 2) != 0 ? down : 1.0F - down) * ((corner & 1) != 0 ? right : 1.0F - right);
    }
};

// False for a point that reads nothing.
GD_INLINE bool corners_of(const float* location, const std::array<std::int64_t, 2>& size, std::int64_t start,
                          Corners& made) {
    const auto height = static_cast<float>(size[0]), width = static_cast<float>(size[1]);
    const float x = location[0] * width - 0.5F, y = location[1] * height - 0.5F;
    if (!(y > -1.0F && x > -1.0F && y < height && x < width)) return false;
    const float low = std::floor(y), left = std::floor(x);
    const auto r = static_cast<std::int64_t>(low), c = static_cast<std::int64_t>(left);
    made.down = y - low, made.right = x - left;
    for (int i = 0; i < 4; ++i) {
        const std::int64_t at = r + (i >> 1), across = c + (i & 1);
        const bool inside = at >= 0 && at < size[0] && across >= 0 && across < size[1];
        made.cell[i] = inside ? start + at * size[1] + across : -1;
    }
    return true;
}

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
            if (!corners_of(locations + 2 * point, size, start, at)) continue;
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
            if (!corners_of(locations + 2 * point, size, start, at)) continue;
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
    GD_CHECK(check("deform_attention", args, s));
    plan.add(DType::f32, {s.images, s.queries, s.heads * s.width});
    return Status();
}

Status launch(const DeformAttention& args, const TensorView* outputs, Workspace workspace) {
    Shape s;
    Plan needed;
    GD_CHECK(check("deform_attention", args, s));
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
    GD_CHECK(check(op, args.of, s));
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
    GD_CHECK(check(op, args.of, s));
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
