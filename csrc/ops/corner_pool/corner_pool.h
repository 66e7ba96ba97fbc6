// The maximum of each pixel and all those on one side of it (Law and Deng 2018, section 3.3).
//
//   x f32[N C H W] · output f32[N C H W]
// `back`: the pixels that come later, else those that come earlier; `across`: along a row, else along a column. A NaN
// makes all that see it NaN. Every size may be 0. No scratch; planes side by side.
#pragma once

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct CornerPool {
    TensorView x;
    bool across = false, back = false;
};

// Gradient of x: each pixel's gradient goes to the pixel that is its maximum, of equal ones to the farthest from where
// the scan began, which is the nearest to the pixel. gradient f32[N C H W] · output f32[N C H W].
struct CornerPoolBackward {
    CornerPool of;
    TensorView gradient;
};

Status plan(const CornerPool& args, Plan& plan);
Status plan(const CornerPoolBackward& args, Plan& plan);

Status launch(const CornerPool& args, const TensorView* outputs, Workspace workspace);
Status launch(const CornerPoolBackward& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const CornerPool& args, Plan& plan, const Device& device);
Status plan(const CornerPoolBackward& args, Plan& plan, const Device& device);

Status launch(const CornerPool& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const CornerPoolBackward& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
