#include "ops/preprocess/preprocess.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/bfloat16.h"
#include "core/check.h"
#include "core/dispatch.h"
#include "core/parallel.h"
#include "ops/preprocess/formulas.h"

namespace graphdet {

namespace {

constexpr std::int64_t kRows = 16;  // output rows that a thread takes at once

using Pair = std::uint64_t __attribute__((aligned(1), may_alias));  // two neighbouring pixels, read at once
using Half = std::uint32_t __attribute__((may_alias));

// Tables of the horizontal axis: byte offset of the left neighbour in a packed row, and weights of both.
struct Columns {
    std::int32_t *low, *low_weight, *high_weight;

    static std::size_t need(std::int64_t width) { return 3 * Workspace::need<std::int32_t>(width); }
    Columns(Workspace& from, std::int64_t width)
        : low(from.take<std::int32_t>(width)),
          low_weight(from.take<std::int32_t>(width)),
          high_weight(from.take<std::int32_t>(width)) {}

    void fill(std::int64_t from, std::int64_t to, std::int64_t step) const {
        for (std::int64_t x = 0; x < to; ++x) {
            const Place p = column_of(x, from, to);
            low[x] = static_cast<std::int32_t>(p.low * step);
            low_weight[x] = p.low_weight;
            high_weight[x] = p.high_weight;
        }
    }
};

// Scratch of one thread: two resized source rows, planes apart, and what it takes to make one.
struct Scratch {
    std::int16_t* rows[2];  // [planes W], 11 + 8 - 4 bits
    Pair* pairs;            // [W]
    std::uint8_t* packed;   // a source row with room to read a pair at its end
    std::int64_t held[2] = {-1, -1};

