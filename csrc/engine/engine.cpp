#include "engine/engine.h"

#include <algorithm>
#include <cmath>

#include "engine/guard.h"
#include "graphdet_version.h"

namespace graphdet {

namespace {

TensorView f32_view(float* data, const Dims& dims) {
    TensorView view;
    view.data = data;
    view.dims = dims;
    return view;
}

// Boxes outside the image are cut; what has no extent then is dropped.
bool clip(std::array<float, 4>& box, const Detections& image) {
    const auto width = static_cast<float>(image.width), height = static_cast<float>(image.height);
    for (std::size_t i = 0; i < box.size(); ++i) {
        const float limit = i % 2 == 0 ? width : height;
        if (box[i] < 0.0F) box[i] = 0.0F;
        if (box[i] > limit) box[i] = limit;
    }
    return box[2] > box[0] && box[3] > box[1];
}

}  // namespace

Result<Engine> Engine::Impl::load(const std::string& path, const LoadOptions& options, const Backends& backends) {
    if (options.threads < 0) return Status(Code::bad_input, "threads is negative, expected 0 or more");
    if (options.chunk < 1) return Status(Code::bad_input, "chunk is less than 1");
    const auto artefact = Artefact::read(path);
    GD_CHECK(artefact.status());
    auto executor = Executor::open(*artefact, backends, options.threads);
    GD_CHECK(executor.status());
    const Header& header = artefact->header();
    auto impl = std::make_unique<Impl>();
    impl->executor_ = *std::move(executor);
    impl->detector = header.detector;
    impl->target = header.target;
    impl->classes = header.classes;
    impl->rule_ = header.preprocess;
    impl->size_ = header.size;
    impl->batch_ = header.batch;
    impl->thresholds_ = header.thresholds;
    impl->clip_ = header.clip;
    impl->chunk_ = static_cast<std::size_t>(header.batch.value_or(options.chunk));
    return Engine(std::move(impl));
}

Status Engine::Impl::detect(const ImageView* images, std::size_t count, const Thresholds& thresholds,
                            std::vector<Detections>& found) {
    for (std::size_t i = 0; i < count; ++i) GD_CHECK(check_image(images[i], i));
    auto taken = take();
    GD_CHECK(taken.status());
    std::unique_ptr<Context> context = *std::move(taken);
    Status status = set_thresholds(thresholds, context->thresholds);
    found.resize(count);
    for (std::size_t start = 0; start < count && status.ok(); start += chunk_) {
        const std::size_t part = std::min(chunk_, count - start);
        status = detect_chunk(*context, images + start, part, found.data() + start);
    }
    give_back(std::move(context));
    return status;
}

Result<std::unique_ptr<Engine::Impl::Context>> Engine::Impl::take() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!idle_.empty()) {
            std::unique_ptr<Context> context = std::move(idle_.back());
            idle_.pop_back();
            return context;
        }
    }
    auto context = std::make_unique<Context>();
    auto run = executor_->start();
    GD_CHECK(run.status());
    context->run = *std::move(run);
    return context;
}

void Engine::Impl::give_back(std::unique_ptr<Context> context) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(context));
}

Status Engine::Impl::set_thresholds(const Thresholds& thresholds, std::vector<float>& values) const {
    values.clear();
    for (const auto& [name, value] : thresholds_) values.push_back(value);
    const std::pair<const char*, std::optional<float>> given[] = {{"score_threshold", thresholds.score},
                                                                  {"iou_threshold", thresholds.iou}};
    for (const auto& [name, value] : given) {
        if (!value) continue;
        const auto found = std::find_if(thresholds_.begin(), thresholds_.end(),
                                        [name = name](const auto& threshold) { return threshold.first == name; });
        if (found == thresholds_.end()) return Status(Code::bad_input, std::string("this engine has no input ") + name);
        if (!(*value >= 0.0F && *value <= 1.0F)) {
            return Status(Code::bad_input, require(false, name, " is ", *value, ", expected a number in 0..1").text());
        }
        values[static_cast<std::size_t>(found - thresholds_.begin())] = *value;
    }
    return Status();
}

