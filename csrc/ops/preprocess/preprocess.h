// An image of bytes becomes one network input: resize, channel order, normalise, pad, planes first; in one pass.
//
//   image    u8, 1, 3 or 4 channels (a fourth is not read, one is used for all planes), any strides, at least 1 x 1
//   resize   bilinear, exactly as cv2.resize with INTER_LINEAR does it on bytes: pixel centres at +0.5, coefficients of
//            11 bits, and its two rounding steps; an image of the target's size is not altered
//   output   f32[3 canvas_height canvas_width], or bf16: (byte - mean) / std of each plane in the top left
//            height x width, `pad` right of it and below; computed in f32, and as bf16 the nearest number, of two the
//            even one
//
// Each source row is resized once for each stretch of output rows that a thread takes. No dependence on threads.
#pragma once

#include <array>

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct Pixels {
    const std::uint8_t* data = nullptr;
    std::int64_t height = 0, width = 0, channels = 0;
    std::int64_t row = 0, column = 0, channel = 0;  // steps in bytes
};

struct Preprocess {
    Pixels image;
    std::int64_t height = 0, width = 0;                // > 0, of the resized image
    std::int64_t canvas_height = 0, canvas_width = 0;  // at least as large
    std::array<float, 3> mean = {0.0F, 0.0F, 0.0F};    // of each plane of the output
    std::array<float, 3> std = {1.0F, 1.0F, 1.0F};
    bool reverse = false;  // planes in the opposite order of the image's channels
    float pad = 0.0F;
    DType dtype = DType::f32;  // or bf16
};

Status plan(const Preprocess& args, Plan& plan);
Status launch(const Preprocess& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const Preprocess& args, Plan& plan, const Device& device);
Status launch(const Preprocess& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
