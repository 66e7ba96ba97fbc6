// Run-length encoded masks, in COCO's form: lengths of alternating runs of 0 and 1, the first of 0, over the pixels of
// an image column by column. Results equal those of pycocotools.
//
// Any byte but 0 is a 1. Images with fewer than 2^32 pixels; a size of 0 is a normal input. Runs vary in number, so
// these functions allocate their results, unlike kernels of fixed output size. There is no CUDA form: a code is one walk
// over the pixels in order, its length is known at the end, and what reads it (JSON, COCO's evaluation) is on the host.
// Masks made on a GPU come from `mask_paste` as bitmaps.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

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

}  // namespace graphdet
