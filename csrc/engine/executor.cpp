#include "engine/executor.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "core/check.h"

namespace graphdet {

namespace {

constexpr int kAbsent = -1;

// Sizes come from a file's attributes: what kernels compute from them must not overflow.
constexpr std::int64_t kMaxSide = std::int64_t{1} << 31;  // of a dimension
#if defined(FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION)
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 24;  // of a value: quick enough to fill
#else
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 40;
#endif

Status check_size(const Spec& spec) {
    auto bytes = static_cast<std::int64_t>(bytes_of(spec.dtype));
    bool fits = true;
    for (int i = 0; i < spec.dims.rank; ++i) {
        const std::int64_t side = spec.dims[i];
        fits = fits && side >= 0 && side <= kMaxSide && !__builtin_mul_overflow(bytes, side, &bytes);
    }
    fits = fits && bytes <= kMaxBytes;
    return require(fits, "an output would be ", text_of(spec.dtype, spec.dims), ", which is too large");
}

template <class... Parts>
Status corrupt(const Parts&... parts) {
    return Status(Code::corrupt_artefact, require(false, parts...).text());
}

TensorView scalar_view(const float* value) {
    TensorView view;
    view.data = const_cast<float*>(value);
    return view;
}

std::string names_of(const Backends& backends) {
    std::string names;
    for (const auto& [name, open] : backends) names += (names.empty() ? "" : ", ") + name;
    return names.empty() ? "none" : names;
}

// What `free` kept for later requests goes back to the system, where the C library can be told to.
void give_back_freed() {
#if defined(__GLIBC__)
    (void)malloc_trim(0);
#endif
}

Status check_outputs(const RunOutputs& out, std::int64_t images, bool masks) {
    constexpr const char* op = "plan";
    GD_CHECK(expect(op, "output scores", out.scores, DType::f32, {{"N", images}, "K"}));
    const std::int64_t rows = out.scores.dims[1];
    GD_CHECK(expect(op, "output boxes", out.boxes, DType::f32, {{"N", images}, {"K", rows}, 4}));
    GD_CHECK(expect(op, "output labels", out.labels, DType::i64, {{"N", images}, {"K", rows}}));
    GD_CHECK(expect(op, "output count", out.count, DType::i64, {{"N", images}}));
    if (masks) GD_CHECK(expect(op, "output masks", out.masks, DType::f32, {{"N", images}, "M", "P", "Q"}));
    if (out.segments[0].dims.rank > 0) {
        GD_CHECK(expect(op, "output segment_scores", out.segments[0], DType::f32, {{"N", images}, "S"}));
        const std::int64_t queries = out.segments[0].dims[1];
        GD_CHECK(expect(op, "output segment_labels", out.segments[1], DType::i64, {{"N", images}, {"S", queries}}));
        GD_CHECK(expect(op, "output segment_things", out.segments[2], DType::i64, {{"N", images}, {"S", queries}}));
        GD_CHECK(expect(op, "output segment_logits", out.segments[3], DType::f32,
                        {{"N", images}, {"S", queries}, "R", "C"}));
    }
    const std::int64_t most = masks ? std::min(rows, out.masks.dims[1]) : rows;
    for (std::int64_t n = 0; n < images; ++n) {
        const std::int64_t count = out.count.i64()[n];
        GD_CHECK(require(count >= 0 && count <= most, "plan: count[", n, "] is ", count, ", expected 0..", most));
    }
    return Status();
}

}  // namespace

std::size_t Executor::Context::bytes() const {
    std::size_t bytes = arena_bytes + workspace_bytes;
    for (const std::size_t slot : slot_bytes) bytes += slot;
    return bytes;
}

void Executor::Context::release() {
    arena.release(), workspace.release();
    for (Buffer& slot : slots) slot.release();
}

Result<std::unique_ptr<Executor>> Executor::open(const Artefact& artefact, const Backends& backends, int threads,
                                                 bool lean) {
    auto executor = std::make_unique<Executor>();
    executor->lean_ = lean;
    if (artefact.has("constants")) {
        const auto blob = artefact.blob("constants");
        GD_CHECK(blob.status());
        GD_CHECK(executor->constants_.read(*blob));
    }
    GD_CHECK(executor->number_values(artefact.header()));
    GD_CHECK(executor->bind_steps(artefact, backends, threads));
    executor->assign_slots();
    GD_CHECK(executor->assign_rooms(artefact.header()));
    return executor;
}

Status Executor::number_values(const Header& header) {
    std::map<std::string, int> numbers;
    const auto add = [&](const std::string& name, const TensorView& view) {
        initial_.push_back(view);
        return numbers.emplace(name, static_cast<int>(initial_.size()) - 1).second;
    };
    for (const char* name : kGraphInputs) add(name, {});
    for (const GivenRow& row : header.given) {
        if (!add(row.name, {})) return corrupt("input '", row.name, "' has the name of a graph input");
    }
    given_ = header.given.size();
    for (const auto& [name, value] : header.thresholds) {
        if (!add(name, {})) return corrupt("threshold '", name, "' has the name of a graph input");
    }
    thresholds_ = header.thresholds.size();
    for (const auto& [name, view] : constants_.views()) {
        if (!add(name, view)) return corrupt("constant '", name, "' has the name of a graph input");
    }
    for (const StepRow& row : header.steps) {
        const std::size_t i = steps_.size();
        Step& step = steps_.emplace_back();
        step.row = row;
        for (const auto& name : row.inputs) {
            const auto found = name ? numbers.find(*name) : numbers.end();
            if (name && found == numbers.end()) {
                return corrupt("plan step ", i, " uses value '", *name, "', which nothing before it makes");
            }
            step.inputs.push_back(name ? found->second : kAbsent);
        }
        for (const std::string& name : row.outputs) {
            if (!add(name, {})) return corrupt("plan step ", i, " makes value '", name, "' a second time");
            step.outputs.push_back(static_cast<int>(initial_.size()) - 1);
        }
    }
    for (const auto& [key, name] : header.outputs) {
        const auto found = numbers.find(name);
        if (found == numbers.end()) return corrupt("plan output ", key, " is value '", name, "', which nothing makes");
        all_outputs_.emplace_back(key, found->second);
        const auto* place = std::find(std::begin(kDetectionOutputs), std::end(kDetectionOutputs), key);
        if (place != std::end(kDetectionOutputs)) outputs_[place - std::begin(kDetectionOutputs)] = found->second;
        if (key == "masks") masks_ = found->second;
        const auto* said = std::find(std::begin(kSegmentOutputs), std::end(kSegmentOutputs), key);
        if (said != std::end(kSegmentOutputs)) segments_[said - std::begin(kSegmentOutputs)] = found->second;
    }
    const auto absent = std::count(std::begin(segments_), std::end(segments_), kAbsent);
    if (absent != 0 && absent != 4) return corrupt("the plan has some outputs of panoptic segments, and lacks others");
    return Status();
}

Status Executor::bind_steps(const Artefact& artefact, const Backends& backends, int threads) {
    const std::string& target = artefact.header().target;
    for (Step& step : steps_) {
        if (step.row.native) {
            auto native = make_native(step.row);
            GD_CHECK(native.status());
            step.native = *std::move(native);
            step.row.attrs.clear();  // they point into the artefact, which may be gone later
            continue;
        }
        const auto backend = backends.find(target);
        if (backend == backends.end()) {
            return Status(Code::backend_missing, "this build of graphdet has no backend for target '" + target +
                                                     "'; it has: " + names_of(backends));
        }
        std::vector<std::string> inputs;
        for (const auto& name : step.row.inputs) inputs.push_back(name.value_or(""));
        auto segment = backend->second({artefact, step.row.name, inputs, step.row.outputs.size(), threads, lean_});
        GD_CHECK(segment.status());
        step.segment = *std::move(segment);
        if (lean_) give_back_freed();
    }
    return Status();
}

// By value, the step after which nothing reads it. Outputs are read after the last step.
std::vector<std::size_t> Executor::last_uses() const {
    std::vector<std::size_t> last_use(initial_.size(), 0);
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        for (const auto* list : {&steps_[i].inputs, &steps_[i].outputs}) {
            for (const int value : *list) {
                if (value != kAbsent) last_use[static_cast<std::size_t>(value)] = i;
            }
        }
    }
    for (const auto& [key, value] : all_outputs_) last_use[static_cast<std::size_t>(value)] = steps_.size();
    return last_use;
}

