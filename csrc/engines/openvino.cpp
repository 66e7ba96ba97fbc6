// Segments on OpenVINO, CPU, float32, as graphdet/runtime/adapters/openvino.py runs them. A segment is an ONNX model
// whose input names are the plan's value names.
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
    OpenVinoRun(ov::InferRequest request, const Inputs& inputs, const Ports& outputs)
        : request_(std::move(request)), inputs_(inputs), outputs_(outputs) {}

    Status run(const TensorView* inputs, TensorView* outputs) override {
        return guarded([&] {
            for (const auto& [operand, port] : inputs_) request_.set_tensor(port, wrapped(inputs[operand]));
            request_.infer();
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
};

class OpenVinoSegment final : public Segment {
  public:
    OpenVinoSegment(ov::CompiledModel model, Inputs inputs)
        : model_(std::move(model)), inputs_(std::move(inputs)), outputs_(model_.outputs()) {}

    [[nodiscard]] Result<std::unique_ptr<SegmentRun>> start() const override {
        return guarded([&]() -> Result<std::unique_ptr<SegmentRun>> {
            return std::unique_ptr<SegmentRun>(
                std::make_unique<OpenVinoRun>(model_.create_infer_request(), inputs_, outputs_));
        });
    }

  private:
    // `create_infer_request` makes a request of its own for each caller, though it is not declared const.
    mutable ov::CompiledModel model_;
    Inputs inputs_;
    Ports outputs_;
};

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
    ov::CompiledModel model = core.compile_model(core.read_model(content, ov::Tensor()), "CPU", options);
    const auto achieved = model.get_property(ov::hint::inference_precision);
    if (achieved != ov::element::f32) {
        return Status(Code::precision_mismatch,
                      "openvino compiled the segment in " + achieved.get_type_name() + ", f32 was requested");
    }
    Inputs inputs;
    GD_CHECK(match_inputs(model, request.inputs, inputs));
    GD_CHECK(check_outputs(model, request.outputs));
    return std::unique_ptr<Segment>(std::make_unique<OpenVinoSegment>(std::move(model), std::move(inputs)));
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
