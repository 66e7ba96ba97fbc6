// Segments on TensorRT 10 and later, or on TensorRT-RTX, whose headers have the same names. A segment is a serialised
// plan of a strongly typed network; its tensors have the plan's value names, and its first optimisation profile is used.
//
// Native steps run on the CPU, so a run copies its inputs to the GPU and its outputs back. The precision of a plan
// cannot be asked for: who builds it leaves TF32 off.
#include <NvInferRuntime.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>

#include "engine/guard.h"
#include "engine/segment.h"
#include "engines/gpu.h"

#if NV_TENSORRT_MAJOR < 10 && !defined(TRT_MAJOR_RTX)
#error "graphdet needs TensorRT 10 or later, or TensorRT-RTX"
#endif

namespace graphdet {

namespace {

// What TensorRT has called an error since this thread's call began. It speaks on the thread that calls it.
thread_local std::string reason;

class Log final : public nvinfer1::ILogger {
  public:
    void log(Severity severity, const nvinfer1::AsciiChar* text) noexcept override {
        if (severity > Severity::kERROR) return;
        static_cast<void>(guarded([&] {
            reason += reason.empty() ? "" : "; ";
            reason += text;
            return Status();
        }));
    }
};

template <class... Parts>
Status failed(Code code, const Parts&... parts) {
    const std::string why = reason.empty() ? "TensorRT does not say why" : reason;
    return Status(code, require(false, parts..., ": ", why).text());
}

// An input or output of a plan.
struct Port {
    std::string name;
    DType dtype = DType::f32;
    bool on_host = false;     // TensorRT reads and writes the values of shapes in host memory
    std::size_t operand = 0;  // of an input: its place among the segment's

    friend std::ostream& operator<<(std::ostream& out, const Port& port) { return out << port.name; }
};

// A plan that is open. The logger outlives what was made with it.
struct Model {
    Log log;
    int device = 0;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    std::vector<Port> inputs, outputs;
};

Status too_large(const Port& port, std::uint64_t bytes) {
    return Status(Code::out_of_memory, require(false, "there is no memory for ", port, ", ", bytes, " bytes").text());
}

nvinfer1::Dims shape_of(const Dims& dims) {
    nvinfer1::Dims shape{};
    shape.nbDims = dims.rank;
    std::copy_n(dims.size, dims.rank, shape.d);
    return shape;
}

// The view, without data, of an output that has this shape.
Status view_of(const Port& port, const nvinfer1::Dims& shape, TensorView& view) {
    GD_CHECK(require(shape.nbDims >= 0 && shape.nbDims <= Dims::kMaxRank, "output ", port, " of the plan has ",
                     shape.nbDims, " dimensions"));
    view = {nullptr, port.dtype, {}};
    auto bytes = static_cast<std::int64_t>(bytes_of(port.dtype));
    bool fits = true;
    for (int i = 0; i < shape.nbDims; ++i) {
        view.dims[view.dims.rank++] = shape.d[i];
        fits = fits && shape.d[i] >= 0 && !__builtin_mul_overflow(bytes, shape.d[i], &bytes);
    }
    return require(fits, "output ", port, " of the plan would be ", text_of(view.dtype, view.dims));
}

// An input of one run.
class Input {
  public:
    explicit Input(const Port& port) : port_(port) {}

    Status give(nvinfer1::IExecutionContext& context, const TensorView& view, cudaStream_t stream) {
        const TypeText type = text_of(view.dtype, view.dims);
        GD_CHECK(require(view.dtype == port_.dtype, "input ", port_, " is ", type, ", the plan takes ",
                         name_of(port_.dtype)));
        const char* name = port_.name.c_str();
        if (!context.setInputShape(name, shape_of(view.dims))) {
            return failed(Code::internal, "the plan does not take ", port_, " as ", type);
        }
        const std::size_t bytes = view.bytes();
        void* room = port_.on_host ? pinned_.reserve(bytes) : gpu_.reserve(bytes);
        if (room == nullptr) return too_large(port_, bytes);
        if (bytes > 0 && port_.on_host) {
            std::memcpy(room, view.data, bytes);
        } else if (bytes > 0) {
            GD_CHECK(check("an input cannot be copied to the GPU",
                           cudaMemcpyAsync(room, view.data, bytes, cudaMemcpyHostToDevice, stream)));
        }
        if (!context.setTensorAddress(name, room)) return failed(Code::internal, "the plan does not take ", port_);
        return Status();
    }

  private:
    const Port& port_;
    OnGpu gpu_;
    Pinned pinned_;
};

// An output of one run. Where its shape depends on values, TensorRT asks for memory and tells the shape as it runs.
class Output final : public nvinfer1::IOutputAllocator {
  public:
    explicit Output(const Port& port) : port_(port) {}

