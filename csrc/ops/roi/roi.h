// Features of regions of interest, on a fixed grid of bins.
//
// Common rules. RoIs are xyxy in input pixels; `scale` maps them to a feature map (1 / stride). Pixel centres lie at
// +0.5 when `aligned`; otherwise the feature grid is not shifted and RoIs are at least 1 x 1 feature pixels (the older
// rule). Bilinear samples farther than one pixel outside the map count as 0, nearer ones are moved to its border. A RoI
// with a NaN or infinite coordinate yields zeros, as does one of negative size under adaptive sampling. N, R, K, C may
// be 0. Features that carry no weight are not read, so their NaN does not spread. Sums have one fixed order: neither
// threads nor the number of RoIs changes a bit.
//
// Time: a tile of 16 channels of one image is laid out with channels innermost, then all its RoIs read it; maps that
// few RoIs look at are read in place. Scratch: 64 bytes a pixel of the map for each thread.
#pragma once

#include <array>

#include "core/device.h"
#include "core/plan.h"

namespace graphdet {

struct RoiGrid {
    std::int64_t height = 7, width = 7;  // bins, > 0
    std::int64_t samples = 0;            // points of a bin along each axis; 0: ceil(RoI size / bins)
    bool aligned = true;
};

// Average of bilinear samples in each bin (He et al. 2017, section 3).
//   features f32[N C H W], H and W > 0 unless R is 0 · rois f32[R 5]: (image, x1, y1, x2, y2), image a whole number in
//   [0, N), anything else is an error that names the row · output f32[R C height width]
struct RoiAlign {
    TensorView features;
    TensorView rois;
    RoiGrid grid;
    float scale = 1.0F;
};

// Gradient of RoiAlign with respect to its features.
//   gradient f32[R C height width] · rois f32[R 5] · images, map_height, map_width: N, H, W · output f32[N C H W]
struct RoiAlignBackward {
    TensorView gradient;
    TensorView rois;
    std::int64_t images = 0, map_height = 0, map_width = 0;
    RoiGrid grid;
    float scale = 1.0F;
};

// RoiAlign over a feature pyramid: each RoI reads one level.
//   boxes f32[N K 4] · count i64[N]: rows of an image past its count are padding and yield zeros
//   levels f32[N C H_l W_l], finest first, at `strides` · output f32[N K C height width]
// A RoI of area a reads level floor(4 + log2(sqrt(a) / canonical)), where the finest level has number `finest`, clipped
// to those there are (Lin et al. 2017, eq. 1); the comparison is made on a, so there is no logarithm to round.
struct RoiAlignLevels {
    static constexpr int kMaxLevels = 6;

    TensorView boxes;
    TensorView count;
    std::array<TensorView, kMaxLevels> levels;
    int level_count = 0;
    std::array<float, kMaxLevels> strides = {};
    RoiGrid grid;
    float canonical = 224.0F;
    std::int64_t finest = 2;
};

// Maximum over the pixels of each bin (Girshick 2015): corners are rounded (halves away from 0), the last pixel is
// inside, bins share border pixels. NaN never wins; an empty bin yields 0. `samples` and `aligned` are not used.
//   features f32[N C H W] · rois f32[R 5] · output f32[R C height width]
struct RoiPool {
    TensorView features;
    TensorView rois;
    RoiGrid grid;
    float scale = 1.0F;
};

// Gradient of RoiPool with respect to its features: to each bin's maximum, of equal ones to the first.
//   gradient f32[R C height width] · output f32[N C H W]
struct RoiPoolBackward {
    RoiPool of;
    TensorView gradient;
};

Status plan(const RoiAlign& args, Plan& plan);
Status plan(const RoiAlignBackward& args, Plan& plan);
Status plan(const RoiAlignLevels& args, Plan& plan);
Status plan(const RoiPool& args, Plan& plan);
Status plan(const RoiPoolBackward& args, Plan& plan);

Status launch(const RoiAlign& args, const TensorView* outputs, Workspace workspace);
Status launch(const RoiAlignBackward& args, const TensorView* outputs, Workspace workspace);
Status launch(const RoiAlignLevels& args, const TensorView* outputs, Workspace workspace);
Status launch(const RoiPool& args, const TensorView* outputs, Workspace workspace);
Status launch(const RoiPoolBackward& args, const TensorView* outputs, Workspace workspace);

// On a GPU: core/device.h
Status plan(const RoiAlign& args, Plan& plan, const Device& device);
Status plan(const RoiAlignBackward& args, Plan& plan, const Device& device);
Status plan(const RoiAlignLevels& args, Plan& plan, const Device& device);
Status plan(const RoiPool& args, Plan& plan, const Device& device);
Status plan(const RoiPoolBackward& args, Plan& plan, const Device& device);

Status launch(const RoiAlign& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const RoiAlignBackward& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const RoiAlignLevels& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const RoiPool& args, const TensorView* outputs, Workspace workspace, const Device& device);
Status launch(const RoiPoolBackward& args, const TensorView* outputs, Workspace workspace, const Device& device);

}  // namespace graphdet
