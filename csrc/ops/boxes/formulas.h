// The arithmetic of one row, for CPU and GPU. A row is read whole before it is written: results may lie over an operand.
#pragma once

#include <cmath>

#include "core/dispatch.h"
#include "ops/boxes/boxes.h"

namespace graphdet {

// Passes NaN through, unlike std::min(std::max(...)) in one of its orders.
GD_INLINE float clip(float x, float low, float high) { return x < low ? low : (x > high ? high : x); }

GD_INLINE void write_box(float cx, float cy, float w, float h, float* out) {
    out[0] = cx - 0.5F * w;
    out[1] = cy - 0.5F * h;
    out[2] = cx + 0.5F * w;
    out[3] = cy + 0.5F * h;
}

// a: anchor, d: deltas
struct DecodeDelta {
    float mean[4], std[4], limit;

    explicit DecodeDelta(const DecodeDeltas& args) : limit(static_cast<float>(std::abs(std::log(args.max_ratio)))) {
        for (std::size_t i = 0; i < 4; ++i) mean[i] = args.means[i], std[i] = args.stds[i];
    }
    GD_INLINE void operator()(const float* a, const float* d, float* out) const {
        const float w = a[2] - a[0], h = a[3] - a[1];
        const float dx = d[0] * std[0] + mean[0], dy = d[1] * std[1] + mean[1];
        const float dw = clip(d[2] * std[2] + mean[2], -limit, limit);
        const float dh = clip(d[3] * std[3] + mean[3], -limit, limit);
        write_box(0.5F * (a[0] + a[2]) + w * dx, 0.5F * (a[1] + a[3]) + h * dy, w * std::exp(dw), h * std::exp(dh),
                  out);
    }
};

// p: point and stride, r: raw
struct DecodePoint {
    GD_INLINE void operator()(const float* p, const float* r, float* out) const {
        write_box(r[0] * p[2] + p[0], r[1] * p[3] + p[1], std::exp(r[2]) * p[2], std::exp(r[3]) * p[3], out);
    }
};

// p: point and stride, d: distances
struct DecodeDistance {
    GD_INLINE void operator()(const float* p, const float* d, float* out) const {
        for (int i = 0; i < 2; ++i) out[i] = p[i] - d[i];
        for (int i = 0; i < 2; ++i) out[2 + i] = p[i] + d[2 + i];
    }
};

}  // namespace graphdet
