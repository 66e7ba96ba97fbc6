// Runs a plan: segments by their backend, native steps by the kernels, between buffers that are kept.
//
// Everything about names is settled at open: values are numbered, and results of native steps get a place in the arena
// that the file's memory plan lays out. A value that is larger than planned, as in a batch of another size, and one
// that the plan lacks, get a slot, which values that are never alive together share. A run only fills views; results of
// segments stay in the backend's memory.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/artefact.h"
#include "engine/buffer.h"
#include "engine/constants.h"
#include "engine/native.h"
#include "engine/segment.h"

namespace graphdet {

// Graph inputs of one run: the images, and one value for each input that the header says comes with them and for each
// of its thresholds, in its order.
struct RunInputs {
    TensorView pixels;    // f32[N 3 H W]
    TensorView size;      // f32[N 2]
    TensorView geometry;  // f32[N 4]
    const TensorView* given = nullptr;
    const float* thresholds = nullptr;
};

// Told of each value that a step makes, while it is valid; a failure ends the run.
using Watch = std::function<Status(const std::string& name, const TensorView& value)>;

// Detections of one run, padded: boxes f32[N K 4], scores f32[N K], labels i64[N K], count i64[N] in 0..K; and masks
// f32[N M P Q], where the plan has them, M at least the largest count. Without masks, theirs has rank 0. What queries
// say of panoptic segments, in the order of `kSegmentOutputs`: f32[N S], i64[N S], i64[N S], f32[N S R C], or rank 0.
struct RunOutputs {
    TensorView boxes, scores, labels, count, masks;
    TensorView segments[4];
};

class Executor {
  public:
    // What one caller at a time needs to run: its own segment runs, native calls and buffers.
    class Context {
      public:
        // Bytes that the context holds, without the backend's.
        [[nodiscard]] std::size_t bytes() const;

      private:
        friend class Executor;
        void release();

        std::vector<TensorView> values;                     // by number
        std::vector<std::unique_ptr<SegmentRun>> segments;  // by step; null for native steps
        std::vector<std::unique_ptr<NativeCall>> natives;   // by step; null for segments
        std::vector<Operands> operands;                     // by step; point into `values`
        std::vector<TensorView> segment_inputs;
        Buffer arena;
        std::size_t arena_bytes = 0;
        std::vector<Buffer> slots;
        std::vector<std::size_t> slot_bytes;
        Buffer workspace;
        std::size_t workspace_bytes = 0;
    };

    // Fails with corrupt_artefact when a step uses what nothing makes, makes a value twice or lacks its blob;
    // future_artefact for an unknown op; backend_missing when `backends` lacks the target.
    //
    // lean: buffers are freed before the next run, and the C library gives back what was freed after each segment.
    static Result<std::unique_ptr<Executor>> open(const Artefact& artefact, const Backends& backends, int threads,
                                                  bool lean = false);

    [[nodiscard]] Result<std::unique_ptr<Context>> start() const;

    // Views of the context's memory: valid until its next run. May be called on several threads with a context each.
    // Fails with internal, naming the step and the line that declared it.
    Status run(Context& context, const RunInputs& inputs, RunOutputs& outputs, const Watch* watch = nullptr) const;

    // Whether the plan says what panoptic segments are.
    [[nodiscard]] bool has_segments() const { return segments_[0] >= 0; }

    // All outputs of the plan by name, of the context's latest run.
    Status outputs(const Context& context, const Watch& take) const;

  private:
    struct Step {
        StepRow row;
        std::vector<int> inputs;  // value numbers; -1: absent
        std::vector<int> outputs;
        std::vector<int> slots;       // of the outputs of a native step
        std::vector<ArenaRow> rooms;  // of the same; without bytes where the memory plan lacks the value
        std::unique_ptr<Segment> segment;
        std::unique_ptr<NativeCall> native;
    };

    Status number_values(const Header& header);
    Status bind_steps(const Artefact& artefact, const Backends& backends, int threads);
    [[nodiscard]] std::vector<std::size_t> last_uses() const;
    void assign_slots();
    Status assign_rooms(const Header& header);
    [[nodiscard]] void* room_for(Context& context, const Step& step, std::size_t output, std::size_t bytes) const;
    Status run_native(Context& context, std::size_t index) const;
    Status run_segment(Context& context, std::size_t index) const;
    [[nodiscard]] Status explained(const Context& context, const Step& step, const Status& failure) const;

    Constants constants_;
    std::vector<TensorView> initial_;  // by value number: the constants, and empty views for the rest
    std::vector<Step> steps_;
    std::size_t given_ = 0, thresholds_ = 0;
    std::size_t slot_count_ = 0;
    std::size_t arena_bytes_ = 0;
    std::vector<std::pair<std::string, int>> all_outputs_;
    int outputs_[4] = {};  // value numbers, in the order of `kDetectionOutputs`
    int masks_ = -1;       // value number; -1: the plan has none
    int segments_[4] = {-1, -1, -1, -1};
    bool lean_ = false;
};

}  // namespace graphdet
