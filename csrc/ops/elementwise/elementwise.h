// Joins and element-wise arithmetic between dense segments. Empty tensors are normal inputs; NaN follows IEEE
// arithmetic.
#pragma once

#include <vector>

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

// Tensors joined along one axis.
//   xs    one or more, all f32 or all i64, same rank >= 1, same sizes except along `axis`
//   axis  -rank <= axis < rank
struct Concat {
    std::vector<TensorView> xs;
    int axis = 0;
};

// 1 / (1 + e^-x), any shape f32. The output may alias x.
struct Sigmoid {
    TensorView x;
};

// a * b, f32, with NumPy broadcasting: sizes are aligned at the last dimension, and 1 stretches.
struct Mul {
    TensorView a;
    TensorView b;
};

Status plan(const Concat& args, Plan& plan);
Status plan(const Sigmoid& args, Plan& plan);
Status plan(const Mul& args, Plan& plan);

Status launch(const Concat& args, const TensorView* outputs, Workspace workspace);
Status launch(const Sigmoid& args, const TensorView* outputs, Workspace workspace);
Status launch(const Mul& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const Concat& args, Plan& plan, const Device& device);
Status plan(const Sigmoid& args, Plan& plan, const Device& device);
Status plan(const Mul& args, Plan& plan, const Device& device);

Status launch(const Concat& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const Sigmoid& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const Mul& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
