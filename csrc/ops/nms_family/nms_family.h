// Relatives of greedy non-maximum suppression, image by image, with the operands and padded outputs of `nms`.
//
//   boxes   f32[N K 4] xyxy · scores f32[N K] · labels i64[N K]
//   keep    >= 0: at most so many boxes an image, 0 = all; M = K if keep == 0 else min(keep, K)
//   outputs boxes f32[N M 4], scores f32[N M], labels i64[N M], count i64[N]; rows past count: boxes 0, score 0, label
//   -1
//
// A candidate has score > score_threshold and positive width and height; NaN never passes. Boxes of different labels do
// not see each other unless `agnostic`. Rank: score descending, ties lower index first. IoU as in `nms`. Deterministic.
// Time: O(K * K), whatever the boxes.
#pragma once

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct Candidates {
    TensorView boxes;
    TensorView scores;
    TensorView labels;
    float score_threshold = 0.0F;
    std::int64_t keep = 0;
    bool agnostic = false;
};

enum class Decay { linear, gaussian };

// Soft-NMS (Bodla et al. 2017): the best remaining box is taken, and the scores of the others shrink by their IoU with
// it: linear: * (1 - IoU) where IoU > iou_threshold; gaussian: * exp(-IoU^2 / sigma). A box whose score no longer
// exceeds score_threshold is dropped. Output scores are the shrunken ones, in the order in which boxes were taken.
struct SoftNms : Candidates {
    float iou_threshold = 0.3F;
    Decay decay = Decay::linear;
    float sigma = 0.5F;  // > 0
};

// Matrix NMS (Wang et al. 2020, SOLOv2): each score is multiplied once by the smallest, over boxes i of higher rank, of
// f(IoU with i) / f(largest IoU of i with a box of higher rank than i), at most 1; f(x) = exp(-sigma x^2) or 1 - x. For
// 1 - x, a box i that coincides with one of higher rank is left out. Boxes whose new score exceeds score_threshold are
// returned, by new score, ties by index.
struct MatrixNms : Candidates {
    Decay decay = Decay::gaussian;
    float sigma = 2.0F;  // > 0
};

// Fast NMS (Bolya et al. 2019, YOLACT): a box is dropped when any box of higher rank, dropped or not, has IoU >
// iou_threshold with it.
struct FastNms : Candidates {
    float iou_threshold = 0.5F;
};

Status plan(const SoftNms& args, Plan& plan);
Status plan(const MatrixNms& args, Plan& plan);
Status plan(const FastNms& args, Plan& plan);

Status launch(const SoftNms& args, const TensorView* outputs, Workspace workspace);
Status launch(const MatrixNms& args, const TensorView* outputs, Workspace workspace);
Status launch(const FastNms& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const SoftNms& args, Plan& plan, const Device& device);
Status plan(const MatrixNms& args, Plan& plan, const Device& device);
Status plan(const FastNms& args, Plan& plan, const Device& device);

Status launch(const SoftNms& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const MatrixNms& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const FastNms& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