    static std::size_t need(const Preprocess& args) {
        return 2 * Workspace::need<std::int16_t>(3 * args.width) + Workspace::need<std::uint64_t>(args.width) +
               Workspace::need<std::uint8_t>(args.image.width * 4 + 8);
    }
    Scratch(Workspace from, const Preprocess& args)
        : rows{from.take<std::int16_t>(3 * args.width), from.take<std::int16_t>(3 * args.width)},
          pairs(reinterpret_cast<Pair*>(from.take<std::uint64_t>(args.width))),
          packed(from.take<std::uint8_t>(args.image.width * 4 + 8)) {
        // the pair at the end of a row has weight 0 where nothing is written
        std::fill_n(packed, args.image.width * 4 + 8, std::uint8_t{0});
    }
};

std::int64_t planes_of(const Preprocess& args) { return args.image.channels == 1 ? 1 : 3; }

// Bytes from pixel to pixel in a row as `source_row` yields it.
std::int64_t step_of(const Pixels& image) {
    return image.channel == 1 && image.column == image.channels ? image.channels : (image.channels == 1 ? 1 : 3);
}

// The row where it lies, if pairs may be read there; otherwise a packed copy. Pairs at the end of the first or last row
// in memory would reach past the image.
const std::uint8_t* source_row(const Pixels& image, std::int64_t y, const Scratch& s) {
    const std::uint8_t* row = image.data + y * image.row;
    const std::int64_t step = step_of(image), channels = std::min<std::int64_t>(image.channels, 3);
    const bool packed = image.channel == 1 && image.column == image.channels, between = y > 0 && y < image.height - 1;
    if (packed && between && image.width * step >= 8 && std::abs(image.row) >= image.width * step) return row;
    for (std::int64_t x = 0; x < image.width; ++x)
        for (std::int64_t c = 0; c < channels; ++c) s.packed[x * step + c] = row[x * image.column + c * image.channel];
    return s.packed;
}

// Left at the baseline: gathers of vector units are slower than loads.
void pick(const std::uint8_t* row, const std::int32_t* offset, std::int64_t count, Pair* out) {
    for (std::int64_t x = 0; x < count; ++x) std::memcpy(out + x, row + offset[x], sizeof(Pair));
}

// One channel: byte `low` of each pair is its value on the left, byte `high` on the right.
GD_CLONES void blend(const Pair* pairs, int low, int high, const Columns& columns, std::int64_t count,
                     std::int16_t* out) {
    const auto* left = reinterpret_cast<const Half*>(pairs) + low / 4;
    const auto* right = reinterpret_cast<const Half*>(pairs) + high / 4;
    const int left_shift = low % 4 * 8, right_shift = high % 4 * 8;
    const std::int32_t *a = columns.low_weight, *b = columns.high_weight;
    for (std::int64_t x = 0; x < count; ++x) {
        const auto l = static_cast<std::int32_t>((left[2 * x] >> left_shift) & 0xFFU);
        const auto h = static_cast<std::int32_t>((right[2 * x] >> right_shift) & 0xFFU);
        out[x] = across(l, h, a[x], b[x]);
    }
}

// Two resized source rows and their weights, and how the plane is normalised.
struct Blend {
    const std::int16_t *upper, *lower;
    std::int16_t upper_weight, lower_weight;
    float mean, std;
};

template <class T>
GD_INLINE void finish_row(const Blend& row, std::int64_t count, T* out) {
    const Blend r = row;
    for (std::int64_t x = 0; x < count; ++x) {
        const std::int32_t byte = down(r.upper[x], r.lower[x], r.upper_weight, r.lower_weight);
        store((static_cast<float>(byte) - r.mean) / r.std, out + x);
    }
}
GD_CLONES void finish(const Blend& row, std::int64_t count, float* out) { finish_row(row, count, out); }
GD_CLONES void finish(const Blend& row, std::int64_t count, BFloat16* out) { finish_row(row, count, out); }

// The resized source row `y`, from what is held or made in the place of `other`'s neighbour.
const std::int16_t* resized(const Preprocess& args, const Columns& columns, std::int64_t y, std::int64_t other,
                            Scratch& s) {
    if (s.held[0] == y) return s.rows[0];
    if (s.held[1] == y) return s.rows[1];
    const int slot = s.held[0] == other ? 1 : 0;
    const int step = static_cast<int>(step_of(args.image));
    pick(source_row(args.image, y, s), columns.low, args.width, s.pairs);
    for (int c = 0; c < planes_of(args); ++c)
        blend(s.pairs, c, step + c, columns, args.width, s.rows[slot] + c * args.width);
    s.held[slot] = y;
    return s.rows[slot];
}

template <class T>
void write_row(const Preprocess& args, const Columns& columns, std::int64_t y, Scratch& s, T pad, T* out) {
    const std::int64_t canvas = args.canvas_height * args.canvas_width;
    const Place p = place_of(y, args.image.height, args.height);
    const std::int64_t last = args.image.height - 1;
    const std::int64_t up = std::clamp<std::int64_t>(p.low, 0, last);
    const std::int64_t below = std::clamp<std::int64_t>(p.low + 1, 0, last);
    const std::int16_t* upper = resized(args, columns, up, below, s);
    const std::int16_t* lower = resized(args, columns, below, up, s);
    for (std::int64_t plane = 0; plane < 3; ++plane) {
        const std::int64_t channel = planes_of(args) == 1 ? 0 : args.reverse ? 2 - plane : plane;
        const auto k = static_cast<std::size_t>(plane);
        T* to = out + plane * canvas + y * args.canvas_width;
        const Blend row = {upper + channel * args.width,
                           lower + channel * args.width,
                           static_cast<std::int16_t>(p.low_weight),
                           static_cast<std::int16_t>(p.high_weight),
                           args.mean[k],
                           args.std[k]};
        finish(row, args.width, to);
        std::fill(to + args.width, to + args.canvas_width, pad);
    }
}

template <class T>
void write(const Preprocess& args, const Columns& columns, const Workspace& scratch, std::size_t part, T* out) {
    const std::int64_t canvas = args.canvas_height * args.canvas_width;
    T pad;
    store(args.pad, &pad);
    parallel_for(args.canvas_height, kRows, scratch.slots(part), [&](std::int64_t begin, std::int64_t end, int slot) {
        Scratch s(scratch.part(slot, part), args);
        const std::int64_t image_end = std::clamp(args.height, begin, end);
        for (std::int64_t y = begin; y < image_end; ++y) write_row(args, columns, y, s, pad, out);
        for (std::int64_t plane = 0; plane < 3; ++plane)
            std::fill(out + plane * canvas + image_end * args.canvas_width,
                      out + plane * canvas + end * args.canvas_width, pad);
    });
}

}  // namespace

Status plan(const Preprocess& args, Plan& plan) {
    constexpr const char* op = "preprocess";
    constexpr std::int64_t most = 1 << 28;  // offsets in a row, and places, fit in 32 bits
    const Pixels& image = args.image;
    const bool pixels = image.height > 0 && image.width > 0 && image.height < most && image.width < most;
    GD_CHECK(
        require(pixels, op, ": the image is ", image.height, " x ", image.width, ", expected sides from 1 to 2^28"));
    const bool channels = image.channels == 1 || image.channels == 3 || image.channels == 4;
    GD_CHECK(require(channels, op, ": the image has ", image.channels, " channels, expected 1, 3 or 4"));
    const bool inside =
        args.height > 0 && args.width > 0 && args.height <= args.canvas_height && args.width <= args.canvas_width;
    GD_CHECK(require(inside, op, ": the size is ", args.height, " x ", args.width,
                     ", expected at least 1 x 1 and at most ", args.canvas_height, " x ", args.canvas_width));
    GD_CHECK(require(args.dtype == DType::f32 || args.dtype == DType::bf16, op, ": the output is ", name_of(args.dtype),
                     ", expected f32 or bf16"));
    plan.add(args.dtype, {3, args.canvas_height, args.canvas_width});
    const std::int64_t parts = std::clamp<std::int64_t>((args.height + kRows - 1) / kRows, 1, threads());
    plan.workspace = Columns::need(args.width) + Scratch::need(args) * static_cast<std::size_t>(parts);
    return Status();
}

Status launch(const Preprocess& args, const TensorView* outputs, Workspace workspace) {
    Plan needed;
    GD_CHECK(plan(args, needed));
    const std::size_t part = Scratch::need(args);
    needed.workspace = Columns::need(args.width) + part;
    GD_CHECK(fits("preprocess", needed, outputs, workspace));
    const Columns columns(workspace, args.width);
    columns.fill(args.image.width, args.width, step_of(args.image));
    if (args.dtype == DType::bf16) {
        write(args, columns, workspace, part, static_cast<BFloat16*>(outputs[0].data));
    } else {
        write(args, columns, workspace, part, outputs[0].f32_out());
    }
    return Status();
}

}  // namespace graphdet
