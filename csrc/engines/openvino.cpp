// Segments on OpenVINO, CPU, float32, as graphdet/runtime/adapters/openvino.py runs them. A segment is an ONNX model
// whose input names are the plan's value names.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <openvino/op/constant.hpp>
#include <openvino/openvino.hpp>

#include "engine/external.h"
#include "engine/guard.h"
#include "engine/segment.h"

namespace graphdet {

namespace {

using Port = ov::Output<const ov::Node>;
using Ports = std::vector<Port>;
using Inputs = std::vector<std::pair<std::size_t, Port>>;  // with the number of the operand

ov::element::Type type_of(DType dtype) {
    switch (dtype) {
        case DType::f32: return ov::element::f32;
        case DType::i64: return ov::element::i64;
        default: return ov::element::u8;
    }
}

ov::Tensor wrapped(const TensorView& view) {
    static std::int64_t nothing = 0;  // an empty tensor still wants an address
    const ov::Shape shape(view.dims.size, view.dims.size + view.dims.rank);
    return {type_of(view.dtype), shape, view.data != nullptr ? view.data : &nothing};
}

Status view_of(ov::Tensor tensor, TensorView& view) {
    const ov::Shape& shape = tensor.get_shape();
    GD_CHECK(require(shape.size() <= Dims::kMaxRank, "an output has ", shape.size(), " dimensions"));
    view.data = tensor.get_size() > 0 ? tensor.data() : nullptr;
    view.dtype = tensor.get_element_type() == ov::element::f32 ? DType::f32 : DType::i64;
    view.dims = {};
    for (const std::size_t size : shape) view.dims[view.dims.rank++] = static_cast<std::int64_t>(size);
    return Status();
}

class OpenVinoRun final : public SegmentRun {
  public:
    OpenVinoRun(ov::InferRequest request, const Inputs& inputs, const Ports& outputs, ov::CompiledModel* lean)
        : request_(std::move(request)), inputs_(inputs), outputs_(outputs), lean_(lean) {}

    Status run(const TensorView* inputs, TensorView* outputs) override {
        return guarded([&] {
            for (const auto& [operand, port] : inputs_) request_.set_tensor(port, wrapped(inputs[operand]));
            request_.infer();
            if (lean_ != nullptr) lean_->release_memory();  // not the request's outputs
            for (std::size_t i = 0; i < outputs_.size(); ++i) {
                GD_CHECK(view_of(request_.get_tensor(outputs_[i]), outputs[i]));
            }
            return Status();
        });
    }

  private:
    ov::InferRequest request_;
    const Inputs& inputs_;  // of the segment, which outlives its runs
    const Ports& outputs_;
    ov::CompiledModel* lean_;  // null: what a run needs is kept for the next
};

class OpenVinoSegment final : public Segment {
  public:
    OpenVinoSegment(ov::CompiledModel model, Inputs inputs, bool lean)
        : model_(std::move(model)), inputs_(std::move(inputs)), outputs_(model_.outputs()), lean_(lean) {}

    [[nodiscard]] Result<std::unique_ptr<SegmentRun>> start() const override {
        return guarded([&]() -> Result<std::unique_ptr<SegmentRun>> {
            return std::unique_ptr<SegmentRun>(std::make_unique<OpenVinoRun>(model_.create_infer_request(), inputs_,
                                                                             outputs_, lean_ ? &model_ : nullptr));
        });
    }

  private:
    // `create_infer_request` makes a request of its own for each caller, though it is not declared const.
    mutable ov::CompiledModel model_;
    Inputs inputs_;
    Ports outputs_;
    bool lean_;
};

// A file without a name, mapped for as long as a constant lies in it.
class Mapped {
  public:
    explicit Mapped(std::FILE* file, std::size_t bytes)
        : data_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, ::fileno(file), 0)), bytes_(bytes) {
        if (data_ == MAP_FAILED) throw std::bad_alloc();
    }
    Mapped(const Mapped&) = delete;
    Mapped& operator=(const Mapped&) = delete;
    ~Mapped() { ::munmap(data_, bytes_); }

    [[nodiscard]] char* data() const { return static_cast<char*>(data_); }
    void give_back() const { (void)::madvise(data_, bytes_, MADV_DONTNEED); }

  private:
    void* data_;
    std::size_t bytes_;
};

