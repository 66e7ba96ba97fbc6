#include "engine/engine.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/check.h"
#include "ops/fuse_segments/fuse_segments.h"

namespace graphdet {

namespace {

TensorView f32_view(float* data, const Dims& dims) { return {data, DType::f32, dims}; }

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

// The padded network input in pixels of an image.
std::array<float, 4> whole_canvas(const Layout& layout, std::size_t image) {
    const float* geometry = layout.geometry.data() + 4 * image;
    const auto at = [&](int axis, float net) { return (net - geometry[2 + axis]) / geometry[axis]; };
    return {at(0, 0.0F), at(1, 0.0F), at(0, static_cast<float>(layout.canvas.width)),
            at(1, static_cast<float>(layout.canvas.height))};
}

constexpr const char* kProposals = "proposals.boxes";
constexpr const char* kProposalCount = "proposals.count";

// How many boxes of an image a plan takes that is given boxes and their number, and nothing else; 0 for other plans.
std::int64_t most_proposals(const std::vector<GivenRow>& given) {
    std::int64_t most = 0;
    bool counted = false;
    for (const GivenRow& row : given) {
        const bool boxes = row.dtype == DType::f32 && row.dims.rank == 2 && row.dims[1] == 4;
        if (row.name == kProposals && boxes && row.meaning == "boxes<xyxy,image>") most = row.dims[0];
        counted |= row.name == kProposalCount && row.dtype == DType::i64 && row.dims.rank == 0;
    }
    return counted && given.size() == 2 ? most : 0;
}

Dims of_batch(std::int64_t images, const Dims& each) {
    Dims dims = {images};
    for (int i = 0; i < each.rank; ++i) dims[dims.rank++] = each[i];
    return dims;
}

template <class... Parts>
Status bad_input(const Parts&... parts) {
    return Status(Code::bad_input, require(false, parts...).text());
}

std::string text_of(const Size& size) { return std::to_string(size.height) + "x" + std::to_string(size.width); }

Status check_options(const LoadOptions& options) {
    if (options.threads < 0) return bad_input("threads is ", options.threads, ", expected at least 0");
    const std::pair<const char*, int> counts[] = {
        {"chunk", options.chunk}, {"workers", options.workers}, {"queue", options.queue}};
    for (const auto& [name, count] : counts) {
        if (count < 1) return bad_input(name, " is ", count, ", expected at least 1");
    }
    return Status();
}

}  // namespace

Engine::Impl::Impl(const LoadOptions& options)
    : queue_(static_cast<std::size_t>(options.workers), static_cast<std::size_t>(options.queue)) {}

Result<std::unique_ptr<Engine::Impl>> Engine::Impl::open(const Artefact& artefact, const LoadOptions& options,
                                                         const Backends& backends) {
    GD_CHECK(check_options(options));
    auto executor = Executor::open(artefact, backends, options.threads, options.lean);
    GD_CHECK(executor.status());
    const Header& header = artefact.header();
    std::unique_ptr<Impl> impl(new Impl(options));
    impl->executor_ = *std::move(executor);
    impl->detector = header.detector;
    impl->target = header.target;
    impl->classes = header.classes;
    impl->rule_ = header.preprocess;
    impl->bounds_ = header.size ? Bounds{*header.size, *header.size} : header.bounds;
    impl->given_ = header.given;
    impl->most_ = most_proposals(header.given);
    impl->batch_ = header.batch;
    impl->thresholds_ = header.thresholds;
    impl->clip_ = header.clip;
    impl->masks_ = header.masks;
    impl->chunk_ = static_cast<std::size_t>(header.batch.value_or(options.chunk));
    return impl;
}

template <class Body>
Status Engine::Impl::with_context(const Settings& settings, const Body& body) {
    auto taken = take_context();
    GD_CHECK(taken.status());
    std::unique_ptr<Context> context = *std::move(taken);
    Status status = set_thresholds(settings, context->thresholds);
    if (status.ok()) status = body(*context);
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(context));
    return status;
}

