// Images of any size -> network input, for the engine and for Python alike: scale as cv2.resize does (bilinear, uint8),
// normalise, place at the top left, pad.
#pragma once

#include <vector>

#include "core/status.h"
#include "engine/buffer.h"
#include "engine/header.h"
#include "graphdet/graphdet.hpp"
#include "ops/preprocess/preprocess.h"

namespace graphdet {

// An image where it lies, with any strides, the order of its colour channels, its place in the caller's list, for
// messages, and the boxes that come with it.
struct Picture {
    Pixels pixels;
    bool rgb = false;
    std::size_t number = 0;
    std::optional<BoxesView> proposals;
};

// Fails with bad_image unless the view describes pixels.
Status picture_of(const ImageView& image, std::size_t number, Picture& picture);

// The size to which an image of `shape` is scaled, at least 1 x 1 and inside the most of the bounds: letterbox, the
// largest inside the rule's size, rounded down (the rule of the YOLOX authors); short_side, the longer side at most the
// larger number of the rule's size and the shorter side at most the smaller one, rounded to nearest (mmdet's rule);
// stretch, the rule's size itself. For letterbox and stretch, that is the size within the bounds nearest to the rule's.
[[nodiscard]] Size fitted(const Size& shape, const PreprocessRule& rule, const std::optional<Bounds>& bounds);

// Where the images of a batch go: targets, the canvas that holds them all, and the graph inputs `size` f32[N 2] and
// `geometry` f32[N 4]. Kept between batches, it allocates for the largest alone.
struct Layout {
    std::vector<Size> targets;
    Size canvas;
    std::vector<float> size, geometry;
};

// The canvas is the smallest multiple of the rule's divisor, within the bounds. A batch of `filled` >= `count` images
// repeats the last one.
void lay_out(const Picture* images, std::size_t count, std::size_t filled, const PreprocessRule& rule,
             const std::optional<Bounds>& bounds, Layout& layout);

// Writes the batch that was laid out: out f32[filled 3 canvas.height canvas.width], or bf16.
Status place(const Picture* images, std::size_t count, std::size_t filled, const PreprocessRule& rule,
             const Layout& layout, Buffer& scratch, DType dtype, void* out);

}  // namespace graphdet
