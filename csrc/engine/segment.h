// What a backend offers to the plan executor: compiled parts of a network.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"
#include "engine/artefact.h"

namespace graphdet {

// A segment in the hands of one caller at a time.
class SegmentRun {
  public:
    virtual ~SegmentRun() = default;

    // `inputs` in the order of the request. `outputs` become views of memory that belongs to this object and stays as
    // it is until the next run. Element types are f32 and i64.
    virtual Status run(const TensorView* inputs, TensorView* outputs) = 0;
};

// A compiled segment, which any number of threads may start runs of.
class Segment {
  public:
    virtual ~Segment() = default;
    [[nodiscard]] virtual Result<std::unique_ptr<SegmentRun>> start() const = 0;
};

struct SegmentRequest {
    const Artefact& artefact;
    const std::string& name;                 // of the segment
    const std::vector<std::string>& inputs;  // names, in the order of the operands
    std::size_t outputs = 0;                 // how many the plan expects
    int threads = 0;                         // 0: the backend's choice
    bool lean = false;                       // little memory rather than little time, as far as the backend can

    // What the backend is to load. Fails with corrupt_artefact when the artefact does not have it.
    [[nodiscard]] Result<std::string> model() const { return artefact.blob("segment:" + name); }
};

// Fails with corrupt_artefact when the backend refuses the model, precision_mismatch when it would compute in another
// precision than float32. Never throws.
using OpenSegment = std::function<Result<std::unique_ptr<Segment>>(const SegmentRequest&)>;
using Backends = std::map<std::string, OpenSegment>;  // by target

// The backends that this build has.
[[nodiscard]] const Backends& built_in_backends();

}  // namespace graphdet
