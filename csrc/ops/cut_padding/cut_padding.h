// Padded boxes in as few rows as hold those that exist.
//
//   boxes   f32[N K 4]
//   labels  i64[N K]
//   count   i64[N], how many rows of each image exist; more than K counts as K
//   output  f32[N R 4], i64[N R], the first R rows of each image
//
// R is the first of `steps` that is no less than any count, and never more than K; K where no step is large enough. N, K
// may be 0.
#pragma once

#include <vector>

#include "core/plan.h"

namespace graphdet {

struct CutPadding {
    TensorView boxes;
    TensorView labels;
    TensorView count;
    std::vector<std::int64_t> steps;  // ascending
};

// Reads the counts: sizes of the results depend on them.
Status plan(const CutPadding& args, Plan& plan);

Status launch(const CutPadding& args, const TensorView* outputs, Workspace workspace);

}  // namespace graphdet
