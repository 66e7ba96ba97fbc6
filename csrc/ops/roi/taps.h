// One axis of RoIAlign, for CPU and GPU. Bilinear sampling is separable: along each axis the samples of a bin are a list
// of pixels with weights. On the CPU samples that share a pixel are one tap.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/dispatch.h"
#include "core/plan.h"

namespace graphdet {

// A sample between `pixel` and the next one, whose weight is `part`; `pixel` is -1 when the sample counts as 0.
struct Sample {
    std::int32_t pixel;
    float part;
};

// The samples of a RoI along one axis.
struct Axis {
    float low, bin;       // of the first bin, in feature pixels
    std::int64_t count;   // samples of a bin, 0 for none
    std::int64_t extent;  // of the map

    // `low`, `high`: the RoI, in feature pixels.
    GD_INLINE Axis(float low_, float high, bool at_least_one, std::int64_t bins, std::int64_t samples,
                   std::int64_t extent_)
        : low(low_), bin(0.0F), count(0), extent(extent_) {
        float size = high - low;
        if (at_least_one) size = std::max(size, 1.0F);
        bin = size / static_cast<float>(bins);
        if (!std::isfinite(low) || !std::isfinite(size)) return;
        const float asked = samples > 0 ? static_cast<float>(samples) : std::ceil(bin);
        if (asked >= 1.0F) count = static_cast<std::int64_t>(std::min(asked, 1e9F));
    }

    [[nodiscard]] GD_INLINE float start(std::int64_t b) const { return low + static_cast<float>(b) * bin; }

    struct Range {
        std::int64_t begin, end;
    };

    // Samples of a bin that may lie within one pixel of the map, with some to spare: a RoI far larger than the map costs
    // no more than the map itself.
    [[nodiscard]] GD_INLINE Range range(std::int64_t b) const {
        if (count <= 64) return {0, count};
        const double step = static_cast<double>(bin) / static_cast<double>(count), from = start(b);
        if (!(step > 0.0)) return {0, 64};
        const double begin = (-1.0 - from) / step - 4.0, end = (static_cast<double>(extent) - from) / step + 4.0;
        const auto limit = static_cast<double>(count);
        return {static_cast<std::int64_t>(std::min(std::max(begin, 0.0), limit)),
                static_cast<std::int64_t>(std::min(std::max(end, 0.0), limit))};
    }

    [[nodiscard]] GD_INLINE Sample sample(std::int64_t b, std::int64_t i) const {
        float at = start(b) + (static_cast<float>(i) + 0.5F) * bin / static_cast<float>(count);
        if (!(at >= -1.0F && at <= static_cast<float>(extent))) return {-1, 0.0F};
        at = std::max(at, 0.0F);
        const auto last = static_cast<std::int32_t>(extent - 1);
        const std::int32_t pixel = std::min(static_cast<std::int32_t>(at), last);
        return {pixel, pixel == last ? 0.0F : at - static_cast<float>(pixel)};
    }
};

struct Taps {
    std::int32_t* first;  // of each bin, its first tap; one more entry ends the last bin
    std::int32_t* pixel;
    float* weight;

    // Taps that a bin can have on a map of `extent` pixels.
    static std::int64_t room(std::int64_t bins, std::int64_t samples, std::int64_t extent) {
        return bins * (samples > 0 ? std::min(2 * samples, extent + 1) : extent + 1);
    }
    static std::size_t need(std::int64_t bins, std::int64_t room) {
        return Workspace::need<std::int32_t>(bins + 1) + Workspace::need<std::int32_t>(room) +
               Workspace::need<float>(room);
    }
    Taps(Workspace& from, std::int64_t bins, std::int64_t room)
        : first(from.take<std::int32_t>(bins + 1)),
          pixel(from.take<std::int32_t>(room)),
          weight(from.take<float>(room)) {}

    // Returns the number of samples of a bin, 0 for none.
    [[nodiscard]] std::int64_t build(const Axis& axis, std::int64_t bins) const {
        std::fill_n(first, bins + 1, 0);
        if (axis.count == 0) return 0;
        std::int32_t end = 0;
        for (std::int64_t b = 0; b < bins; ++b) {
            first[b] = end;
            const Axis::Range range = axis.range(b);
            for (std::int64_t i = range.begin; i < range.end; ++i) {
                const Sample sample = axis.sample(b, i);
                if (sample.pixel < 0) continue;
                end = put(sample.pixel, 1.0F - sample.part, first[b], end);
                if (sample.part > 0.0F) end = put(sample.pixel + 1, sample.part, first[b], end);
            }
        }
        first[bins] = end;
        return axis.count;
    }

  private:
    // Samples come in order, so a pixel seen before is one of the last two.
    std::int32_t put(std::int32_t at, float more, std::int32_t begin, std::int32_t end) const {
        for (std::int32_t i = end - 1; i >= begin && i >= end - 2; --i) {
            if (pixel[i] == at) {
                weight[i] += more;
                return end;
            }
        }
        pixel[end] = at;
        weight[end] = more;
        return end + 1;
    }
};

}  // namespace graphdet
