// Segments on ONNX Runtime, CPU, as graphdet/runtime/adapters/onnxruntime.py runs them. A segment is an ONNX model whose
// input names are the plan's value names; it computes in the model's own types.
//
// The library is opened when a segment first needs it: its wheel keeps it under a name that no linker looks for, and a
// build of graphdet serves its other backends where it is missing.
#define ORT_API_MANUAL_INIT
#include <dlfcn.h>
#include <onnxruntime_cxx_api.h>

#include <algorithm>

#include "engine/external.h"
#include "engine/guard.h"
#include "engine/segment.h"

namespace graphdet {

namespace {

using Base = const OrtApiBase* (*)();

// The library that the build found, or the one that the system finds now.
Base library() {
    for (const char* name : {GRAPHDET_ONNXRUNTIME_LIBRARY, "libonnxruntime.so.1"}) {
        void* opened = dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (opened != nullptr) return reinterpret_cast<Base>(dlsym(opened, "OrtGetApiBase"));
    }
    return nullptr;
}

Status open_library() {
    const Base base = library();
    if (base == nullptr) {
        return Status(Code::backend_missing,
                      "ONNX Runtime was found neither at " GRAPHDET_ONNXRUNTIME_LIBRARY " nor as libonnxruntime.so.1");
    }
    const OrtApi* api = base()->GetApi(ORT_API_VERSION);
    if (api == nullptr) {
        return Status(Code::backend_missing, std::string("ONNX Runtime ") + base()->GetVersionString() +
                                                 " is too old: this build has the headers of version 1." +
                                                 std::to_string(ORT_API_VERSION));
    }
    Ort::InitApi(api);
    return Status();
}

// One for the process, as ONNX Runtime wants it; what goes wrong is returned, not printed.
Ort::Env& environment() {
    static auto* env = new Ort::Env(ORT_LOGGING_LEVEL_FATAL, "graphdet");
    return *env;
}

const ONNXTensorElementDataType kTypes[] = {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
                                            ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
                                            ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16};  // by DType

Ort::Value wrapped(const Ort::MemoryInfo& memory, const TensorView& view) {
    static std::int64_t nothing = 0;  // an empty tensor still wants an address
    void* data = view.data != nullptr ? view.data : &nothing;
    return Ort::Value::CreateTensor(memory, data, view.bytes(), view.dims.size,
                                    static_cast<std::size_t>(view.dims.rank),
                                    kTypes[static_cast<std::size_t>(view.dtype)]);
}

Status view_of(Ort::Value& tensor, TensorView& view) {
    const auto type = tensor.GetTensorTypeAndShapeInfo();
    const std::vector<std::int64_t> shape = type.GetShape();
    GD_CHECK(require(shape.size() <= Dims::kMaxRank, "an output has ", shape.size(), " dimensions"));
    view.dims = {};
    for (const std::int64_t size : shape) view.dims[view.dims.rank++] = size;
    view.dtype = type.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT ? DType::f32 : DType::i64;
    view.data = view.dims.count() > 0 ? tensor.GetTensorMutableRawData() : nullptr;
    return Status();
}

// An open model, the names of its inputs and outputs, and which operand each input takes.
struct Model {
    mutable Ort::Session session;  // may run on several threads at once, though `Run` is not declared const
    std::vector<std::string> inputs, outputs;
    std::vector<std::size_t> operands;
};

std::vector<const char*> pointers(const std::vector<std::string>& names) {
    std::vector<const char*> found;
    for (const std::string& name : names) found.push_back(name.c_str());
    return found;
}

class OnnxRuntimeRun final : public SegmentRun {
  public:
    explicit OnnxRuntimeRun(const Model& model)
        : model_(model), inputs_(pointers(model.inputs)), outputs_(pointers(model.outputs)) {}

    Status run(const TensorView* inputs, TensorView* outputs) override {
        return guarded([&] {
            given_.clear();
            for (const std::size_t operand : model_.operands) given_.push_back(wrapped(memory_, inputs[operand]));
            found_ = model_.session.Run(Ort::RunOptions(nullptr), inputs_.data(), given_.data(), given_.size(),
                                        outputs_.data(), outputs_.size());
            for (std::size_t i = 0; i < found_.size(); ++i) GD_CHECK(view_of(found_[i], outputs[i]));
            return Status();
        });
    }

  private:
    const Model& model_;  // of the segment, which outlives its runs
    Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<const char*> inputs_, outputs_;
    std::vector<Ort::Value> given_, found_;
};

class OnnxRuntimeSegment final : public Segment {
  public:
    explicit OnnxRuntimeSegment(Model model) : model_(std::move(model)) {}

    [[nodiscard]] Result<std::unique_ptr<SegmentRun>> start() const override {
        return guarded([&]() -> Result<std::unique_ptr<SegmentRun>> {
            return std::unique_ptr<SegmentRun>(std::make_unique<OnnxRuntimeRun>(model_));
        });
    }

  private:
    Model model_;
};

Status match_inputs(Model& model, const std::vector<std::string>& names) {
    const Ort::AllocatorWithDefaultOptions allocator;
    for (std::size_t i = 0; i < model.session.GetInputCount(); ++i) {
        const std::string name = model.session.GetInputNameAllocated(i, allocator).get();
        const auto operand = std::find(names.begin(), names.end(), name);
        GD_CHECK(require(operand != names.end(), "the segment has an input ", name, ", which no operand is called"));
        model.inputs.push_back(name);
        model.operands.push_back(static_cast<std::size_t>(operand - names.begin()));
    }
    return Status();
}

Status check_outputs(Model& model, std::size_t expected) {
    const std::size_t count = model.session.GetOutputCount();
    GD_CHECK(require(count == expected, "the segment gives ", count, " outputs, the plan expects ", expected));
    const Ort::AllocatorWithDefaultOptions allocator;
    for (std::size_t i = 0; i < count; ++i) {
        model.outputs.emplace_back(model.session.GetOutputNameAllocated(i, allocator).get());
        const Ort::TypeInfo type = model.session.GetOutputTypeInfo(i);
        const bool tensor = type.GetONNXType() == ONNX_TYPE_TENSOR;
        const auto element = tensor ? type.GetTensorTypeAndShapeInfo().GetElementType() : kTypes[2];
        GD_CHECK(require(element == kTypes[0] || element == kTypes[1], "output ", model.outputs.back(),
                         " of the segment is no tensor of f32 or i64"));
    }
    return Status();
}

Result<std::unique_ptr<Segment>> compile(const std::string& content, const SegmentRequest& request) {
    Ort::SessionOptions options;
    options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
    if (request.threads > 0) options.SetIntraOpNumThreads(request.threads);
    if (request.lean) options.DisableCpuMemArena();
    Model model = {Ort::Session(environment(), content.data(), content.size(), options), {}, {}, {}};
    GD_CHECK(match_inputs(model, request.inputs));
    GD_CHECK(check_outputs(model, request.outputs));
    return std::unique_ptr<Segment>(std::make_unique<OnnxRuntimeSegment>(std::move(model)));
}

}  // namespace

Result<std::unique_ptr<Segment>> open_onnxruntime(const SegmentRequest& request) {
    const auto content = request.model();
    GD_CHECK(content.status());
    GD_CHECK(refuse_external_data(*content));
    static const Status opened = open_library();
    GD_CHECK(opened);
    auto segment = guarded([&] { return compile(*content, request); });
    if (segment.ok() || segment.status().code() != Code::internal) return segment;
    return Status(Code::corrupt_artefact, "onnxruntime refuses the segment: " + segment.status().text());
}

}  // namespace graphdet
