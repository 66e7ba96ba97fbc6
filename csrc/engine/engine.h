// The inside of graphdet::Engine, for tests that bring their own backend.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/executor.h"
#include "engine/preprocess.h"
#include "graphdet/graphdet.hpp"

namespace graphdet {

class Engine::Impl {
  public:
    static Result<Engine> load(const std::string& path, const LoadOptions& options, const Backends& backends);

    Status detect(const ImageView* images, std::size_t count, const Thresholds& thresholds,
                  std::vector<Detections>& found);

    std::string detector, target;
    std::vector<std::string> classes;

  private:
    // One call's memory; kept in `idle_` between calls.
    struct Context {
        std::unique_ptr<Executor::Context> run;
        Buffer pixels, scratch;
        std::vector<float> size, geometry, thresholds;
        std::vector<Size> targets;
    };

    Result<std::unique_ptr<Context>> take();
    void give_back(std::unique_ptr<Context> context);
    Status set_thresholds(const Thresholds& thresholds, std::vector<float>& values) const;
    Status detect_chunk(Context& context, const ImageView* images, std::size_t count, Detections* found) const;
    Status prepare(Context& context, const ImageView* images, std::size_t count, RunInputs& inputs) const;
    void collect(const RunOutputs& out, std::size_t image, Detections& found) const;

    std::unique_ptr<Executor> executor_;
    PreprocessRule rule_;
    std::optional<Size> size_;
    std::optional<std::int64_t> batch_;
    std::vector<std::pair<std::string, float>> thresholds_;
    bool clip_ = true;
    std::size_t chunk_ = 1;

    std::mutex mutex_;  // guards idle_
    std::vector<std::unique_ptr<Context>> idle_;
};

}  // namespace graphdet
