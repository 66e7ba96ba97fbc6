// Sigmoid focal loss (Lin et al. 2017, eq. 5), summed over classes: -alpha_t (1 - p_t)^gamma log p_t.
//
//   logits f32[N A C] · labels i64[N A]: the class, C for background, -1 for rows that count nothing · output f32[N A]
//
// Any other label is background. A NaN logit makes its row's loss NaN. Every size may be 0. Each row is summed in one
// fixed order: the number of threads changes no bit. No scratch.
#pragma once

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct FocalLoss {
    TensorView logits, labels;
    float alpha = 0.25F, gamma = 2.0F;  // gamma >= 0
};

// Gradient of the logits. gradient f32[N A] · output f32[N A C]. A row labelled -1 has none, whatever its logits are.
struct FocalLossBackward {
    FocalLoss of;
    TensorView gradient;
};

Status plan(const FocalLoss& args, Plan& plan);
Status plan(const FocalLossBackward& args, Plan& plan);

Status launch(const FocalLoss& args, const TensorView* outputs, Workspace workspace);
Status launch(const FocalLossBackward& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const FocalLoss& args, Plan& plan, const Device& device);
Status plan(const FocalLossBackward& args, Plan& plan, const Device& device);

Status launch(const FocalLoss& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const FocalLossBackward& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
