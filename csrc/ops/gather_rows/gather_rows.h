// Rows of a table, picked by index, image by image.
//
//   x       f32[N A D], or f32[A D] shared by all images
//   index   i64[N K], each in [0, A); anything else is an error that names the place
//   output  f32[N K D]
//
// N, K or D may be 0; A may be 0 only when no row is asked for.
#pragma once

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct GatherRows {
    TensorView x;
    TensorView index;
};

// Entries of a row, picked by index, image by image.
//
//   x       f32[N A]
//   index   i64[N K], as above
//   output  f32[N K]
struct Gather {
    TensorView x;
    TensorView index;
};

Status plan(const GatherRows& args, Plan& plan);
Status plan(const Gather& args, Plan& plan);

Status launch(const GatherRows& args, const TensorView* outputs, Workspace workspace);
Status launch(const Gather& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const GatherRows& args, Plan& plan, const Device& device);
Status plan(const Gather& args, Plan& plan, const Device& device);

Status launch(const GatherRows& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const Gather& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
