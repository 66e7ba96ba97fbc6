// Plans of the emulated TensorRT: a text, whose first line is "tinyplan VERSION COMPUTE", and then a line for each tensor:
//
//   in NAME TYPE PLACE DIMS...              -1: any size; the first dimension may be at most 8
//   out NAME TYPE PLACE linear SOURCE K DIMS(K)... N W... B...   rows of N numbers, times W, plus B, as rows of DIMS
//   out NAME TYPE PLACE keep SOURCE LIMIT N rows whose first number is above the limit: their count depends on values;
//                                           memory is asked for N times as many
//   out NAME TYPE PLACE rows SOURCE         how many rows there are
//   out NAME TYPE PLACE range SOURCE        0, 1, 2 ... as many as SOURCE says, which lies in host memory
//   out NAME TYPE PLACE repeat SOURCE N     a shape, N times as large
//   out NAME TYPE PLACE fail SOURCE
//
// TYPE is a number of DataType, PLACE is gpu, host, or chw2 for one that is not stored row by row. A line "no-context"
// stands for a GPU without memory for activations.
#include <algorithm>
#include <cstring>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/tensorrt/NvInferRuntime.h"

namespace nvinfer1 {

namespace {

using Numbers = std::vector<double>;

struct Tensor {
    std::string name, place, op;
    DataType type{};
    bool input = false;
    Dims shape{};
    std::size_t source = 0;
    Numbers numbers;
};

std::int64_t count(const Dims& dims, int from = 0) {
    std::int64_t n = 1;
    for (int i = from; i < dims.nbDims; ++i) n *= dims.d[i];
    return n;
}

std::size_t size_of(DataType type) {
    constexpr std::size_t bytes[] = {4, 2, 1, 4, 1, 1, 1, 2, 8};
    return bytes[static_cast<std::size_t>(type)];
}

void store(void* to, DataType type, std::int64_t at, double value) {
    if (type == DataType::kINT64) {
        static_cast<std::int64_t*>(to)[at] = static_cast<std::int64_t>(value);
    } else {
        static_cast<float*>(to)[at] = static_cast<float>(value);
    }
}

}  // namespace

struct Plan {
    std::vector<Tensor> tensors;
    bool context = true;

