// Content-aware upsampling (Wang et al. 2019): each output pixel is a weighted sum of a window of the input.
//
//   x f32[N C H W] · kernels f32[N groups*size*size H*scale W*scale], channels (group, row, column) · output
//   f32[N C H*scale W*scale]
// The window lies around the input pixel that the output pixel falls in, with zeros around the map; pixels outside are
// not read. `size` is odd; `groups` divides C. N, H, W may be 0. Every sum has one fixed order: the number of threads
// changes no bit. Scratch: for each thread 16 channels of the map and of the result; backward, partial sums for the
// kernels.
#pragma once

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct Carafe {
    TensorView x, kernels;
    std::int64_t size = 5, groups = 1, scale = 2;
};

// Gradients of x and of kernels, in this order. gradient f32[N C H*scale W*scale].
struct CarafeBackward {
    Carafe of;
    TensorView gradient;
};

Status plan(const Carafe& args, Plan& plan);
Status plan(const CarafeBackward& args, Plan& plan);

Status launch(const Carafe& args, const TensorView* outputs, Workspace workspace);
Status launch(const CarafeBackward& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const Carafe& args, Plan& plan, const Device& device);
Status plan(const CarafeBackward& args, Plan& plan, const Device& device);

Status launch(const Carafe& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const CarafeBackward& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
