// Segments on OpenVINO, CPU, float32, as graphdet/runtime/adapters/openvino.py runs them. A segment is an ONNX model
// whose input names are the plan's value names.
#include <openvino/openvino.hpp>

#include "engine/external.h"
#include "engine/guard.h"
#include "engine/segment.h"

namespace graphdet {

namespace {

using Ports = std::vector<ov::Output<const ov::Node>>;

ov::element::Type type_of(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return ov::element::f32;
        case DType::i64:
            return ov::element::i64;
        default:
            return ov::element::u8;
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
    OpenVinoRun(ov::InferRequest request, const Ports& inputs, const Ports& outputs)
        : request_(std::move(request)), inputs_(inputs), outputs_(outputs) {}

    Status run(const TensorView* inputs, TensorView* outputs) override {
        return guarded([&] {
            for (std::size_t i = 0; i < inputs_.size(); ++i) request_.set_tensor(inputs_[i], wrapped(inputs[i]));
            request_.infer();
            for (std::size_t i = 0; i < outputs_.size(); ++i) {
                GD_CHECK(view_of(request_.get_tensor(outputs_[i]), outputs[i]));
            }
            return Status();
        });
    }

  private:
    ov::InferRequest request_;
    const Ports &inputs_, &outputs_;  // of the segment, which outlives its runs
};

class OpenVinoSegment final : public Segment {
  public:
    OpenVinoSegment(ov::CompiledModel model, Ports inputs)
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
    Ports inputs_, outputs_;
};

// The model's inputs in the order of the operands: each is given exactly once.
Status order_inputs(const ov::CompiledModel& model, const std::vector<std::string>& names, Ports& inputs) {
    for (const std::string& name : names) {
        for (const auto& port : model.inputs()) {
            if (port.get_names().count(name) > 0) inputs.push_back(port);
        }
    }
    const bool fits = inputs.size() == names.size() && inputs.size() == model.inputs().size();
    return require(fits, "the segment has ", model.inputs().size(), " inputs, of which ", inputs.size(),
                   " have the name of an operand; the plan gives ", names.size());
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

Result<std::unique_ptr<Segment>> compile(const SegmentRequest& request) {
    ov::Core core;
    ov::AnyMap options = {ov::hint::inference_precision(ov::element::f32),
                          ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)};
    if (request.threads > 0) options.insert(ov::inference_num_threads(request.threads));
    ov::CompiledModel model = core.compile_model(core.read_model(request.model, ov::Tensor()), "CPU", options);
    const auto achieved = model.get_property(ov::hint::inference_precision);
    if (achieved != ov::element::f32) {
        return Status(Code::precision_mismatch,
                      "openvino compiled the segment in " + achieved.get_type_name() + ", f32 was requested");
    }
    Ports inputs;
    GD_CHECK(order_inputs(model, request.inputs, inputs));
    GD_CHECK(check_outputs(model, request.outputs));
    return std::unique_ptr<Segment>(std::make_unique<OpenVinoSegment>(std::move(model), std::move(inputs)));
}

}  // namespace

Result<std::unique_ptr<Segment>> open_openvino(const SegmentRequest& request) {
    GD_CHECK(refuse_external_data(request.model));
    auto segment = guarded([&] { return compile(request); });
    if (segment.ok() || segment.status().code() != Code::internal) return segment;
    return Status(Code::corrupt_artefact, "openvino refuses the segment: " + segment.status().text());
}

}  // namespace graphdet