    [[nodiscard]] std::size_t find(std::string_view name) const {
        std::size_t i = 0;
        while (i < tensors.size() && tensors[i].name != name) ++i;
        return i;
    }
};

struct Binding {
    Dims shape{-1, {}};
    void* address = nullptr;
    IOutputAllocator* allocator = nullptr;
};

namespace {

bool read_tensor(const std::string& line, Plan& plan) {
    std::istringstream words(line);
    Tensor tensor;
    std::string kind, source;
    int type = 0;
    words >> kind >> tensor.name >> type >> tensor.place;
    tensor.type = static_cast<DataType>(type);
    tensor.input = kind == "in";
    if (!tensor.input) words >> tensor.op >> source;
    tensor.source = plan.find(source);
    for (double number = 0; words >> number;) tensor.numbers.push_back(number);
    if (tensor.input) {
        for (const double size : tensor.numbers)
            tensor.shape.d[tensor.shape.nbDims++] = static_cast<std::int64_t>(size);
    }
    plan.tensors.push_back(tensor);
    return tensor.input || (kind == "out" && tensor.source + 1 < plan.tensors.size());
}

// Null, with the reason, for a text that is no plan of this library and device.
std::unique_ptr<Plan> read(const std::string& text, ILogger& logger) {
    const auto refused = [&](const std::string& reason) {
        logger.log(ILogger::Severity::kERROR, reason.c_str());
        return nullptr;
    };
    std::istringstream lines(text);
    std::string magic, version, compute, line;
    lines >> magic >> version >> compute >> std::ws;
    if (magic != "tinyplan") return refused("Magic tag does not match");
    if (version != "10") return refused("The plan is not compatible with this version of TensorRT, 10, got " + version);
    if (compute != "9.0") return refused("The plan is of an incompatible device, expecting 9.0, got " + compute);
    auto plan = std::make_unique<Plan>();
    while (std::getline(lines, line)) {
        if (line == "no-context") {
            plan->context = false;
        } else if (!read_tensor(line, *plan)) {
            return refused("Deserialization failed");
        }
    }
    return plan;
}

// The shape of an output once the inputs' are known; -1 for what depends on values.
Dims shape_of(const Tensor& tensor, const Binding& source) {
    Dims shape = source.shape;
    if (shape.nbDims < 0) return shape;
    const auto size = [&](std::size_t i) { return static_cast<std::int64_t>(tensor.numbers[i]); };
    if (tensor.op == "linear") {
        shape.nbDims = static_cast<std::int32_t>(size(0)) + 1;
        for (int i = 1; i < shape.nbDims; ++i) shape.d[i] = size(static_cast<std::size_t>(i));
    } else if (tensor.op == "keep") {
        shape.d[0] = -1;
    } else if (tensor.op == "rows") {
        shape = {1, {1}};
    } else if (tensor.op == "range") {
        shape = {1, {source.address != nullptr ? *static_cast<std::int64_t*>(source.address) : -1}};
    } else if (tensor.op == "repeat") {
        shape.d[0] *= size(0);
    }
    return shape;
}

void linear(const Tensor& tensor, const Dims& shape, const float* in, void* out) {
    const double* numbers = tensor.numbers.data() + 1 + static_cast<int>(tensor.numbers[0]);
    const auto width = static_cast<std::int64_t>(*numbers++);
    const std::int64_t each = count(shape, 1);
    for (std::int64_t i = 0; i < count(shape); ++i) {
        double sum = numbers[each * width + i % each];
        for (std::int64_t k = 0; k < width; ++k) sum += numbers[i % each * width + k] * in[i / each * width + k];
        store(out, tensor.type, i, sum);
    }
}

// Copies the rows that stay, or only counts them.
std::int64_t keep(const Tensor& tensor, const Dims& shape, const float* in, float* out) {
    const std::int64_t width = count(shape, 1);
    std::int64_t kept = 0;
    for (std::int64_t row = 0; row < shape.d[0]; ++row) {
        if (!(static_cast<double>(in[row * width]) > tensor.numbers[0])) continue;
        if (out != nullptr) std::copy_n(in + row * width, width, out + kept * width);
        ++kept;
    }
    return kept;
}

}  // namespace

IRuntime* createInferRuntime(ILogger& logger) noexcept { return new IRuntime(logger); }

ICudaEngine* IRuntime::deserializeCudaEngine(void const* blob, std::size_t size) noexcept {
    auto plan = read(std::string(static_cast<const char*>(blob), size), logger_);
    return plan != nullptr ? new ICudaEngine(std::move(plan), logger_) : nullptr;
}

ICudaEngine::ICudaEngine(std::unique_ptr<Plan> plan, ILogger& logger) : plan_(std::move(plan)), logger_(logger) {}
ICudaEngine::~ICudaEngine() noexcept = default;

std::int32_t ICudaEngine::getNbIOTensors() const noexcept { return static_cast<std::int32_t>(plan_->tensors.size()); }
char const* ICudaEngine::getIOTensorName(std::int32_t index) const noexcept {
    return plan_->tensors[static_cast<std::size_t>(index)].name.c_str();
}
TensorIOMode ICudaEngine::getTensorIOMode(char const* name) const noexcept {
    return plan_->tensors[plan_->find(name)].input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
}
DataType ICudaEngine::getTensorDataType(char const* name) const noexcept {
    return plan_->tensors[plan_->find(name)].type;
}
TensorFormat ICudaEngine::getTensorFormat(char const* name) const noexcept {
    return plan_->tensors[plan_->find(name)].place == "chw2" ? TensorFormat::kCHW2 : TensorFormat::kLINEAR;
}
TensorLocation ICudaEngine::getTensorLocation(char const* name) const noexcept {
    return plan_->tensors[plan_->find(name)].place == "host" ? TensorLocation::kHOST : TensorLocation::kDEVICE;
}
IExecutionContext* ICudaEngine::createExecutionContext(ExecutionContextAllocationStrategy) noexcept {
    if (plan_->context) return new IExecutionContext(*plan_, logger_);
    logger_.log(ILogger::Severity::kERROR, "no room for activations");
    return nullptr;
}

IExecutionContext::IExecutionContext(const Plan& plan, ILogger& logger)
    : plan_(plan), logger_(logger), bindings_(new Binding[plan.tensors.size()]) {}
IExecutionContext::~IExecutionContext() noexcept = default;

bool IExecutionContext::refused(const char* text) const noexcept {
    logger_.log(ILogger::Severity::kWARNING, "a warning is no reason");
    logger_.log(ILogger::Severity::kERROR, text);
    return false;
}

bool IExecutionContext::setInputShape(char const* name, Dims const& dims) noexcept {
    const std::size_t at = plan_.find(name);
    if (at == plan_.tensors.size() || !plan_.tensors[at].input) return refused("no such input");
    const Dims& expected = plan_.tensors[at].shape;
    bool fits = dims.nbDims == expected.nbDims && (dims.nbDims == 0 || dims.d[0] <= 8);
    for (int i = 0; fits && i < dims.nbDims; ++i) fits = expected.d[i] == -1 || expected.d[i] == dims.d[i];
    if (!fits) return refused("the shape does not satisfy the profile");
    bindings_[at].shape = dims;
    return true;
}

Dims IExecutionContext::getTensorShape(char const* name) const noexcept {
    const std::size_t at = plan_.find(name);
    if (at == plan_.tensors.size()) return {-1, {}};
    const Tensor& tensor = plan_.tensors[at];
    return tensor.input ? bindings_[at].shape : shape_of(tensor, bindings_[tensor.source]);
}

bool IExecutionContext::setTensorAddress(char const* name, void* data) noexcept {
    const std::size_t at = plan_.find(name);
    if (at == plan_.tensors.size() || reinterpret_cast<std::uintptr_t>(data) % 256 != 0) return refused("bad address");
    bindings_[at].address = data;
    return true;
}

bool IExecutionContext::setOutputAllocator(char const* name, IOutputAllocator* allocator) noexcept {
    const std::size_t at = plan_.find(name);
    if (at == plan_.tensors.size() || plan_.tensors[at].input) return refused("no such output");
    bindings_[at].allocator = allocator;
    return true;
}

bool IExecutionContext::enqueueV3(cudaStream_t stream) noexcept {
    graphdet::emulate::catch_up();  // what was queued before
    const auto lies_right = [&](const Tensor& tensor, const void* address, const Dims& shape) {
        const std::size_t found = graphdet::emulate::device_bytes(address);
        const std::size_t needed = static_cast<std::size_t>(count(shape)) * size_of(tensor.type);
        return address != nullptr && (tensor.place == "host" ? found == 0 : found >= std::max<std::size_t>(needed, 1));
    };
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
        const Tensor& tensor = plan_.tensors[i];
        Binding& binding = bindings_[i];
        if (tensor.input) {
            if (!lies_right(tensor, binding.address, binding.shape)) return refused("an input has no memory");
            continue;
        }
        const Binding& source = bindings_[tensor.source];
        const auto* in = static_cast<const float*>(source.address);
        Dims shape = shape_of(tensor, source);
        if (tensor.op == "keep") {
            shape.d[0] = keep(tensor, source.shape, in, nullptr);
            if (binding.allocator == nullptr) return refused("an output of unknown size has no allocator");
            const auto bytes = static_cast<std::uint64_t>(static_cast<double>(count(shape)) * tensor.numbers[1]) *
                               size_of(tensor.type);
            binding.address = binding.allocator->reallocateOutputAsync(tensor.name.c_str(), binding.address,
                                                                       std::max<std::uint64_t>(bytes, 1), 512, stream);
            if (binding.address == nullptr) return refused("the allocator gave nothing");
            if (reinterpret_cast<std::uintptr_t>(binding.address) % 512 != 0) return refused("bad alignment");
            binding.allocator->notifyShape(tensor.name.c_str(), shape);
        }
        if (tensor.op == "fail") return refused("a layer failed");
        if (!lies_right(tensor, binding.address, shape)) return refused("an output has no memory");
        if (tensor.op == "linear") {
            linear(tensor, shape, in, binding.address);
        } else if (tensor.op == "keep") {
            keep(tensor, source.shape, in, static_cast<float*>(binding.address));
        } else if (tensor.op == "rows") {
            store(binding.address, tensor.type, 0, static_cast<double>(source.shape.d[0]));
        } else if (tensor.op == "range") {
            for (std::int64_t k = 0; k < shape.d[0]; ++k)
                store(binding.address, tensor.type, k, static_cast<double>(k));
        }
    }
    return true;
}

}  // namespace nvinfer1
