// Run-length encoded masks, in COCO's form: lengths of alternating runs of 0 and 1, the first of 0, over the pixels of
// an image column by column. Results equal those of pycocotools.
//
// Any byte but 0 is a 1. Images with fewer than 2^32 pixels; a size of 0 is a normal input. Runs vary in number, so
// these functions allocate their results, unlike kernels of fixed output size. On a GPU codes are tensors: see below.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

using Runs = std::vector<std::uint32_t>;

// Where a bitmap lies in memory: pixel (y, x) is at y * row + x * column.
struct Bitmap {
    const std::uint8_t* data;
    std::int64_t height, width;
    std::int64_t row, column;
};

// Makes runs from stretches of ones in ascending order; stretches that touch become one run.
class RunBuilder {
  public:
    // Pixels [begin, end) in column-major order, begin < end, none before the last stretch's end.
    void ones(std::int64_t begin, std::int64_t end) {
        if (begin == end_ && !runs_.empty()) {
            runs_.back() += static_cast<std::uint32_t>(end - begin);
        } else {
            runs_.push_back(static_cast<std::uint32_t>(begin - end_));
            runs_.push_back(static_cast<std::uint32_t>(end - begin));
        }
        end_ = end;
    }
    // All runs of a mask of `pixels` pixels.
    Runs finish(std::int64_t pixels) {
        if (pixels > end_ || runs_.empty()) runs_.push_back(static_cast<std::uint32_t>(pixels - end_));
        return std::move(runs_);
    }

  private:
    Runs runs_;
    std::int64_t end_ = 0;
};

// Runs of a bitmap that lies at (top, left) of an otherwise empty mask of height x width. Reads each pixel once;
// columns of 1-byte steps and rows of 1-byte steps are both fast.
[[nodiscard]] Runs rle_encode(const Bitmap& bitmap, std::int64_t top, std::int64_t left, std::int64_t height,
                              std::int64_t width);

// Writes the mask to `out` [height width], row-major, as 0 and 1. Fails when the runs do not cover it exactly.
Status rle_decode(const Runs& runs, std::int64_t height, std::int64_t width, std::uint8_t* out);

// Fails unless the runs add up to `pixels`.
Status rle_check(const Runs& runs, std::int64_t pixels);

[[nodiscard]] std::int64_t rle_area(const Runs& runs);

// |a and b| / |a or b|, or / |a| where b is a crowd; 0 where that is 0.
[[nodiscard]] double rle_iou(const Runs& a, const Runs& b, bool crowd);

// COCO's compressed text, 5 bits a character.
[[nodiscard]] std::string rle_to_text(const Runs& runs);

// Its inverse. Fails for a text that is cut off, has a character of another alphabet, or a length outside 0..2^32-1.
Status rle_from_text(std::string_view text, Runs& runs);

// On a GPU (core/device.h) the codes of K masks are `ends` i64[K R]: where each run ends, in pixels from the mask's
// first. Every row is as long as the longest code, filled up with the number of pixels; R > 0 unless K is 0. The length
// of a run is its end less the one before.

//   masks    u8[K height width]
//   outputs  ends i64[K most] and count i64[K], how many runs each mask has: what is past `most` is left out, so that a
//            first launch with 0 tells how large it must be
struct EncodeRuns {
    TensorView masks;
    std::int64_t most = 0;
};

//   output   u8[K height width] of 0 and 1; ends that do not ascend to the number of pixels are an error
struct DecodeRuns {
    TensorView ends;
    std::int64_t height = 0, width = 0;
};

//   output   i64[K]: the pixels of each mask
struct AreaOfRuns {
    TensorView ends;
};

//   output   i64[A B]: the pixels that a mask of `a` and one of `b` share
struct SharedByRuns {
    TensorView a, b;
};

Status plan(const EncodeRuns& args, Plan& plan, const Device& device);
Status plan(const DecodeRuns& args, Plan& plan, const Device& device);
Status plan(const AreaOfRuns& args, Plan& plan, const Device& device);
Status plan(const SharedByRuns& args, Plan& plan, const Device& device);

Status launch(const EncodeRuns& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const DecodeRuns& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const AreaOfRuns& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const SharedByRuns& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
