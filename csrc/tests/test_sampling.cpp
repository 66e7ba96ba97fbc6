// Kernels of sampling and windows on odd shapes: they stay inside outputs and workspace, which are exactly as large as
// planned, and the number of threads changes no bit. What they compute is tested from Python.
#include <cstdlib>
#include <vector>

#include "core/parallel.h"
#include "ops/carafe/carafe.h"
#include "ops/corner_pool/corner_pool.h"
#include "ops/deform_attention/deform_attention.h"
#include "ops/deform_conv/deform_conv.h"
#include "ops/focal/focal.h"
#include "ops/masked_conv/masked_conv.h"
#include "ops/roi/roi.h"
#include "tests/check.h"

namespace graphdet::tests {

namespace {

// Numbers between -2 and 2 that are the same in every run.
struct Numbers {
    std::vector<float> data;
    TensorView view;

    explicit Numbers(std::initializer_list<std::int64_t> sizes, float scale = 2.0F) {
        view.dims = Dims(sizes);
        data.resize(static_cast<std::size_t>(view.dims.count()));
        std::uint32_t state = 12345U + static_cast<std::uint32_t>(data.size());
        for (float& x : data) {
            state = state * 1664525U + 1013904223U;
            x = (static_cast<float>(state >> 8) / static_cast<float>(1U << 23) - 1.0F) * scale;
        }
        view.data = data.data();
    }
};

struct Aligned {
    explicit Aligned(std::size_t bytes) : data(std::aligned_alloc(Workspace::kAlign, bytes)) {}
    ~Aligned() { std::free(data); }
    Aligned(const Aligned&) = delete;
    Aligned& operator=(const Aligned&) = delete;
    void* data;
};

template <class Args>
std::vector<std::vector<float>> results(const Args& args, int count) {
    set_threads(count);
    Plan needed;
    const Status planned = plan(args, needed);
    CHECK(planned.ok());
    std::vector<std::vector<float>> made;
    TensorView outputs[Plan::kMaxOutputs];
    for (int i = 0; i < needed.count; ++i) made.emplace_back(static_cast<std::size_t>(needed.outputs[i].dims.count()));
    for (int i = 0; i < needed.count; ++i)
        outputs[i] = {made[static_cast<std::size_t>(i)].data(), DType::f32, needed.outputs[i].dims};
    const Aligned scratch(needed.workspace);
    const Status launched = launch(args, outputs, Workspace(scratch.data, needed.workspace));
    CHECK(launched.ok());
    set_threads(0);
    return made;
}

template <class Args>
void check(const Args& args) {
    const auto alone = results(args, 1);
    CHECK(!alone.empty());
    CHECK(results(args, 3) == alone);
}

}  // namespace

GD_TEST(deform_conv_kernels) {
    for (const std::int64_t channels : {2, 20, 34}) {
        const Numbers x({2, channels, 7, 9}), weight({5, channels, 3, 2}), gradient({2, 5, 4, 5});
        const Numbers offset({2, 2 * 2 * 6, 4, 5}, 9.0F), mask({2, 2 * 6, 4, 5}), bias({5});
        DeformConv args = {x.view, weight.view, offset.view, mask.view, bias.view, 2, 1, 1, 1, 2};
        check(args);
        check(DeformConvBackward{args, gradient.view});
        args.mask = args.bias = TensorView();
        check(args);
        check(DeformConvBackward{args, gradient.view});
    }
    const Numbers x({1, 6, 5, 5}), weight({9, 2, 1, 1}), offset({1, 4, 5, 5}), gradient({1, 9, 5, 5});
    const DeformConv grouped = {x.view, weight.view, offset.view, TensorView(), TensorView(), 1, 0, 1, 3, 2};
    check(grouped);
    check(DeformConvBackward{grouped, gradient.view});
}

GD_TEST(deform_attention_kernels) {
    const Numbers value({2, 23, 3, 19}), locations({2, 4, 3, 2, 3, 2}, 1.5F), weights({2, 4, 3, 2, 3});
    const Numbers gradient({2, 4, 57});
    const DeformAttention args = {value.view, locations.view, weights.view, {{{3, 5}, {2, 4}}}, 2};
    check(args);
    check(DeformAttentionBackward{args, gradient.view});
}

GD_TEST(window_kernels) {
    const Numbers x({2, 36, 5, 3}), kernels({2, 18, 10, 6}), gradient({2, 36, 10, 6});
    const Carafe carafe = {x.view, kernels.view, 3, 2, 2};
    check(carafe);
    check(CarafeBackward{carafe, gradient.view});
    for (const bool across : {false, true}) {
        for (const bool back : {false, true}) {
            check(CornerPool{x.view, across, back});
            check(CornerPoolBackward{{x.view, across, back}, x.view});
        }
    }
    const Numbers weight({18, 36, 3, 3}), mask({2, 5, 3});
    check(MaskedConv{x.view, weight.view, mask.view, TensorView(), 1, 1});
}

GD_TEST(focal_kernels) {
    const Numbers logits({2, 5, 19}, 90.0F), gradient({2, 5});
    std::vector<std::int64_t> labels = {0, 18, 19, -1, 3, -7, 99, 1, 2, 3};
    const TensorView view = {labels.data(), DType::i64, {2, 5}};
    const FocalLoss args = {logits.view, view, 0.25F, 1.5F};
    check(args);
    check(FocalLossBackward{args, gradient.view});
}

GD_TEST(roi_kernels) {
    const Numbers features({2, 19, 6, 7}), gradient({4, 19, 3, 2});
    Numbers rois({4, 5}, 20.0F);
    for (std::size_t i = 0; i < 4; ++i) rois.data[5 * i] = static_cast<float>(i % 2);
    const RoiGrid grid = {3, 2, 0, true};
    check(RoiAlign{features.view, rois.view, grid, 0.5F});
    check(RoiAlignBackward{gradient.view, rois.view, 2, 6, 7, grid, 0.5F});
    check(RoiPool{features.view, rois.view, grid, 0.5F});
    check(RoiPoolBackward{{features.view, rois.view, grid, 0.5F}, gradient.view});
}

}  // namespace graphdet::tests