void Executor::assign_slots() {
    const std::vector<std::size_t> last_use = last_uses();
    std::vector<std::size_t> busy_until;  // by slot
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        if (!steps_[i].native) continue;
        for (const int value : steps_[i].outputs) {
            auto slot = std::find_if(busy_until.begin(), busy_until.end(), [&](std::size_t end) { return end < i; });
            if (slot == busy_until.end()) slot = busy_until.insert(slot, 0);
            *slot = last_use[static_cast<std::size_t>(value)];
            steps_[i].slots.push_back(static_cast<int>(slot - busy_until.begin()));
        }
    }
    slot_count_ = busy_until.size();
}

Status Executor::assign_rooms(const Header& header) {
    struct Placed {
        const std::string& name;
        ArenaRow room;
        std::size_t dies;
    };
    const std::vector<std::size_t> last_use = last_uses();
    std::vector<Placed> placed;
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        if (!steps_[i].native) continue;
        for (std::size_t k = 0; k < steps_[i].outputs.size(); ++k) {
            const std::string& name = steps_[i].row.outputs[k];
            const auto found = header.arena.find(name);
            const ArenaRow room = found == header.arena.end() ? ArenaRow() : found->second;
            const std::size_t dies = last_use[static_cast<std::size_t>(steps_[i].outputs[k])];
            steps_[i].rooms.push_back(room);
            if (room.bytes == 0) continue;
            for (const Placed& other : placed) {
                const bool apart = room.offset + room.bytes <= other.room.offset ||
                                   other.room.offset + other.room.bytes <= room.offset;
                if (apart || other.dies < i) continue;
                return corrupt("the memory plan gives '", name, "' bytes of '", other.name, "', which is still needed");
            }
            placed.push_back({name, room, dies});
            arena_bytes_ = std::max(arena_bytes_, static_cast<std::size_t>(room.offset + room.bytes));
        }
    }
    if (arena_bytes_ > static_cast<std::size_t>(kMaxBytes)) return corrupt("the memory plan asks for too much memory");
    return Status();
}