    void* reallocateOutputAsync(const char*, void*, std::uint64_t bytes, std::uint64_t align,
                                cudaStream_t) noexcept override {
        std::size_t space = bytes + align;
        void* room = reserve(space);
        room_ = room != nullptr ? std::align(std::max<std::size_t>(align, 1), bytes, room, space) : nullptr;
        if (room_ == nullptr) refused_ = bytes;
        return room_;
    }
    void notifyShape(const char*, const nvinfer1::Dims& shape) noexcept override { shape_ = shape; }

    // Once all inputs are given.
    Status prepare(nvinfer1::IExecutionContext& context) {
        const char* name = port_.name.c_str();
        refused_ = 0;
        shape_ = context.getTensorShape(name);
        const bool known =
            std::none_of(shape_.d, shape_.d + std::max(shape_.nbDims, 0), [](auto d) { return d == -1; });
        bool taken = context.setOutputAllocator(name, known ? nullptr : this);
        if (known) {
            TensorView view;
            GD_CHECK(view_of(port_, shape_, view));
            room_ = reserve(view.bytes());
            if (room_ == nullptr) return too_large(port_, view.bytes());
            taken = context.setTensorAddress(name, room_) && taken;
        } else {
            shape_.nbDims = -1;
        }
        return taken ? Status() : failed(Code::internal, "the plan does not give ", port_);
    }

    // Why the plan could not be run, if it was for the memory of this output.
    [[nodiscard]] Status refused() const { return refused_ > 0 ? too_large(port_, refused_) : Status(); }

    // Queues the copy to the host.
    Status fetch(TensorView& view, cudaStream_t stream) {
        GD_CHECK(view_of(port_, shape_, view));
        const std::size_t bytes = view.bytes();
        if (bytes == 0) return Status();
        view.data = port_.on_host ? room_ : pinned_.reserve(bytes);
        if (view.data == nullptr) return too_large(port_, bytes);
        if (port_.on_host) return Status();
        return check("an output cannot be copied from the GPU",
                     cudaMemcpyAsync(view.data, room_, bytes, cudaMemcpyDeviceToHost, stream));
    }

  private:
    [[nodiscard]] void* reserve(std::size_t bytes) {
        return port_.on_host ? pinned_.reserve(bytes) : gpu_.reserve(bytes);
    }

    const Port& port_;
    OnGpu gpu_;
    Pinned pinned_;
    void* room_ = nullptr;
    nvinfer1::Dims shape_{};
    std::uint64_t refused_ = 0;
};

class TensorRtRun final : public SegmentRun {
  public:
    explicit TensorRtRun(const Model& model) : model_(model) {
        for (const Port& port : model.inputs) inputs_.emplace_back(port);
        for (const Port& port : model.outputs) outputs_.emplace_back(port);
    }

    Status start() {
        GD_CHECK(check("no stream can be made", cudaStreamCreateWithFlags(&stream_.handle, cudaStreamNonBlocking)));
        context_.reset(model_.engine->createExecutionContext());
        return context_ != nullptr ? Status() : failed(Code::internal, "TensorRT makes no context for the segment");
    }

    Status run(const TensorView* inputs, TensorView* outputs) override {
        return guarded([&] {
            reason.clear();
            const OnDevice device(model_.device);
            GD_CHECK(device.status());
            const Status queued = guarded([&] { return queue(inputs, outputs); });
            // After a failure too: the next call changes memory that work on the GPU may still use.
            const Status done = check("the segment failed on the GPU", cudaStreamSynchronize(stream_.handle));
            GD_CHECK(queued);
            return done;
        });
    }

  private:
    Status queue(const TensorView* inputs, TensorView* outputs) {
        for (std::size_t i = 0; i < inputs_.size(); ++i) {
            GD_CHECK(inputs_[i].give(*context_, inputs[model_.inputs[i].operand], stream_.handle));
        }
        for (Output& output : outputs_) GD_CHECK(output.prepare(*context_));
        if (!context_->enqueueV3(stream_.handle)) {
            for (const Output& output : outputs_) GD_CHECK(output.refused());
            return failed(Code::internal, "TensorRT cannot run the segment");
        }
        for (std::size_t i = 0; i < outputs_.size(); ++i) GD_CHECK(outputs_[i].fetch(outputs[i], stream_.handle));
        return Status();
    }

    const Model& model_;  // of the segment, which outlives its runs
    std::deque<Input> inputs_;
    std::deque<Output> outputs_;
    Stream stream_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

class TensorRtSegment final : public Segment {
  public:
    explicit TensorRtSegment(std::unique_ptr<Model> model) : model_(std::move(model)) {}

