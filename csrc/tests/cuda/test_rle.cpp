// Run-length codes on a GPU as a C++ caller has them: tensors of ends. Their values are tested from Python.
#include <algorithm>
#include <memory>
#include <vector>

#include "cuda/cuda.h"
#include "ops/rle/rle.h"
#include "tests/check.h"

namespace graphdet {

namespace {

// Device memory with these values.
template <class T>
std::shared_ptr<T> held(const std::vector<T>& values) {
    void* data = nullptr;
    CHECK(cudaMalloc(&data, std::max<std::size_t>(values.size() * sizeof(T), 1)) == cudaSuccess);
    cudaMemcpyAsync(data, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice, nullptr);
    return std::shared_ptr<T>(static_cast<T*>(data), [](T* memory) { cudaFree(memory); });
}

using Found = std::vector<std::vector<std::int64_t>>;

// What a launch gives, element by element.
template <class Args>
Status run(const Args& args, Found& found) {
    Plan needed;
    GD_CHECK(plan(args, needed, Device()));
    std::shared_ptr<std::uint8_t> memory[Plan::kMaxOutputs];
    TensorView outputs[Plan::kMaxOutputs];
    for (int i = 0; i < needed.count; ++i) {
        outputs[i] = {nullptr, needed.outputs[i].dtype, needed.outputs[i].dims};
        memory[i] = held(std::vector<std::uint8_t>(outputs[i].bytes(), 255));
        outputs[i].data = memory[i].get();
    }
    const auto scratch = held(std::vector<std::uint8_t>(needed.workspace, 255));
    GD_CHECK(launch(args, outputs, Workspace(scratch.get(), needed.workspace), Device()));
    CHECK(cudaStreamSynchronize(nullptr) == cudaSuccess);
    found.clear();
    for (int i = 0; i < needed.count; ++i) {
        const TensorView& view = outputs[i];
        const std::int64_t count = view.dims.count();
        if (view.dtype == DType::i64) {
            found.emplace_back(view.i64(), view.i64() + count);
        } else {
            found.emplace_back(view.u8(), view.u8() + count);
        }
    }
    return Status();
}

GD_TEST(runs_are_counted_then_written) {
    const std::vector<std::uint8_t> pixels = {0, 1, 1, 0, 255, 0, 1, 1, 1, 1, 1, 1};  // column by column 001110, 111111
    const auto memory = held(pixels);
    const TensorView masks = {memory.get(), DType::u8, {2, 2, 3}};
    Found found;
    CHECK(run(EncodeRuns{masks, 0}, found).ok());
    CHECK((found == Found{{}, {3, 2}}));
    CHECK(run(EncodeRuns{masks, 4}, found).ok());
    CHECK((found == Found{{2, 5, 6, 6, 0, 6, 6, 6}, {3, 2}}));
    CHECK(run(EncodeRuns{masks, 1}, found).ok());
    CHECK((found == Found{{2, 0}, {3, 2}}));
    CHECK_FAILS(run(EncodeRuns{masks, -1}, found), Code::internal, "rle_encode: most is -1");
}

GD_TEST(runs_are_read) {
    const auto memory = held(std::vector<std::int64_t>{2, 5, 6, 6, 0, 6, 6, 6});
    const TensorView ends = {memory.get(), DType::i64, {2, 4}};
    Found found;
    CHECK(run(DecodeRuns{ends, 2, 3}, found).ok());
    CHECK((found == Found{{0, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1}}));
    CHECK(run(AreaOfRuns{ends}, found).ok());
    CHECK((found == Found{{3, 6}}));
    CHECK(run(SharedByRuns{ends, ends}, found).ok());
    CHECK((found == Found{{3, 3, 3, 6}}));
    CHECK_FAILS(run(DecodeRuns{ends, 2, 4}, found), Code::internal, "ends[0, 3] is 6, expected ends that ascend to 8");
    CHECK_FAILS(run(DecodeRuns{ends, 1, 3}, found), Code::internal, "ends[0, 1] is 5, expected ends that ascend to 3");
    const auto falling = held(std::vector<std::int64_t>{4, 2, 6});
    const TensorView back = {falling.get(), DType::i64, {1, 3}};
    CHECK_FAILS(run(DecodeRuns{back, 2, 3}, found), Code::internal, "ends[0, 1] is 2");
    const TensorView none = {nullptr, DType::i64, {1, 0}};
    CHECK_FAILS(run(AreaOfRuns{none}, found), Code::internal, "ends has masks without runs");
}

}  // namespace

}  // namespace graphdet
