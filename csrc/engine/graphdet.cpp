// The public C++ interface, on top of the engine's inside.
#include "graphdet/graphdet.hpp"

#include <future>
#include <memory>

#include "engine/engine.h"
#include "engine/guard.h"
#include "graphdet_version.h"
#include "ops/mask/mask.h"

namespace graphdet {

namespace {

Status pictures_of(const ImageView* images, std::size_t count, std::vector<Picture>& pictures) {
    pictures.resize(count);
    for (std::size_t i = 0; i < count; ++i) GD_CHECK(picture_of(images[i], i, pictures[i]));
    return Status();
}

Status paste_of(const Detections& image, std::size_t object, PasteMasks& args) {
    static constexpr std::int64_t one = 1;
    const Grids& grids = image.grids;
    if (object >= grids.spans.size()) {
        return Status(Code::bad_input, "there is no mask " + std::to_string(object) + "; the image has " +
                                           std::to_string(grids.spans.size()));
    }
    const auto view = [](const void* data, DType dtype, const Dims& dims) {
        return TensorView{const_cast<void*>(data), dtype, dims};  // operands are only read
    };
    const auto cells = static_cast<std::size_t>(grids.rows * grids.columns);
    args.masks = view(grids.values.data() + object * cells, DType::f32, {1, 1, grids.rows, grids.columns});
    args.boxes = view(grids.spans[object].data(), DType::f32, {1, 1, 4});
    args.count = view(&one, DType::i64, {1});
    args.height = image.height, args.width = image.width;
    return Status();
}

Settings settings_of(const Thresholds& thresholds) {
    Settings settings;
    if (thresholds.score) settings.push_back({"score_threshold", *thresholds.score});
    if (thresholds.iou) settings.push_back({"iou_threshold", *thresholds.iou});
    return settings;
}

}  // namespace

Result<std::vector<std::uint8_t>> Detections::bitmap(std::size_t object) const {
    return guarded([&]() -> Result<std::vector<std::uint8_t>> {
        PasteMasks args;
        GD_CHECK(paste_of(*this, object, args));
        Plan needed;
        GD_CHECK(plan(args, needed));
        std::vector<std::uint8_t> out(needed.outputs[0].dims.count() > 0 ? static_cast<std::size_t>(height * width)
                                                                         : 0);
        std::vector<std::uint8_t> scratch(needed.workspace + Workspace::kAlign);
        void* base = scratch.data();
        std::size_t room = scratch.size();
        base = std::align(Workspace::kAlign, needed.workspace, base, room);
        const TensorView view = {out.data(), DType::u8, needed.outputs[0].dims};
        GD_CHECK(launch(args, &view, Workspace(base, needed.workspace)));
        return out;
    });
}

Result<std::string> Detections::runs(std::size_t object) const {
    return guarded([&]() -> Result<std::string> {
        PasteMasks args;
        GD_CHECK(paste_of(*this, object, args));
        std::vector<Runs> found;
        GD_CHECK(paste_runs(args, found));
        return rle_to_text(found[0]);
    });
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

Result<Engine> Engine::load(const std::string& path, const LoadOptions& options) {
    return guarded([&]() -> Result<Engine> {
        const auto artefact = Artefact::read(path);
        GD_CHECK(artefact.status());
        auto impl = Impl::open(*artefact, options, built_in_backends());
        GD_CHECK(impl.status());
        return Engine(*std::move(impl));
    });
}

Result<std::vector<Detections>> Engine::detect(const ImageView* images, std::size_t count,
                                               const Thresholds& thresholds) const {
    return guarded([&]() -> Result<std::vector<Detections>> {
        std::vector<Picture> pictures;
        std::vector<Detections> found;
        GD_CHECK(pictures_of(images, count, pictures));
        GD_CHECK(impl_->detect(pictures.data(), count, settings_of(thresholds), found));
        return found;
    });
}

Result<Detections> Engine::detect(const ImageView& image, const Thresholds& thresholds) const {
    auto found = detect(&image, 1, thresholds);
    if (!found) return found.status();
    return std::move(found->front());
}

Result<std::vector<Panoptic>> Engine::panoptic(const ImageView* images, std::size_t count) const {
    return guarded([&]() -> Result<std::vector<Panoptic>> {
        std::vector<Picture> pictures;
        std::vector<Panoptic> found;
        GD_CHECK(pictures_of(images, count, pictures));
        GD_CHECK(impl_->panoptic(pictures.data(), count, {}, found));
        return found;
    });
}

std::future<Result<std::vector<Detections>>> Engine::submit(const ImageView* images, std::size_t count,
                                                            const Thresholds& thresholds) const {
    using Found = Result<std::vector<Detections>>;
    auto promise = std::make_shared<std::promise<Found>>();
    auto future = promise->get_future();
    const Status submitted = guarded([&] {
        std::vector<Picture> pictures;
        GD_CHECK(pictures_of(images, count, pictures));
        return impl_->queue().push(
            [promise, pictures, settings = settings_of(thresholds), impl = impl_.get()](bool go) {
                promise->set_value(guarded([&]() -> Found {
                    std::vector<Detections> found;
                    if (!go) return Status(Code::engine_closed, "the engine was closed before this work was begun");
                    GD_CHECK(impl->detect(pictures.data(), pictures.size(), settings, found));
                    return found;
                }));
            });
    });
    if (!submitted.ok()) promise->set_value(submitted);
    return future;
}

void Engine::close() const { impl_->queue().close(); }

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
