// Convolution whose kernel points are moved by offsets (Dai et al. 2017) and weighed by a mask (Zhu et al. 2019).
//
//   x f32[N C H W] · weight f32[O C/groups K L] · offset f32[N 2*offset_groups*K*L P Q], channels (group, point, (dy,
//   dx)) in input pixels · mask f32[N offset_groups*K*L P Q] · bias f32[O] · output f32[N O P Q], where P and Q are
//   those of an ordinary convolution
//
// Bilinear samples between pixel centres, zeros around the map. A point with an infinite or NaN coordinate reads 0 and
// has no gradient. Pixels that a point does not reach are not read, so their NaN does not spread. N, H, W and O may be
// 0. Every sum has one fixed order: the number of threads changes no bit.
//
// Time: images one after the other; the map is laid out with channels innermost, and blocks of output pixels are
// sampled and multiplied while they are in cache. Scratch: the map once, the weights once (backward: twice), and a
// block a thread.
#pragma once

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct DeformConv {
    TensorView x, weight, offset;
    TensorView mask, bias;  // as they are here: absent
    std::int64_t stride = 1, padding = 0, dilation = 1, groups = 1, offset_groups = 1;

    [[nodiscard]] bool has_mask() const { return mask.dims.rank != 0 || mask.data != nullptr; }
    [[nodiscard]] bool has_bias() const { return bias.dims.rank != 0 || bias.data != nullptr; }
};

// Gradients of all operands but the bias, whose gradient is the sum of `gradient` over images and pixels.
//   gradient f32[N O P Q] · outputs as x, weight, offset, and, where there is one, mask
struct DeformConvBackward {
    DeformConv of;  // the bias is not used
    TensorView gradient;
};

Status plan(const DeformConv& args, Plan& plan);
Status plan(const DeformConvBackward& args, Plan& plan);

Status launch(const DeformConv& args, const TensorView* outputs, Workspace workspace);
Status launch(const DeformConvBackward& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const DeformConv& args, Plan& plan, const Device& device);
Status plan(const DeformConvBackward& args, Plan& plan, const Device& device);

Status launch(const DeformConv& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const DeformConvBackward& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
