// Greedy non-maximum suppression, image by image.
//
//   boxes   f32[N K 4] xyxy · scores f32[N K] · labels i64[N K]
//   keep    >= 0: at most so many boxes an image, 0 = all; M = K if keep == 0 else min(keep, K)
//   outputs boxes f32[N M 4], scores f32[N M], labels i64[N M], count i64[N]; rows past count: boxes 0, score 0, label
//   -1
//
// A candidate passes when score > score_threshold and its box has positive width and height; NaN never passes. Rank:
// score descending, ties lower index first. A candidate is suppressed when a kept box of higher rank with the same label
// (any label if agnostic) has IoU > iou_threshold with it. IoU = intersection / (area + area - intersection) in float32.
// Deterministic.
// Time: O(K log K + kept * K per label); the walk ends as soon as `keep` boxes are kept.
#pragma once

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct Nms {
    TensorView boxes;
    TensorView scores;
    TensorView labels;
    float score_threshold = 0.0F;
    float iou_threshold = 0.0F;
    std::int64_t keep = 0;
    bool agnostic = false;
};

Status plan(const Nms& args, Plan& plan);
Status launch(const Nms& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const Nms& args, Plan& plan, const Device& device);
Status launch(const Nms& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