    [[nodiscard]] Result<std::unique_ptr<SegmentRun>> start() const override {
        return guarded([&]() -> Result<std::unique_ptr<SegmentRun>> {
            reason.clear();
            const OnDevice device(model_->device);
            GD_CHECK(device.status());
            auto run = std::make_unique<TensorRtRun>(*model_);
            const std::lock_guard<std::mutex> lock(mutex_);
            GD_CHECK(run->start());
            return std::unique_ptr<SegmentRun>(std::move(run));
        });
    }

  private:
    std::unique_ptr<Model> model_;
    mutable std::mutex mutex_;  // contexts of one engine are made one after another
};

// Why TensorRT refuses a plan, as its log says it.
Status refused_plan() {
    const struct {
        const char* words;
        Code code;
        const char* text;
    } causes[] = {
        {"incompatible device", Code::backend_missing, "the segment was built for another kind of GPU"},
        {"this version of TensorRT", Code::backend_missing, "the segment was built by another version of TensorRT"},
        {"Version tag does not match", Code::backend_missing, "the segment was built by another version of TensorRT"},
        {"out of memory", Code::out_of_memory, "the segment does not fit into the GPU's memory"},
    };
    for (const auto& cause : causes) {
        if (reason.find(cause.words) != std::string::npos) return failed(cause.code, cause.text);
    }
    return failed(Code::corrupt_artefact, "tensorrt refuses the segment");
}

const char* name_of(nvinfer1::DataType type) {
    constexpr const char* names[] = {"float", "half", "int8", "int32", "bool", "uint8", "fp8", "bf16", "int64"};
    const auto number = static_cast<std::size_t>(type);
    return number < std::size(names) ? names[number] : "of fewer than 8 bits";
}

Status read_type(nvinfer1::DataType type, bool input, Port& port) {
    switch (type) {
        case nvinfer1::DataType::kFLOAT: port.dtype = DType::f32; return Status();
        case nvinfer1::DataType::kINT64: port.dtype = DType::i64; return Status();
        case nvinfer1::DataType::kUINT8: port.dtype = DType::u8; break;
        case nvinfer1::DataType::kBF16: port.dtype = DType::bf16; break;
        default: input = false;
    }
    return require(input, port, " of the plan is ", name_of(type), ", expected float or int64",
                   ", or for an input uint8 or bf16");
}

Status list_ports(Model& model, const SegmentRequest& request) {
    const nvinfer1::ICudaEngine& engine = *model.engine;
    for (std::int32_t i = 0; i < engine.getNbIOTensors(); ++i) {
        Port port;
        port.name = engine.getIOTensorName(i);
        const char* name = port.name.c_str();
        const bool input = engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
        GD_CHECK(read_type(engine.getTensorDataType(name), input, port));
        GD_CHECK(require(engine.getTensorFormat(name) == nvinfer1::TensorFormat::kLINEAR, port,
                         " of the plan is not stored row by row"));
        port.on_host = engine.getTensorLocation(name) == nvinfer1::TensorLocation::kHOST;
        const auto operand = std::find(request.inputs.begin(), request.inputs.end(), port.name);
        port.operand = static_cast<std::size_t>(operand - request.inputs.begin());
        GD_CHECK(require(!input || operand != request.inputs.end(), "the segment has an input ", port,
                         ", which no operand is called"));
        (input ? model.inputs : model.outputs).push_back(std::move(port));
    }
    return require(model.outputs.size() == request.outputs, "the segment gives ", model.outputs.size(),
                   " outputs, the plan expects ", request.outputs);
}

Status open_model(const std::string& content, const SegmentRequest& request, Model& model) {
    reason.clear();
    int count = 0;
    GD_CHECK(check("TensorRT needs an NVIDIA GPU", cudaGetDeviceCount(&count), Code::backend_missing));
    GD_CHECK(check("TensorRT needs an NVIDIA GPU", cudaGetDevice(&model.device), Code::backend_missing));
    model.runtime.reset(nvinfer1::createInferRuntime(model.log));
    if (model.runtime == nullptr) return failed(Code::backend_missing, "TensorRT does not start");
    model.engine.reset(model.runtime->deserializeCudaEngine(content.data(), content.size()));
    if (model.engine == nullptr) return refused_plan();
    const Status listed = list_ports(model, request);
    if (listed.ok() || listed.code() != Code::internal) return listed;
    return Status(Code::corrupt_artefact, listed.text());
}

}  // namespace

Result<std::unique_ptr<Segment>> open_tensorrt(const SegmentRequest& request) {
    const auto content = request.model();
    GD_CHECK(content.status());
    return guarded([&]() -> Result<std::unique_ptr<Segment>> {
        auto model = std::make_unique<Model>();
        GD_CHECK(open_model(*content, request, *model));
        return std::unique_ptr<Segment>(std::make_unique<TensorRtSegment>(std::move(model)));
    });
}

}  // namespace graphdet