// Moves large constants into such a file; null where there are none, or no file can be written. OpenVINO keeps the
// constants of a model beside the copies that its kernels read, and hardly looks at them again.
std::shared_ptr<Mapped> to_file(const ov::Model& model) {
    constexpr std::size_t kLarge = std::size_t{1} << 16, kAlign = 64;
    std::vector<std::pair<std::shared_ptr<ov::op::v0::Constant>, std::size_t>> large;
    std::size_t end = 0;
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), &std::fclose);
    if (!file) return nullptr;
    for (const auto& node : model.get_ops()) {
        const auto constant = std::dynamic_pointer_cast<ov::op::v0::Constant>(node);
        if (!constant || constant->get_byte_size() < kLarge) continue;
        const char padding[kAlign] = {};
        const std::size_t bytes = constant->get_byte_size(), rest = (kAlign - bytes % kAlign) % kAlign;
        if (std::fwrite(constant->get_data_ptr(), 1, bytes, file.get()) != bytes) return nullptr;
        if (std::fwrite(padding, 1, rest, file.get()) != rest) return nullptr;
        large.emplace_back(constant, end);
        end += bytes + rest;
    }
    if (large.empty() || std::fflush(file.get()) != 0) return nullptr;
    auto mapped = std::make_shared<Mapped>(file.get(), end);
    for (const auto& [constant, start] : large) {
        const auto moved = std::make_shared<ov::op::v0::Constant>(constant->get_element_type(), constant->get_shape(),
                                                                  mapped->data() + start, mapped);
        moved->set_friendly_name(constant->get_friendly_name());
        constant->output(0).replace(moved->output(0));
    }
    return mapped;
}

// Every input of the model with the operand of its name. OpenVINO drops inputs that nothing reads, so an operand may be
// left over.
Status match_inputs(const ov::CompiledModel& model, const std::vector<std::string>& names, Inputs& inputs) {
    for (std::size_t i = 0; i < names.size(); ++i) {
        for (const Port& port : model.inputs()) {
            if (port.get_names().count(names[i]) > 0) inputs.emplace_back(i, port);
        }
    }
    return require(inputs.size() == model.inputs().size(), "the segment has ", model.inputs().size(),
                   " inputs, of which ", inputs.size(), " have the name of an operand");
}

Status check_outputs(const ov::CompiledModel& model, std::size_t expected) {
    const auto& outputs = model.outputs();
    GD_CHECK(require(outputs.size() == expected, "the segment gives ", outputs.size(), " outputs, the plan expects ",
                     expected));
    for (const auto& port : outputs) {
        const ov::element::Type type = port.get_element_type();
        GD_CHECK(require(type == ov::element::f32 || type == ov::element::i64, "an output of the segment is of type ",
                         type.get_type_name(), ", expected f32 or i64"));
    }
    return Status();
}

Result<std::unique_ptr<Segment>> compile(const std::string& content, const SegmentRequest& request) {
    ov::Core core;
    ov::AnyMap options = {ov::hint::inference_precision(ov::element::f32),
                          ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)};
    if (request.threads > 0) options.insert(ov::inference_num_threads(request.threads));
    const std::shared_ptr<ov::Model> source = core.read_model(content, ov::Tensor());
    const std::shared_ptr<Mapped> mapped = request.lean ? to_file(*source) : nullptr;
    ov::CompiledModel model = core.compile_model(source, "CPU", options);
    if (mapped) mapped->give_back();
    const auto achieved = model.get_property(ov::hint::inference_precision);
    if (achieved != ov::element::f32) {
        return Status(Code::precision_mismatch,
                      "openvino compiled the segment in " + achieved.get_type_name() + ", f32 was requested");
    }
    Inputs inputs;
    GD_CHECK(match_inputs(model, request.inputs, inputs));
    GD_CHECK(check_outputs(model, request.outputs));
    return std::unique_ptr<Segment>(
        std::make_unique<OpenVinoSegment>(std::move(model), std::move(inputs), request.lean));
}

}  // namespace

Result<std::unique_ptr<Segment>> open_openvino(const SegmentRequest& request) {
    const auto content = request.model();
    GD_CHECK(content.status());
    GD_CHECK(refuse_external_data(*content));
    auto segment = guarded([&] { return compile(*content, request); });
    if (segment.ok() || segment.status().code() != Code::internal) return segment;
    return Status(Code::corrupt_artefact, "openvino refuses the segment: " + segment.status().text());
}

}  // namespace graphdet