Status Engine::Impl::detect_chunk(Context& context, const ImageView* images, std::size_t count,
                                  Detections* found) const {
    RunInputs inputs;
    RunOutputs outputs;
    GD_CHECK(prepare(context, images, count, inputs));
    inputs.thresholds = context.thresholds.data();
    GD_CHECK(executor_->run(*context.run, inputs, outputs));
    for (std::size_t i = 0; i < count; ++i) {
        found[i].height = images[i].height;
        found[i].width = images[i].width;
        collect(outputs, i, found[i]);
    }
    return Status();
}

Status Engine::Impl::prepare(Context& context, const ImageView* images, std::size_t count, RunInputs& inputs) const {
    Size canvas = size_.value_or(Size{1, 1});
    context.targets.clear();
    for (std::size_t i = 0; i < count; ++i) {
        const Size target = fitted({images[i].height, images[i].width}, rule_, size_);
        context.targets.push_back(target);
        if (size_) continue;
        canvas.height = std::max(canvas.height, rounded_up(target.height, rule_));
        canvas.width = std::max(canvas.width, rounded_up(target.width, rule_));
    }
    // A fixed batch is filled up with copies of the last image.
    const auto filled = static_cast<std::size_t>(batch_.value_or(static_cast<std::int64_t>(count)));
    const auto batch = static_cast<std::int64_t>(filled);
    const std::int64_t per_image = 3 * canvas.height * canvas.width;
    auto* pixels = context.pixels.reserve_for<float>(batch * per_image);
    context.size.clear();
    context.geometry.clear();
    for (std::size_t i = 0; i < filled; ++i) {
        const std::size_t from = std::min(i, count - 1);
        const ImageView& image = images[from];
        const Size target = context.targets[from];
        float* out = pixels + static_cast<std::int64_t>(i) * per_image;
        if (i < count) {
            GD_CHECK(place(image, rule_, target, canvas, context.scratch, out));
        } else {
            std::copy_n(out - per_image, per_image, out);
        }
        const std::array<float, 2> scale = scales({image.height, image.width}, target, rule_, size_);
        context.size.insert(context.size.end(), {static_cast<float>(target.height), static_cast<float>(target.width)});
        context.geometry.insert(context.geometry.end(), {scale[0], scale[1], 0.0F, 0.0F});
    }
    inputs.pixels = f32_view(pixels, {batch, 3, canvas.height, canvas.width});
    inputs.size = f32_view(context.size.data(), {batch, 2});
    inputs.geometry = f32_view(context.geometry.data(), {batch, 4});
    return Status();
}

void Engine::Impl::collect(const RunOutputs& out, std::size_t image, Detections& found) const {
    const auto n = static_cast<std::int64_t>(image);
    const std::int64_t rows = out.scores.dims[1], count = out.count.i64()[n];
    found.objects.clear();
    found.objects.reserve(static_cast<std::size_t>(count));
    for (std::int64_t k = n * rows; k < n * rows + count; ++k) {
        Detection one;
        std::copy_n(out.boxes.f32() + 4 * k, 4, one.box.begin());
        if (clip_ && !clip(one.box, found)) continue;
        one.score = out.scores.f32()[k];
        one.label = out.labels.i64()[k];
        found.objects.push_back(one);
    }
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

Result<Engine> Engine::load(const std::string& path, const LoadOptions& options) {
    return guarded([&]() -> Result<Engine> { return Impl::load(path, options, built_in_backends()); });
}

Result<std::vector<Detections>> Engine::detect(const ImageView* images, std::size_t count,
                                               const Thresholds& thresholds) const {
    return guarded([&]() -> Result<std::vector<Detections>> {
        std::vector<Detections> found;
        GD_CHECK(impl_->detect(images, count, thresholds, found));
        return found;
    });
}

Result<Detections> Engine::detect(const ImageView& image, const Thresholds& thresholds) const {
    auto found = detect(&image, 1, thresholds);
    if (!found) return found.status();
    return std::move(found->front());
}

const std::vector<std::string>& Engine::classes() const { return impl_->classes; }
const std::string& Engine::detector() const { return impl_->detector; }
const std::string& Engine::target() const { return impl_->target; }

std::string Engine::name(std::int64_t label) const {
    const bool known = label >= 0 && label < static_cast<std::int64_t>(classes().size());
    return known ? classes()[static_cast<std::size_t>(label)] : std::to_string(label);
}

const char* version() { return GRAPHDET_VERSION; }

std::vector<std::string> backends() {
    std::vector<std::string> names;
    for (const auto& [name, open] : built_in_backends()) names.push_back(name);
    return names;
}

}  // namespace graphdet