Result<std::unique_ptr<Executor::Context>> Executor::start() const {
    auto context = std::make_unique<Context>();
    context->values = initial_;
    (void)context->arena.reserve(arena_bytes_);
    context->arena_bytes = arena_bytes_;
    context->slots.resize(slot_count_);
    context->slot_bytes.resize(slot_count_);
    for (const Step& step : steps_) {
        Operands& operands = context->operands.emplace_back();
        for (const int value : step.inputs) {
            operands.push_back(value == kAbsent ? nullptr : &context->values[static_cast<std::size_t>(value)]);
        }
        context->natives.push_back(step.native ? step.native->clone() : nullptr);
        context->segments.emplace_back();
        if (!step.segment) continue;
        auto run = step.segment->start();
        GD_CHECK(run.status());
        context->segments.back() = *std::move(run);
    }
    return context;
}

Status Executor::run(Context& context, const RunInputs& inputs, RunOutputs& outputs, const Watch* watch) const {
    if (lean_) {
        context.release();
        give_back_freed();
    }
    auto value = context.values.begin();
    for (const TensorView* view : {&inputs.pixels, &inputs.size, &inputs.geometry}) *value++ = *view;
    for (std::size_t i = 0; i < given_; ++i) *value++ = inputs.given[i];
    for (std::size_t i = 0; i < thresholds_; ++i) *value++ = scalar_view(inputs.thresholds + i);
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        const Status done = steps_[i].native ? run_native(context, i) : run_segment(context, i);
        if (!done.ok()) return explained(context, steps_[i], done);
        if (watch == nullptr) continue;
        for (std::size_t k = 0; k < steps_[i].outputs.size(); ++k) {
            GD_CHECK(
                (*watch)(steps_[i].row.outputs[k], context.values[static_cast<std::size_t>(steps_[i].outputs[k])]));
        }
    }
    const auto output = [&](int place) { return context.values[static_cast<std::size_t>(outputs_[place])]; };
    outputs = {output(0), output(1), output(2), output(3), {}, {}};
    if (masks_ >= 0) outputs.masks = context.values[static_cast<std::size_t>(masks_)];
    for (std::size_t i = 0; has_segments() && i < 4; ++i) {
        outputs.segments[i] = context.values[static_cast<std::size_t>(segments_[i])];
    }
    return check_outputs(outputs, inputs.pixels.dims[0], masks_ >= 0);
}

