#include "cuda/cuda.h"
#include "ops/rle/rle.h"

namespace graphdet {

namespace {

using namespace cuda;

struct Masks {
    const std::uint8_t* data;
    std::int64_t height, width;

    __device__ bool at(std::int64_t mask, std::int64_t y, std::int64_t x) const {
        return data[(mask * height + y) * width + x] != 0;
    }
    // Whether a run begins at this pixel: the one before it, column by column, is unlike it; a 0 precedes the first.
    __device__ bool turns(std::int64_t mask, std::int64_t y, std::int64_t x) const {
        if (y > 0) return at(mask, y, x) != at(mask, y - 1, x);
        return at(mask, y, x) != (x > 0 && at(mask, height - 1, x - 1));
    }
};

// The run that a pixel lies in: the first of a row of ends that is past it.
__device__ inline std::int64_t run_of(const std::int64_t* ends, std::int64_t count, std::int64_t pixel) {
    std::int64_t low = 0, high = count - 1;
    while (low < high) {
        const std::int64_t middle = (low + high) / 2;
        if (ends[middle] > pixel) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

Status check_ends(const char* op, const char* name, const TensorView& ends) {
    GD_CHECK(expect(op, name, ends, DType::i64, {"K", "R"}));
    return require(ends.dims[0] == 0 || ends.dims[1] > 0, op, ": ", name, " has masks without runs");
}

}  // namespace

Status plan(const EncodeRuns& args, Plan& needed, const Device&) {
    GD_CHECK(expect("rle_encode", "masks", args.masks, DType::u8, {"K", "H", "W"}));
    GD_CHECK(require(args.most >= 0, "rle_encode: most is ", args.most, ", expected at least 0"));
    const Dims& dims = args.masks.dims;
    needed.add(DType::i64, {dims[0], args.most});
    needed.add(DType::i64, {dims[0]});
    needed.workspace = Workspace::need<std::int64_t>(dims[0] * dims[2]);
    return Status();
}

// A thread for each column counts its turns and, once it is known how many come before, writes them: threads side by
// side read bytes side by side.
Status launch(const EncodeRuns& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "rle_encode";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t count = args.masks.dims[0], height = args.masks.dims[1], width = args.masks.dims[2];
    const std::int64_t most = args.most;
    const Masks masks = {args.masks.u8(), height, width};
    std::int64_t *ends = outputs[0].i64_out(), *runs = outputs[1].i64_out();
    std::int64_t* before = workspace.take<std::int64_t>(count * width);
    for_each(device, count * width, [=] __device__(std::int64_t column) {
        std::int64_t turns = 0;
        for (std::int64_t y = 0; y < height; ++y) turns += masks.turns(column / width, y, column % width) ? 1 : 0;
        before[column] = turns;
    });
    for_each(device, count, [=] __device__(std::int64_t mask) {
        std::int64_t turns = 0;
        for (std::int64_t column = mask * width; column < (mask + 1) * width; ++column) {
            const std::int64_t own = before[column];
            before[column] = turns;
            turns += own;
        }
        runs[mask] = turns + 1;
        for (std::int64_t run = turns; run < most; ++run) ends[mask * most + run] = height * width;
    });
    for_each(device, most > 0 ? count * width : 0, [=] __device__(std::int64_t column) {
        const std::int64_t mask = column / width, x = column % width;
        std::int64_t run = before[column];
        for (std::int64_t y = 0; y < height && run < most; ++y) {
            if (masks.turns(mask, y, x)) ends[mask * most + run++] = x * height + y;
        }
    });
    return finish(op);
}

Status plan(const DecodeRuns& args, Plan& needed, const Device&) {
    GD_CHECK(check_ends("rle_decode", "ends", args.ends));
    GD_CHECK(require(args.height >= 0 && args.width >= 0, "rle_decode: the size is ", args.height, " x ", args.width));
    needed.add(DType::u8, {args.ends.dims[0], args.height, args.width});
    needed.workspace = Workspace::need<Word>(1);
    return Status();
}

Status launch(const DecodeRuns& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "rle_decode";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t runs = args.ends.dims[1], all = args.ends.dims.count();
    const std::int64_t height = args.height, width = args.width, pixels = height * width;
    const std::int64_t* ends = args.ends.i64();
    std::int64_t bad = 0;
    const auto wrong = [=] __device__(std::int64_t i) {
        const bool last = i % runs == runs - 1;
        return ends[i] < (i % runs > 0 ? ends[i - 1] : 0) || ends[i] > pixels || (last && ends[i] != pixels);
    };
    GD_CHECK(first_bad(op, device, workspace, all, wrong, bad));
    if (bad < all) {
        return require(false, op, ": ends[", bad / runs, ", ", bad % runs, "] is ", peek(ends + bad, device),
                       ", expected ends that ascend to ", pixels);
    }
    std::uint8_t* out = outputs[0].u8_out();
    for_each(device, needed.outputs[0].dims.count(), [=] __device__(std::int64_t at) {
        const std::int64_t mask = at / pixels, y = at % pixels / width, x = at % width;
        out[at] = static_cast<std::uint8_t>(run_of(ends + mask * runs, runs, x * height + y) % 2);
    });
    return finish(op);
}

Status plan(const AreaOfRuns& args, Plan& needed, const Device&) {
    GD_CHECK(check_ends("rle_area", "ends", args.ends));
    needed.add(DType::i64, {args.ends.dims[0]});
    return Status();
}

Status launch(const AreaOfRuns& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "rle_area";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t runs = args.ends.dims[1];
    const std::int64_t* ends = args.ends.i64();
    std::int64_t* out = outputs[0].i64_out();
    for_each(device, args.ends.dims[0], [=] __device__(std::int64_t mask) {
        const std::int64_t* own = ends + mask * runs;
        std::int64_t area = 0;
        for (std::int64_t i = 1; i < runs; i += 2) area += own[i] - own[i - 1];
        out[mask] = area;
    });
    return finish(op);
}

Status plan(const SharedByRuns& args, Plan& needed, const Device&) {
    GD_CHECK(check_ends("rle_iou", "a", args.a));
    GD_CHECK(check_ends("rle_iou", "b", args.b));
    needed.add(DType::i64, {args.a.dims[0], args.b.dims[0]});
    return Status();
}

Status launch(const SharedByRuns& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "rle_iou";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    const std::int64_t columns = args.b.dims[0], runs_a = args.a.dims[1], runs_b = args.b.dims[1];
    const std::int64_t *all_a = args.a.i64(), *all_b = args.b.i64();
    std::int64_t* out = outputs[0].i64_out();
    for_each(device, needed.outputs[0].dims.count(), [=] __device__(std::int64_t at) {
        const std::int64_t *a = all_a + at / columns * runs_a, *b = all_b + at % columns * runs_b;
        std::int64_t i = 0, j = 0, begin = 0, shared = 0;
        while (i < runs_a && j < runs_b) {
            const std::int64_t end = a[i] < b[j] ? a[i] : b[j];
            if (i % 2 == 1 && j % 2 == 1) shared += end - begin;
            begin = end;
            const bool past_a = a[i] == end, past_b = b[j] == end;
            i += past_a ? 1 : 0;
            j += past_b ? 1 : 0;
        }
        out[at] = shared;
    });
    return finish(op);
}

}  // namespace graphdet
