// Panoptic fusion: each pixel of an image to the query that claims it most (Cheng et al. 2021, arXiv:2107.06278,
// sec. 3.4).
//
//   scores   f32[Q] in 0..1
//   labels   i64[Q]
//   things   i64[Q], not 0 for countable things
//   logits   f32[Q h w], a grid of mask logits for each query; h, w > 0 unless Q is 0
//   span     what a grid spans: xyxy in pixels of the image, finite, of positive extent
//   score    queries up to it are left out
//   overlap  least part of its mask that a query must hold
//
// A pixel goes to the query of the largest score times mask probability; of equal ones to the first. A query whose
// pixels are fewer than `overlap` of those where its logit is not negative gives no segment; of the others' pixels
// those where it is not. Queries of one class of stuff make one segment. Logits are interpolated once, bilinearly, rows
// first, in float32; cells at the edge of a grid go on beyond it. NaN logits claim nothing. Time: height * width for
// each query above `score`. Allocates its results.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan.h"

namespace graphdet {

struct FuseSegments {
    TensorView scores, labels, things, logits;
    float span[4] = {};
    std::int64_t height = 0, width = 0;
    float score = 0.8F;
    double overlap = 0.8;
};

// `map` has the id of each pixel's segment, height * width, row by row; 0 belongs to none. Ids are places in `labels`,
// `things` (0 or 1) and `areas` (pixels), from 1, in the order of queries.
struct FusedSegments {
    std::vector<std::int32_t> map;
    std::vector<std::int64_t> labels, things, areas;
};

Status fuse_segments(const FuseSegments& args, FusedSegments& found);

}  // namespace graphdet
