// Box arithmetic, row by row: decode, clip, change of frame. Coordinates are continuous, width = x2 - x1, no +1
// conventions. NaN in a row stays in that row. N or K may be 0. Each op yields one output f32[N K 4], xyxy, which may
// alias its `deltas`, `raw`, `distances` or `boxes` operand.
#pragma once

#include <array>

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

// Centre and size deltas against anchors (Girshick et al. 2014, appendix C).
//   anchors  f32[N K 4], or f32[K 4] shared by all images; xyxy
//   deltas   f32[N K 4]: (dx, dy, dw, dh), each d * std + mean before use
// centre = anchor centre + (dx, dy) * anchor size; size = anchor size * exp(dw, dh), dw and dh within
// +-|log(max_ratio)|.
struct DecodeDeltas {
    TensorView anchors;
    TensorView deltas;
    std::array<float, 4> means = {0.0F, 0.0F, 0.0F, 0.0F};
    std::array<float, 4> stds = {1.0F, 1.0F, 1.0F, 1.0F};
    double max_ratio = 16.0 / 1000.0;  // > 0
};

// Anchor-free cells (YOLOX).
//   points  f32[N K 4], or f32[K 4] shared by all images: (x, y, stride_x, stride_y)
//   raw     f32[N K 4]: centre = raw_xy * stride + xy, size = exp(raw_wh) * stride
struct DecodePoints {
    TensorView points;
    TensorView raw;
};

// Points and the distances to the four sides.
//   points     f32[N K 4], or f32[K 4] shared by all images: (x, y, ...)
//   distances  f32[N K 4]: left, top, right, bottom
struct DecodeDistances {
    TensorView points;
    TensorView distances;
};

// Corners moved into [0, w] x [0, h] of their image.  boxes f32[N K 4] · size f32[N 2]: (h, w)
struct ClipBoxes {
    TensorView boxes;
    TensorView size;
};

// From the network frame to original pixels: (xyxy - offset) / scale.
//   boxes f32[N K 4] · geometry f32[N 4]: (scale_x, scale_y, offset_x, offset_y)
struct ToImage {
    TensorView boxes;
    TensorView geometry;
};

Status plan(const DecodeDeltas& args, Plan& plan);
Status plan(const DecodePoints& args, Plan& plan);
Status plan(const DecodeDistances& args, Plan& plan);
Status plan(const ClipBoxes& args, Plan& plan);
Status plan(const ToImage& args, Plan& plan);

Status launch(const DecodeDeltas& args, const TensorView* outputs, Workspace workspace);
Status launch(const DecodePoints& args, const TensorView* outputs, Workspace workspace);
Status launch(const DecodeDistances& args, const TensorView* outputs, Workspace workspace);
Status launch(const ClipBoxes& args, const TensorView* outputs, Workspace workspace);
Status launch(const ToImage& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const DecodeDeltas& args, Plan& plan, const Device& device);
Status plan(const DecodePoints& args, Plan& plan, const Device& device);
Status plan(const DecodeDistances& args, Plan& plan, const Device& device);
Status plan(const ClipBoxes& args, Plan& plan, const Device& device);
Status plan(const ToImage& args, Plan& plan, const Device& device);

Status launch(const DecodeDeltas& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const DecodePoints& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const DecodeDistances& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const ClipBoxes& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const ToImage& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
