// Overlap of each box of one set with each of another, image by image.
//
//   a f32[N A 4], b f32[N B 4], xyxy · output f32[N A B]
//
// IoU = intersection / union; generalised IoU (Rezatofighi et al. 2019) = IoU - (hull - union) / hull, hull being the
// smallest box around both. Negative sizes count as 0. Where the union, or the hull, is 0 or NaN, the quotient counts
// as 0: pairs with a NaN box yield 0. N, A, B may be 0.
#pragma once

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct PairwiseIou {
    TensorView a;
    TensorView b;
    bool generalised = false;
};

Status plan(const PairwiseIou& args, Plan& plan);
Status launch(const PairwiseIou& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const PairwiseIou& args, Plan& plan, const Device& device);
Status launch(const PairwiseIou& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
