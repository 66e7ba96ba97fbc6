// Multi-scale deformable attention (Zhu et al. 2021, eq. 3): per head, a weighted sum of values sampled where the
// network says.
//
//   value f32[N S heads D]: the cells of all levels, row-major, one level after the other
//   levels f32[N C H_l W_l]: of these maps only height and width are read; the H_l * W_l add up to S
//   locations f32[N Q heads levels P 2]: (x, y) relative to the map, pixel centres at (i + 0.5) / size
//   weights f32[N Q heads levels P] · output f32[N Q heads*D]
//
// Bilinear samples, zeros around the map. A point with an infinite or NaN coordinate reads 0 and has no gradient. Every
// size but heads and D may be 0. Every sum has one fixed order: the number of threads changes no bit.
//
// Time: forward, queries side by side; backward, a head of an image a thread. No scratch.
#pragma once

#include <array>

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct DeformAttention {
    static constexpr int kMaxLevels = 8;

    TensorView value, locations, weights;
    std::array<std::array<std::int64_t, 2>, kMaxLevels> levels = {};  // height, width
    int level_count = 0;
};

// Gradients of value, locations and weights, in this order. gradient f32[N Q heads*D].
struct DeformAttentionBackward {
    DeformAttention of;
    TensorView gradient;
};

Status plan(const DeformAttention& args, Plan& plan);
Status plan(const DeformAttentionBackward& args, Plan& plan);

Status launch(const DeformAttention& args, const TensorView* outputs, Workspace workspace);
Status launch(const DeformAttentionBackward& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const DeformAttention& args, Plan& plan, const Device& device);
Status plan(const DeformAttentionBackward& args, Plan& plan, const Device& device);

Status launch(const DeformAttention& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const DeformAttentionBackward& args, const TensorView* outputs, Workspace workspace,
              const Device& device);

}  // namespace graphdet
