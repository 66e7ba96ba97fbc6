// Shape checks whose texts name the operand, what was found and what was expected.
#pragma once

#include <initializer_list>

#include "core/status.h"
#include "core/tensor.h"

namespace graphdet {

// One expected dimension: a fixed size (`4`), a free one (`"K"`), or a named one that is already known (`{"N", n}`).
struct Dim {
    const char* name = "";
    std::int64_t size = -1;

    Dim(int fixed) : size(fixed) {}
    Dim(const char* free) : name(free) {}
    Dim(const char* known, std::int64_t n) : name(known), size(n) {}
};

// Fails unless `view` has this element type and shape: "nms: boxes is f32[2 7 5], expected f32[N K 4]".
Status expect(const char* op, const char* operand, const TensorView& view, DType dtype,
              std::initializer_list<Dim> dims);

}  // namespace graphdet