Result<std::unique_ptr<Engine::Impl::Context>> Engine::Impl::take_context() {
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

Status Engine::Impl::set_thresholds(const Settings& settings, std::vector<float>& values) const {
    values.clear();
    for (const auto& [name, value] : thresholds_) values.push_back(value);
    for (const Setting& given : settings) {
        const auto found = std::find_if(thresholds_.begin(), thresholds_.end(),
                                        [&](const auto& threshold) { return threshold.first == given.name; });
        if (found == thresholds_.end()) {
            std::string known;
            for (const auto& [name, value] : thresholds_) known += (known.empty() ? "" : ", ") + name;
            return bad_input("this engine has no input '", given.name, "'; it has ",
                             known.empty() ? "no thresholds" : known);
        }
        if (!(given.value >= 0.0 && given.value <= 1.0)) {
            return bad_input(given.name, " is ", given.value, ", expected a number in 0..1");
        }
        values[static_cast<std::size_t>(found - thresholds_.begin())] = static_cast<float>(given.value);
    }
    return Status();
}

// Calls `keep(outputs, image of the chunk, layout, number of the image)` for each image, while the outputs are valid.
template <class Keep>
Status Engine::Impl::each(const Picture* images, std::size_t count, const Settings& settings, const Keep& keep) {
    return with_context(settings, [&](Context& context) {
        for (std::size_t i = 0; i < count; ++i) GD_CHECK(check_proposals(images[i]));
        for (std::size_t start = 0; start < count; start += chunk_) {
            const std::size_t part = std::min(chunk_, count - start);
            RunOutputs outputs;
            GD_CHECK(run_chunk(context, images + start, part, outputs));
            for (std::size_t i = 0; i < part; ++i) GD_CHECK(keep(outputs, i, context.layout, start + i));
        }
        return Status();
    });
}

Status Engine::Impl::detect(const Picture* images, std::size_t count, const Settings& settings,
                            std::vector<Detections>& found) {
    found.resize(count);
    return each(images, count, settings,
                [&](const RunOutputs& outputs, std::size_t i, const Layout& layout, std::size_t image) {
                    found[image].height = images[image].pixels.height;
                    found[image].width = images[image].pixels.width;
                    collect(outputs, i, layout, found[image]);
                    return Status();
                });
}

Status Engine::Impl::panoptic(const Picture* images, std::size_t count, const Settings& settings,
                              std::vector<Panoptic>& found) {
    if (!executor_->has_segments()) return bad_input(detector, " finds no panoptic segments");
    found.clear();
    return each(images, count, settings,
                [&](const RunOutputs& outputs, std::size_t i, const Layout& layout, std::size_t image) {
                    FuseSegments args;
                    const auto row = [&](int output) {
                        TensorView view = outputs.segments[output];
                        const std::size_t bytes = view.bytes() / static_cast<std::size_t>(view.dims[0]);
                        view.data = static_cast<std::byte*>(view.data) + i * bytes;
                        std::copy(view.dims.size + 1, view.dims.size + view.dims.rank, view.dims.size);
                        view.dims.size[--view.dims.rank] = 0;
                        return view;
                    };
                    args.scores = row(0), args.labels = row(1), args.things = row(2), args.logits = row(3);
                    const std::array<float, 4> span = whole_canvas(layout, i);
                    std::copy(span.begin(), span.end(), args.span);
                    args.height = images[image].pixels.height, args.width = images[image].pixels.width;
                    FusedSegments fused;
                    GD_CHECK(fuse_segments(args, fused));
                    Panoptic& one = found.emplace_back();
                    one.height = args.height, one.width = args.width, one.map = std::move(fused.map);
                    for (std::size_t k = 0; k < fused.labels.size(); ++k) {
                        one.segments.push_back(
                            {static_cast<std::int32_t>(k) + 1, fused.labels[k], fused.things[k] != 0, fused.areas[k]});
                    }
                    return Status();
                });
}

Status Engine::Impl::check_proposals(const Picture& image) const {
    if (!given_.empty() && most_ == 0) {
        return bad_input(detector, " needs the input '", given_.front().name, "', which does not come with images");
    }
    if (!image.proposals && most_ == 0) return Status();
    if (!image.proposals) {
        return bad_input("image ", image.number, " comes without proposals, and ", detector, " is given up to ", most_,
                         " for each image");
    }
    const auto [data, count] = *image.proposals;
    if (most_ == 0) return bad_input("image ", image.number, " comes with proposals, and ", detector, " takes none");
    if (count < 0 || count > most_ || (count > 0 && data == nullptr)) {
        return bad_input("image ", image.number, " comes with ", data == nullptr ? 0 : count, " proposals, ", detector,
                         " takes up to ", most_);
    }
    for (std::int64_t i = 0; i < 4 * count; ++i) {
        if (std::isfinite(data[i])) continue;
        return bad_input("proposal ", i / 4, " of image ", image.number, " holds a number that is not finite");
    }
    return Status();
}

// Padded with zeros; the last image stands for those that fill up the batch.
void Engine::Impl::place_proposals(const Picture* images, std::size_t count, std::size_t filled,
                                   Context& context) const {
    const auto batch = static_cast<std::int64_t>(filled);
    auto* boxes = context.boxes.reserve_for<float>(batch * most_ * 4);
    std::fill_n(boxes, batch * most_ * 4, 0.0F);
    context.counts.clear(), context.given.clear();
    for (std::size_t i = 0; i < filled; ++i, boxes += most_ * 4) {
        const BoxesView& own = *images[std::min(i, count - 1)].proposals;
        std::copy_n(own.data, 4 * own.count, boxes);
        context.counts.push_back(own.count);
    }
    for (const GivenRow& row : given_) {
        void* data = row.name == kProposals ? static_cast<void*>(boxes - batch * most_ * 4) : context.counts.data();
        context.given.push_back({data, row.dtype, of_batch(batch, row.dims)});
    }
}

Status Engine::Impl::run_chunk(Context& context, const Picture* images, std::size_t count, RunOutputs& outputs) const {
    // A fixed batch is filled up with copies of the last image.
    const auto batch = batch_.value_or(static_cast<std::int64_t>(count));
    const auto filled = static_cast<std::size_t>(batch);
    Layout& layout = context.layout;
    lay_out(images, count, filled, rule_, bounds_, layout);
    auto* pixels = context.pixels.reserve_for<float>(batch * 3 * layout.canvas.height * layout.canvas.width);
    GD_CHECK(place(images, count, filled, rule_, layout, context.scratch, DType::f32, pixels));
    RunInputs inputs;
    inputs.pixels = f32_view(pixels, {batch, 3, layout.canvas.height, layout.canvas.width});
    inputs.size = f32_view(layout.size.data(), {batch, 2});
    inputs.geometry = f32_view(layout.geometry.data(), {batch, 4});
    if (most_ > 0) place_proposals(images, count, filled, context);
    inputs.given = context.given.data();
    inputs.thresholds = context.thresholds.data();
    return executor_->run(*context.run, inputs, outputs);
}

void Engine::Impl::collect(const RunOutputs& out, std::size_t image, const Layout& layout, Detections& found) const {
    const auto n = static_cast<std::int64_t>(image);
    const std::int64_t rows = out.scores.dims[1], count = out.count.i64()[n];
    found.objects.clear();
    found.objects.reserve(static_cast<std::size_t>(count));
    Grids& grids = found.grids;
    grids.values.clear(), grids.spans.clear();
    grids.rows = masks_ ? out.masks.dims[2] : 0, grids.columns = masks_ ? out.masks.dims[3] : 0;
    const std::int64_t cells = grids.rows * grids.columns;
    const auto keep_grid = [&](std::int64_t k, const float* box) {
        const float* grid = out.masks.f32() + (n * out.masks.dims[1] + k) * cells;
        grids.values.insert(grids.values.end(), grid, grid + cells);
        if (*masks_ == MaskFrame::roi) {
            grids.spans.push_back({box[0], box[1], box[2], box[3]});
        } else {
            grids.spans.push_back(whole_canvas(layout, image));
        }
    };
    for (std::int64_t k = n * rows; k < n * rows + count; ++k) {
        Detection one;
        const float* box = out.boxes.f32() + 4 * k;
        std::copy_n(box, 4, one.box.begin());
        if (clip_ && !clip(one.box, found)) continue;
        one.score = out.scores.f32()[k];
        one.label = out.labels.i64()[k];
        found.objects.push_back(one);
        if (masks_) keep_grid(k - n * rows, box);
    }
}

Status Engine::Impl::run(const RunInputs& batch, const Inputs& given, const Settings& settings, const Watch* watch,
                         const Watch& take) {
    GD_CHECK(check_batch(batch));
    return with_context(settings, [&](Context& context) {
        GD_CHECK(set_inputs(given, batch.pixels.dims[0], context.given));
        RunInputs inputs = batch;
        RunOutputs outputs;
        inputs.given = context.given.data();
        inputs.thresholds = context.thresholds.data();
        GD_CHECK(executor_->run(*context.run, inputs, outputs, watch));
        return executor_->outputs(*context.run, take);
    });
}

Status Engine::Impl::check_batch(const RunInputs& batch) const {
    const Dims& dims = batch.pixels.dims;
    if (batch.pixels.dtype != DType::f32 || dims.rank != 4 || dims[1] != 3 || dims[0] < 1) {
        return bad_input("pixels is ", text_of(batch.pixels.dtype, dims), ", expected f32[N 3 H W] with N at least 1");
    }
    const Size size = {dims[2], dims[3]};
    if (batch_.value_or(dims[0]) != dims[0]) {
        return bad_input("the batch has ", dims[0], " images, the engine was built for ", *batch_);
    }
    if (bounds_ && bounds_->nearest(size) != size) {
        const auto& [least, most] = *bounds_;
        const std::string range = text_of(least) + (least == most ? "" : " to " + text_of(most));
        return bad_input("pixels are ", text_of(size), ", the engine was built for ", range);
    }
    const std::int64_t divisor = rule_.divisor;
    const bool fixed = bounds_ && bounds_->least == bounds_->most;
    if (!fixed && (size.height < 1 || size.width < 1 || size.height % divisor != 0 || size.width % divisor != 0)) {
        return bad_input("pixels are ", text_of(size), ", expected multiples of ", divisor);
    }
    for (const auto& [name, view, columns] :
         {std::tuple("size", batch.size, 2), std::tuple("geometry", batch.geometry, 4)}) {
        const Status fits = expect("run", name, view, DType::f32, {{"N", dims[0]}, columns});
        if (!fits.ok()) return Status(Code::bad_input, fits.text());
    }
    return Status();
}

// By name, in the order of the header.
Status Engine::Impl::set_inputs(const Inputs& inputs, std::int64_t images, std::vector<TensorView>& values) const {
    values.clear();
    for (const auto& input : inputs) {
        const auto known = [&](const GivenRow& row) { return row.name == input.first; };
        if (std::any_of(given_.begin(), given_.end(), known)) continue;
        return bad_input("this engine has no input '", input.first, "' that comes with images");
    }
    for (const GivenRow& row : given_) {
        const Dims dims = of_batch(images, row.dims);
        const auto found =
            std::find_if(inputs.begin(), inputs.end(), [&](const auto& input) { return input.first == row.name; });
        const auto wanted = text_of(row.dtype, dims);
        if (found == inputs.end()) return bad_input("input '", row.name, "' is not given, expected ", wanted);
        const TensorView& view = found->second;
        if (view.dtype != row.dtype || view.dims != dims) {
            return bad_input("input '", row.name, "' is ", text_of(view.dtype, view.dims), ", expected ", wanted);
        }
        values.push_back(found->second);
        if (most_ == 0 || row.name != kProposalCount) continue;
        for (std::int64_t n = 0; n < images; ++n) {
            const std::int64_t count = values.back().i64()[n];
            if (count < 0 || count > most_) return bad_input(row.name, "[", n, "] is ", count, ", expected 0..", most_);
        }
    }
    return Status();
}

}  // namespace graphdet
