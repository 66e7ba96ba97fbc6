#include "cuda/cuda.h"
#include "ops/deform_conv/points.h"

namespace graphdet {

namespace {

using namespace cuda;
using deform::Corners;
using deform::Shape;

constexpr int kFilters = 8;  // that a thread computes from the same samples

// The operands on the device.
struct Operands {
    Shape s;
    const float *x, *weight, *offset, *mask, *bias;

    Operands(const DeformConv& args, const Shape& shape)
        : s(shape),
          x(args.x.f32()),
          weight(args.weight.f32()),
          offset(args.offset.f32()),
          mask(args.has_mask() ? args.mask.f32() : nullptr),
          bias(args.has_bias() ? args.bias.f32() : nullptr) {}

    // Of a point of an offset group, counted over images: unit = (image * offset_groups + group) * points + point.
    [[nodiscard]] __device__ Corners corners(std::int64_t unit, std::int64_t place) const {
        const std::int64_t group = unit / s.points();
        return deform::corners_of(s, offset + 2 * group * s.points() * s.places(), unit % s.points(), place);
    }
    [[nodiscard]] __device__ float factor(std::int64_t unit, std::int64_t place) const {
        return mask == nullptr ? 1.0F : mask[unit * s.places() + place];
    }
    [[nodiscard]] __device__ std::int64_t unit_of(std::int64_t image, std::int64_t channel, std::int64_t point) const {
        return (image * s.offset_groups + channel / s.moved_channels()) * s.points() + point;
    }
    [[nodiscard]] __device__ const float* plane(std::int64_t image, std::int64_t channel) const {
        return x + (image * s.channels + channel) * s.pixels();
    }
    [[nodiscard]] __device__ float pixel(const float* plane, const Corners& at, int corner) const {
        return at.pixel[corner] < s.pixels() ? plane[at.pixel[corner]] : 0.0F;
    }
    // Pixels without weight are not read.
    [[nodiscard]] __device__ float sample(const float* plane, const Corners& at, float by) const {
        float part[4];
        for (int k = 0; k < 4; ++k) {
            const float weight = at.weight(k);
            part[k] = weight == 0.0F ? 0.0F : weight * by * pixel(plane, at, k);
        }
        return (part[0] + part[1]) + (part[2] + part[3]);
    }
};

}  // namespace

Status plan(const DeformConv& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = 0;
    return Status();
}

// Sums run over kernel points, then channels, as on the CPU.
Status launch(const DeformConv& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "deform_conv2d";
    Shape s;
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    GD_CHECK(deform::check(op, args, s));
    const Operands in(args, s);
    const std::int64_t places = s.places(), inner = s.group_channels(), filters = s.group_outputs();
    const std::int64_t parts = (filters + kFilters - 1) / kFilters;
    float* out = outputs[0].f32_out();
    for_each(device, s.images * s.groups * parts * places, [=] __device__(std::int64_t at) {
        const std::int64_t place = at % places, part = at / places % parts, group = at / places / parts % s.groups;
        const std::int64_t image = at / places / parts / s.groups, first = group * filters + part * kFilters;
        const std::int64_t left = filters - part * kFilters, mine = left < kFilters ? left : kFilters;
        float sum[kFilters] = {};
        for (std::int64_t point = 0; point < s.points(); ++point) {
            std::int64_t seen = -1;
            Corners corners = {};
            for (std::int64_t c = group * inner; c < (group + 1) * inner; ++c) {
                const std::int64_t unit = in.unit_of(image, c, point);
                if (unit != seen) corners = in.corners(unit, place);
                seen = unit;
                const float value = in.sample(in.plane(image, c), corners, in.factor(unit, place));
                for (std::int64_t o = 0; o < mine; ++o)
                    sum[o] += value * in.weight[((first + o) * inner + c % inner) * s.points() + point];
            }
        }
        for (std::int64_t o = 0; o < mine; ++o) {
            const float shift = in.bias == nullptr ? 0.0F : in.bias[first + o];
            out[(image * s.outputs + first + o) * places + place] = sum[o] + shift;
        }
    });
    return finish(op);
}

Status plan(const DeformConvBackward& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = 0;
    return Status();
}

// Points add their share to the input with atomics: the last bits of that gradient depend on the order of threads. The
// other gradients do not.
Status launch(const DeformConvBackward& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "deform_conv2d_backward";
    Shape s;
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    GD_CHECK(deform::check(op, args.of, s));
    const Operands in(args.of, s);
    const std::int64_t places = s.places(), inner = s.group_channels(), filters = s.group_outputs();
    const float* gradient = args.gradient.f32();
    float *to_x = outputs[0].f32_out(), *to_weight = outputs[1].f32_out(), *to_offset = outputs[2].f32_out();
    float* to_mask = args.of.has_mask() ? outputs[3].f32_out() : nullptr;
    if (outputs[0].bytes() > 0) GD_CHECK(check(op, cudaMemsetAsync(to_x, 0, outputs[0].bytes(), device.stream)));
    for_each(device, s.images * s.offset_groups * s.points() * places, [=] __device__(std::int64_t at) {
        const std::int64_t place = at % places, unit = at / places, point = unit % s.points();
        const std::int64_t image = unit / s.points() / s.offset_groups, moved = unit / s.points() % s.offset_groups;
        const Corners corners = in.corners(unit, place);
        const float factor = in.factor(unit, place);
        float dy = 0.0F, dx = 0.0F, dm = 0.0F;
        for (std::int64_t c = moved * s.moved_channels(); c < (moved + 1) * s.moved_channels(); ++c) {
            const std::int64_t group = c / inner;
            float column = 0.0F;  // the gradient of the sample
            for (std::int64_t o = group * filters; o < (group + 1) * filters; ++o)
                column += in.weight[(o * inner + c % inner) * s.points() + point] *
                          gradient[(image * s.outputs + o) * places + place];
            const float* plane = in.plane(image, c);
            float pixel[4];
            for (int k = 0; k < 4; ++k) {
                pixel[k] = in.pixel(plane, corners, k);
                if (corners.pixel[k] < s.pixels())
                    atomicAdd(&to_x[plane - in.x + corners.pixel[k]], corners.weight(k) * column * factor);
            }
            dy += column * ((pixel[2] - pixel[0]) * (1.0F - corners.right) + (pixel[3] - pixel[1]) * corners.right);
            dx += column * ((pixel[1] - pixel[0]) * (1.0F - corners.down) + (pixel[3] - pixel[2]) * corners.down);
            dm += column * in.sample(plane, corners, 1.0F);
        }
        to_offset[2 * unit * places + place] = factor * dy;
        to_offset[(2 * unit + 1) * places + place] = factor * dx;
        if (to_mask != nullptr) to_mask[at] = dm;
    });
    for_each(device, args.of.weight.dims.count(), [=] __device__(std::int64_t at) {
        const std::int64_t point = at % s.points(), o = at / s.points() / inner;
        const std::int64_t c = o / filters * inner + at / s.points() % inner;
        float sum = 0.0F;
        for (std::int64_t image = 0; image < s.images; ++image) {
            const std::int64_t unit = in.unit_of(image, c, point);
            for (std::int64_t place = 0; place < places; ++place)
                sum += in.sample(in.plane(image, c), in.corners(unit, place), in.factor(unit, place)) *
                       gradient[(image * s.outputs + o) * places + place];
        }
        to_weight[at] = sum;
    });
    return finish(op);
}

}  // namespace graphdet
