#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/activation.h"
#include "core/check.h"
#include "ops/elementwise/elementwise.h"

namespace graphdet {

namespace {

Status expect_f32(const char* op, const char* operand, const TensorView& x) {
    return require(x.dtype == DType::f32, op, ": ", operand, " is ", text_of(x.dtype, x.dims), ", expected f32");
}

// Elements to step in `x` when dimension `i` of `out` advances: 0 where x is stretched or lacks the dimension.
std::int64_t stride_in(const Dims& x, const Dims& out, int i) {
    const int own = i - (out.rank - x.rank);
    return own < 0 || x[own] == 1 ? 0 : x.count(own + 1, x.rank);
}

template <class StepA, class StepB>
void mul_run(const float* a, StepA step_a, const float* b, StepB step_b, float* out, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = a[i * step_a] * b[i * step_b];
}

template <std::int64_t n>
using Step = std::integral_constant<std::int64_t, n>;

// Innermost dimension. Steps are 0 or 1 and known at compile time, so that each form vectorises.
void mul_inner(const float* a, std::int64_t step_a, const float* b, std::int64_t step_b, float* out, std::int64_t n) {
    if (step_a == 1 && step_b == 1) return mul_run(a, Step<1>(), b, Step<1>(), out, n);
    if (step_a == 1) return mul_run(a, Step<1>(), b, Step<0>(), out, n);
    if (step_b == 1) return mul_run(a, Step<0>(), b, Step<1>(), out, n);
    return mul_run(a, Step<0>(), b, Step<0>(), out, n);
}

void mul_dim(const TensorView& a, const TensorView& b, const Dims& out_dims, int dim, const float* pa, const float* pb,
             float* out) {
    const std::int64_t step_a = stride_in(a.dims, out_dims, dim), step_b = stride_in(b.dims, out_dims, dim);
    if (dim == out_dims.rank - 1) return mul_inner(pa, step_a, pb, step_b, out, out_dims[dim]);
    const std::int64_t step_out = out_dims.count(dim + 1, out_dims.rank);
    for (std::int64_t i = 0; i < out_dims[dim]; ++i) {
        mul_dim(a, b, out_dims, dim + 1, pa + i * step_a, pb + i * step_b, out + i * step_out);
    }
}

}  // namespace

Status plan(const Concat& args, Plan& plan) {
    constexpr const char* op = "concat";
    GD_CHECK(require(!args.xs.empty(), op, ": found no operand, expected at least one"));
    const TensorView& first = args.xs[0];
    const int rank = first.dims.rank;
    GD_CHECK(require(args.axis >= -rank && args.axis < rank, op, ": axis is ", args.axis, ", expected -", rank,
                     " <= axis < ", rank));
    const int axis = args.axis < 0 ? args.axis + rank : args.axis;
    Dims joined = first.dims;
    joined[axis] = 0;
    for (std::size_t i = 0; i < args.xs.size(); ++i) {
        const TensorView& x = args.xs[i];
        Dims like = first.dims;
        if (x.dims.rank == rank) like[axis] = x.dims[axis];
        GD_CHECK(require(x.dtype == first.dtype && x.dims == like, op, ": operand ", i, " is ",
                         text_of(x.dtype, x.dims), ", expected it to equal ", text_of(first.dtype, first.dims),
                         " except in dimension ", axis));
        joined[axis] += x.dims[axis];
    }
    plan.add(first.dtype, joined);
    return Status();
}

Status launch(const Concat& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("concat", needed, outputs, workspace));
    const Dims& joined = needed.outputs[0].dims;
    const int axis = args.axis < 0 ? args.axis + joined.rank : args.axis;
    const std::size_t unit =
        bytes_of(needed.outputs[0].dtype) * static_cast<std::size_t>(joined.count(axis + 1, joined.rank));
    const std::int64_t outer = joined.count(0, axis);
    auto* out = static_cast<char*>(outputs[0].data);
    for (std::int64_t o = 0; o < outer; ++o) {
        for (const TensorView& x : args.xs) {
            const std::size_t bytes = unit * static_cast<std::size_t>(x.dims[axis]);
            if (bytes == 0) continue;
            std::memcpy(out, static_cast<const char*>(x.data) + static_cast<std::size_t>(o) * bytes, bytes);
            out += bytes;
        }
    }
    return Status();
}

Status plan(const Sigmoid& args, Plan& plan) {
    GD_CHECK(expect_f32("sigmoid", "x", args.x));
    plan.add(DType::f32, args.x.dims);
    return Status();
}

Status launch(const Sigmoid& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("sigmoid", needed, outputs, workspace));
    std::transform(args.x.f32(), args.x.f32() + args.x.dims.count(), outputs[0].f32_out(),
                   [](float x) { return sigmoid_of(x); });
    return Status();
}

Status plan(const Mul& args, Plan& plan) {
    GD_CHECK(expect_f32("mul", "a", args.a));
    GD_CHECK(expect_f32("mul", "b", args.b));
    const Dims &a = args.a.dims, &b = args.b.dims;
    Dims joint;
    joint.rank = std::max(a.rank, b.rank);
    for (int i = 0; i < joint.rank; ++i) {
        const int ia = i - (joint.rank - a.rank), ib = i - (joint.rank - b.rank);
        const std::int64_t sa = ia < 0 ? 1 : a[ia], sb = ib < 0 ? 1 : b[ib];
        GD_CHECK(require(sa == sb || sa == 1 || sb == 1, "mul: a is ", text_of(DType::f32, a), ", b is ",
                         text_of(DType::f32, b), ", expected sizes that are equal or 1"));
        joint[i] = sa == 1 ? sb : sa;
    }
    plan.add(DType::f32, joint);
    return Status();
}

Status launch(const Mul& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    GD_CHECK(fits("mul", needed, outputs, workspace));
    const Dims& out = needed.outputs[0].dims;
    if (out.count() == 0) return Status();
    if (args.a.dims == args.b.dims) {
        mul_inner(args.a.f32(), 1, args.b.f32(), 1, outputs[0].f32_out(), out.count());
    } else {
        mul_dim(args.a, args.b, out, 0, args.a.f32(), args.b.f32(), outputs[0].f32_out());
    }
    return Status();
}

}  // namespace graphdet