Status Executor::outputs(const Context& context, const Watch& take) const {
    for (const auto& [key, value] : all_outputs_) GD_CHECK(take(key, context.values[static_cast<std::size_t>(value)]));
    return Status();
}

void* Executor::room_for(Context& context, const Step& step, std::size_t output, std::size_t bytes) const {
    const ArenaRow& room = step.rooms[output];
    if (room.bytes > 0 && bytes <= static_cast<std::size_t>(room.bytes)) {
        return static_cast<std::byte*>(context.arena.reserve(arena_bytes_)) + room.offset;
    }
    const auto slot = static_cast<std::size_t>(step.slots[output]);
    context.slot_bytes[slot] = std::max(context.slot_bytes[slot], bytes);
    return context.slots[slot].reserve(bytes);
}

Status Executor::run_native(Context& context, std::size_t index) const {
    const Step& step = steps_[index];
    NativeCall& call = *context.natives[index];
    Plan plan;
    GD_CHECK(call.plan(context.operands[index], plan));
    const auto count = static_cast<std::size_t>(plan.count);
    GD_CHECK(require(count == step.outputs.size(), "the kernel gives ", count, " outputs, the plan expects ",
                     step.outputs.size()));
    TensorView made[Plan::kMaxOutputs];
    for (std::size_t i = 0; i < count; ++i) {
        GD_CHECK(check_size(plan.outputs[i]));
        made[i].dtype = plan.outputs[i].dtype;
        made[i].dims = plan.outputs[i].dims;
        made[i].data = room_for(context, step, i, made[i].bytes());
    }
    context.workspace_bytes = std::max(context.workspace_bytes, plan.workspace);
    GD_CHECK(call.launch(made, context.workspace.workspace(plan.workspace)));
    for (std::size_t i = 0; i < count; ++i) context.values[static_cast<std::size_t>(step.outputs[i])] = made[i];
    return Status();
}

Status Executor::run_segment(Context& context, std::size_t index) const {
    const Step& step = steps_[index];
    const std::size_t count = step.outputs.size();
    std::vector<TensorView>& inputs = context.segment_inputs;
    inputs.clear();
    for (const TensorView* operand : context.operands[index]) inputs.push_back(*operand);
    const std::size_t inputs_end = inputs.size();
    inputs.resize(inputs_end + count);  // the outputs' views share the vector, which is kept
    GD_CHECK(context.segments[index]->run(inputs.data(), inputs.data() + inputs_end));
    if (lean_) give_back_freed();
    for (std::size_t i = 0; i < count; ++i) {
        context.values[static_cast<std::size_t>(step.outputs[i])] = inputs[inputs_end + i];
    }
    return Status();
}

Status Executor::explained(const Context& context, const Step& step, const Status& failure) const {
    std::ostringstream text;
    text << (step.row.native ? "" : "segment ") << step.row.name << " failed on ";
    const char* gap = "";
    for (const int value : step.inputs) {
        text << gap;
        gap = ", ";
        if (value == kAbsent) {
            text << "none";
        } else {
            const TensorView& view = context.values[static_cast<std::size_t>(value)];
            text << text_of(view.dtype, view.dims);
        }
    }
    text << ": " << failure.text();
    if (!step.row.line.empty()) text << " (" << step.row.line << ')';
    return Status(failure.code(), text.str());
}

}  // namespace graphdet
