// Predicted masks of boxes, put into their image: one bilinear interpolation, inside the boxes only.
//
//   masks      f32[N K h w], one small grid of probabilities for each box; h, w > 0 unless N K is 0
//   boxes      f32[N K 4], xyxy in pixels of the image
//   count      i64[N]; rows of an image past it are padding, their bitmaps stay empty
//   threshold  a pixel is painted where the interpolated value >= threshold; NaN never is
//   output     u8[N K height width] of 0 and 1
//
// A pixel belongs to a box when its centre (x + 0.5, y + 0.5) lies in it: x1 <= centre < x2. The grid spans the box,
// cell centres at +0.5, and is 0 outside, so values fade towards the border by up to half a cell (as grid sampling with
// zero padding does). Boxes that are empty, or have a NaN or infinite corner, paint nothing. Columns are interpolated
// first, then rows, in float32. Time: proportional to the area of the boxes, plus the clearing of the output.
//
// `paste_runs` gives the same masks run-length encoded without making full bitmaps.
#pragma once

#include <vector>

#include "core/device.h"
#include "core/plan.h"
#include "ops/rle/rle.h"

namespace graphdet {

struct PasteMasks {
    TensorView masks;
    TensorView boxes;
    TensorView count;
    std::int64_t height = 0, width = 0;
    float threshold = 0.5F;
};

Status plan(const PasteMasks& args, Plan& plan);
Status launch(const PasteMasks& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const PasteMasks& args, Plan& plan, const Device& device);
Status launch(const PasteMasks& args, const TensorView* outputs, Workspace workspace, const Device& device);

// runs[n * K + k]; padding rows are empty masks. Allocates its results.
Status paste_runs(const PasteMasks& args, std::vector<Runs>& runs);

}  // namespace graphdet
