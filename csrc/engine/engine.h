// The inside of graphdet::Engine, for the Python extension and for tests that bring their own backend.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engine/executor.h"
#include "engine/preprocess.h"
#include "engine/queue.h"
#include "graphdet/graphdet.hpp"

namespace graphdet {

// A run-time threshold by the name of its graph input, in place of the file's own.
struct Setting {
    std::string_view name;
    double value = 0.0;
};
using Settings = std::vector<Setting>;

// Graph inputs that come with the images of a prepared batch, by name.
using Inputs = std::vector<std::pair<std::string_view, TensorView>>;

class Engine::Impl {
  public:
    static Result<std::unique_ptr<Impl>> open(const Artefact& artefact, const LoadOptions& options,
                                              const Backends& backends);

    // Detects objects in any number of images, a chunk at a time. Allocates nothing once a context and `found` have met
    // a call as large. May be called on several threads at once.
    Status detect(const Picture* images, std::size_t count, const Settings& settings, std::vector<Detections>& found);

    // Gives the pixels of any number of images to segments; as `detect`, but allocates its results.
    Status panoptic(const Picture* images, std::size_t count, const Settings& settings, std::vector<Panoptic>& found);

    // Runs the plan on one prepared batch, whose shapes are checked, and hands out its outputs while they are valid.
    // Of `batch` the images are read, what comes with them stands in `inputs`.
    Status run(const RunInputs& batch, const Inputs& inputs, const Settings& settings, const Watch* watch,
               const Watch& take);

    // Work for the engine's own threads, in the order of submission.
    [[nodiscard]] Queue& queue() { return queue_; }

    std::string detector, target;
    std::vector<std::string> classes;

  private:
    // One call's memory; kept in `idle_` between calls.
    struct Context {
        std::unique_ptr<Executor::Context> run;
        Buffer pixels, scratch;
        Layout layout;
        std::vector<float> thresholds;
        std::vector<TensorView> given;
        Buffer boxes;
        std::vector<std::int64_t> counts;
    };

    explicit Impl(const LoadOptions& options);
    template <class Body>
    Status with_context(const Settings& settings, const Body& body);
    Result<std::unique_ptr<Context>> take_context();
    Status set_thresholds(const Settings& settings, std::vector<float>& values) const;
    Status check_batch(const RunInputs& batch) const;
    template <class Keep>
    Status each(const Picture* images, std::size_t count, const Settings& settings, const Keep& keep);
    Status run_chunk(Context& context, const Picture* images, std::size_t count, RunOutputs& outputs) const;
    Status set_inputs(const Inputs& inputs, std::int64_t images, std::vector<TensorView>& values) const;
    Status check_proposals(const Picture& image) const;
    void place_proposals(const Picture* images, std::size_t count, std::size_t filled, Context& context) const;
    void collect(const RunOutputs& out, std::size_t image, const Layout& layout, Detections& found) const;

    std::unique_ptr<Executor> executor_;
    PreprocessRule rule_;
    std::optional<Bounds> bounds_;
    std::vector<GivenRow> given_;
    std::int64_t most_ = 0;  // proposals of an image; 0: the plan takes none
    std::optional<std::int64_t> batch_;
    std::vector<std::pair<std::string, float>> thresholds_;
    bool clip_ = true;
    std::optional<MaskFrame> masks_;
    std::size_t chunk_ = 1;

    std::mutex mutex_;  // guards idle_
    std::vector<std::unique_ptr<Context>> idle_;
    Queue queue_;  // last, so that its threads end first
};

}  // namespace graphdet
