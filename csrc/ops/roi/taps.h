// One axis of RoIAlign. Bilinear sampling is separable, so the samples of a bin are a list of pixels with weights along
// each axis; samples that share a pixel are one tap.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/plan.h"

namespace graphdet {

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

    // `low`, `high`: the RoI along this axis, in feature pixels. Returns the number of samples of a bin, 0 for none.
    std::int64_t build(float low, float high, bool at_least_one, std::int64_t bins, std::int64_t samples,
                       std::int64_t extent) const {
        float size = high - low;
        if (at_least_one) size = std::max(size, 1.0F);
        const float bin = size / static_cast<float>(bins);
        std::fill_n(first, bins + 1, 0);
        if (!std::isfinite(low) || !std::isfinite(size)) return 0;
        const float asked = samples > 0 ? static_cast<float>(samples) : std::ceil(bin);
        if (asked < 1.0F) return 0;
        const auto count = static_cast<std::int64_t>(std::min(asked, 1e9F));
        std::int32_t end = 0;
        for (std::int64_t b = 0; b < bins; ++b) {
            first[b] = end;
            const float start = low + static_cast<float>(b) * bin;
            const Range range = inside(start, bin, count, extent);
            for (std::int64_t i = range.begin; i < range.end; ++i) {
                const float at = start + (static_cast<float>(i) + 0.5F) * bin / static_cast<float>(count);
                end = add(at, extent, first[b], end);
            }
        }
        first[bins] = end;
        return count;
    }

  private:
    struct Range {
        std::int64_t begin, end;
    };

    // Samples that may lie within one pixel of the map, with some to spare: a RoI far larger than the map costs no more
    // than the map itself.
    static Range inside(float start, float bin, std::int64_t count, std::int64_t extent) {
        if (count <= 64) return {0, count};
        const double step = static_cast<double>(bin) / static_cast<double>(count);
        if (!(step > 0.0)) return {0, std::min<std::int64_t>(count, 64)};
        const double begin = (-1.0 - static_cast<double>(start)) / step - 4.0;
        const double end = (static_cast<double>(extent) - static_cast<double>(start)) / step + 4.0;
        const auto limit = static_cast<double>(count);
        return {static_cast<std::int64_t>(std::clamp(begin, 0.0, limit)),
                static_cast<std::int64_t>(std::clamp(end, 0.0, limit))};
    }

    std::int32_t add(float at, std::int64_t extent, std::int32_t begin, std::int32_t end) const {
        if (!(at >= -1.0F && at <= static_cast<float>(extent))) return end;
        at = std::max(at, 0.0F);
        const auto last = static_cast<std::int32_t>(extent - 1);
        const auto low = std::min(static_cast<std::int32_t>(at), last);
        const float part = low == last ? 0.0F : at - static_cast<float>(low);
        end = put(low, 1.0F - part, begin, end);
        return part > 0.0F ? put(low + 1, part, begin, end) : end;
    }

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
