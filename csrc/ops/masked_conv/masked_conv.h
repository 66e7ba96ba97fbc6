// A convolution where a mask exceeds 0, and 0 elsewhere: only those output pixels are computed.
//
//   x f32[N C H W] · weight f32[O C K L] · mask f32[N P Q] · bias f32[O] · output f32[N O P Q], where P and Q are those
//   of an ordinary convolution
// A NaN in the mask does not exceed 0. C > 0; every other size but K and L may be 0. Every sum has one fixed order: the
// number of threads changes no bit. There is no gradient: detectors that have masks train without them, on the ordinary
// convolution (guided anchoring). Scratch: one map, the weights, and a block a thread.
#pragma once

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct MaskedConv {
    TensorView x, weight, mask;
    TensorView bias;  // as it is here: absent
    std::int64_t stride = 1, padding = 0;
};

Status plan(const MaskedConv& args, Plan& plan);
Status launch(const MaskedConv& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const MaskedConv& args, Plan& plan, const Device& device);
Status launch(const MaskedConv& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
