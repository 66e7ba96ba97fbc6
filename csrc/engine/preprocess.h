// Images of any size -> network input, bit for bit as graphdet/runtime/preprocess.py: scale as cv2.resize does
// (bilinear, uint8), normalise, place at the top left, pad.
#pragma once

#include "core/status.h"
#include "engine/buffer.h"
#include "engine/header.h"
#include "graphdet/graphdet.hpp"

namespace graphdet {

// Fails with bad_image unless the view describes pixels. `number` is the image's place in the caller's list.
Status check_image(const ImageView& image, std::size_t number);

// The size to which an image of `shape` is scaled: inside `fixed`, or inside the rule's own size.
[[nodiscard]] Size fitted(const Size& shape, const PreprocessRule& rule, const std::optional<Size>& fixed);

// Scale factors (x, y) by which boxes return to the image.
[[nodiscard]] std::array<float, 2> scales(const Size& shape, const Size& target, const PreprocessRule& rule,
                                          const std::optional<Size>& fixed);

// A side, rounded up to a multiple of the rule's divisor.
[[nodiscard]] std::int64_t rounded_up(std::int64_t side, const PreprocessRule& rule);

// Writes the image, scaled to `target` and normalised, into the top left of out f32[3 canvas.height canvas.width], and
// the rule's pad value around it. Target and canvas are at least 1 x 1. Fails when the target does not fit.
Status place(const ImageView& image, const PreprocessRule& rule, const Size& target, const Size& canvas,
             Buffer& scratch, float* out);

}  // namespace graphdet
