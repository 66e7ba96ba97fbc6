// Corner pooling as scans of lines, for CPU and GPU.
#pragma once

#include "core/dispatch.h"
#include "ops/corner_pool/corner_pool.h"

namespace graphdet {

// Whether `value` takes the place of `best` in a scan: it is no less, or one of them is NaN and it came first.
GD_INLINE bool takes(float value, float best) { return !(value < best) && !(best != best && value == value); }

// A plane as `lines` scans of `length` pixels: `step` apart in a scan, scans `next` apart.
struct Scan {
    std::int64_t lines, next, length, step, first;
};

[[nodiscard]] inline Scan scan_of(const CornerPool& args) {
    const std::int64_t height = args.x.dims[2], width = args.x.dims[3];
    Scan scan = args.across ? Scan{height, width, width, 1, 0} : Scan{width, 1, height, width, 0};
    if (args.back) {
        scan.first = (scan.length - 1) * scan.step;
        scan.step = -scan.step;
    }
    return scan;
}

}  // namespace graphdet
