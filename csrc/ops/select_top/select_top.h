// Top-k of the flattened (row, class) entries of each image whose score exceeds a threshold.
//
//   scores     f32[N A C]   logits when activation is sigmoid
//   threshold  >= 0, so that -1 can mark padding
//   k          >= 0; K = min(k, A*C)
//   outputs    scores f32[N K], labels i64[N K] (class), index i64[N K] (row)
//
// Order: activated score descending, ties lower flat index first. An entry passes when activated score > threshold; NaN
// never does. Rows beyond the survivors: score -1, label 0, index 0. Images are independent. A, C, N or k may be 0. The
// workspace grows with k, not with A*C. Only entries that can still enter the top k are activated.
#pragma once

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct SelectTop {
    enum class Activation { none, sigmoid };

    TensorView scores;
    float threshold = 0.0F;
    std::int64_t k = 0;
    Activation activation = Activation::none;
};

Status plan(const SelectTop& args, Plan& plan);
Status launch(const SelectTop& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const SelectTop& args, Plan& plan, const Device& device);
Status launch(const SelectTop& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
