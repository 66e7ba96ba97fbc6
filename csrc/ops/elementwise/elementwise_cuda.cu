#include "core/activation.h"
#include "cuda/cuda.h"
#include "ops/elementwise/elementwise.h"

namespace graphdet {

namespace {

using namespace cuda;

// How to find an element of a stretched operand: elements to step when a dimension of the result advances.
struct Strides {
    std::int64_t step[Dims::kMaxRank] = {};

    Strides(const Dims& x, const Dims& out) {
        for (int i = out.rank - x.rank; i < out.rank; ++i) {
            const int own = i - (out.rank - x.rank);
            step[i] = x[own] == 1 ? 0 : x.count(own + 1, x.rank);
        }
    }
};

struct Extent {
    std::int64_t size[Dims::kMaxRank] = {};
    int rank = 0;

    // Where element `at` of the result lies in an operand.
    __device__ std::int64_t place(std::int64_t at, const Strides& strides) const {
        std::int64_t found = 0;
        for (int i = rank - 1; i >= 0; --i) {
            found += at % size[i] * strides.step[i];
            at /= size[i];
        }
        return found;
    }
};

}  // namespace

Status plan(const Concat& args, Plan& needed, const Device&) { return plan(args, needed); }
Status plan(const Sigmoid& args, Plan& needed, const Device&) { return plan(args, needed); }
Status plan(const Mul& args, Plan& needed, const Device&) { return plan(args, needed); }

Status launch(const Concat& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "concat";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const Dims& joined = needed.outputs[0].dims;
    const int axis = args.axis < 0 ? args.axis + joined.rank : args.axis;
    const auto outer = static_cast<std::size_t>(joined.count(0, axis));
    const std::size_t unit = bytes_of(outputs[0].dtype) * static_cast<std::size_t>(joined.count(axis + 1, joined.rank));
    const std::size_t pitch = unit * static_cast<std::size_t>(joined[axis]);
    auto* out = static_cast<char*>(outputs[0].data);
    for (const TensorView& x : args.xs) {
        const std::size_t width = unit * static_cast<std::size_t>(x.dims[axis]);
        if (width == 0 || outer == 0) continue;
        GD_CHECK(check(
            op, cudaMemcpy2DAsync(out, pitch, x.data, width, width, outer, cudaMemcpyDeviceToDevice, device.stream)));
        out += width;
    }
    return finish(op);
}

Status launch(const Sigmoid& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "sigmoid";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const float* x = args.x.f32();
    float* out = outputs[0].f32_out();
    for_each(device, args.x.dims.count(), [=] __device__(std::int64_t i) { out[i] = sigmoid_of(x[i]); });
    return finish(op);
}

Status launch(const Mul& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "mul";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const Dims& joint = needed.outputs[0].dims;
    Extent extent;
    extent.rank = joint.rank;
    for (int i = 0; i < joint.rank; ++i) extent.size[i] = joint[i];
    const Strides a_steps(args.a.dims, joint), b_steps(args.b.dims, joint);
    const float *a = args.a.f32(), *b = args.b.f32();
    float* out = outputs[0].f32_out();
    for_each(device, joint.count(),
             [=] __device__(std::int64_t i) { out[i] = a[extent.place(i, a_steps)] * b[extent.place(i, b_steps)]; });
    return finish(op);
}

}  // namespace graphdet
