// TensorRT on the CPU, for tests: the part of its runtime API that csrc/engines/tensorrt.cpp uses, with the names, types
// and rules of TensorRT 10. The adapter compiles unchanged with this header and with TensorRT's own. Memory and streams
// are those of the emulated CUDA (cuda/emulate.h); plan.cpp says what a plan is here.
//
// Not here: builders, plugins, profiles other than a bound on the first dimension.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "cuda/api.h"

#define NV_TENSORRT_MAJOR 10

namespace nvinfer1 {

using AsciiChar = char;

enum class DataType : std::int32_t {
    kFLOAT = 0,
    kHALF = 1,
    kINT8 = 2,
    kINT32 = 3,
    kBOOL = 4,
    kUINT8 = 5,
    kFP8 = 6,
    kBF16 = 7,
    kINT64 = 8,
    kINT4 = 9
};
enum class TensorFormat : std::int32_t { kLINEAR = 0, kCHW2 = 1 };
enum class TensorLocation : std::int32_t { kDEVICE = 0, kHOST = 1 };
enum class TensorIOMode : std::int32_t { kNONE = 0, kINPUT = 1, kOUTPUT = 2 };
enum class ExecutionContextAllocationStrategy : std::int32_t { kSTATIC = 0 };

class Dims64 {
  public:
    static constexpr std::int32_t MAX_DIMS{8};
    std::int32_t nbDims;
    std::int64_t d[MAX_DIMS];
};
using Dims = Dims64;

class ILogger {
  public:
    enum class Severity : std::int32_t { kINTERNAL_ERROR = 0, kERROR = 1, kWARNING = 2, kINFO = 3, kVERBOSE = 4 };
    virtual ~ILogger() = default;
    virtual void log(Severity severity, AsciiChar const* text) noexcept = 0;
};

class IOutputAllocator {
  public:
    virtual ~IOutputAllocator() noexcept = default;
    virtual void* reallocateOutputAsync(char const* name, void* current, std::uint64_t size, std::uint64_t alignment,
                                        cudaStream_t stream) = 0;
    virtual void notifyShape(char const* name, Dims const& dims) noexcept = 0;
};

struct Plan;     // what a text says
struct Binding;  // what a context knows of a tensor

class IExecutionContext {
  public:
    IExecutionContext(const Plan& plan, ILogger& logger);
    virtual ~IExecutionContext() noexcept;

    bool setInputShape(char const* name, Dims const& dims) noexcept;
    Dims getTensorShape(char const* name) const noexcept;
    bool setTensorAddress(char const* name, void* data) noexcept;
    bool setOutputAllocator(char const* name, IOutputAllocator* allocator) noexcept;
    bool enqueueV3(cudaStream_t stream) noexcept;

  private:
    bool refused(const char* text) const noexcept;

    const Plan& plan_;
    ILogger& logger_;
    std::unique_ptr<Binding[]> bindings_;
};

class ICudaEngine {
  public:
    ICudaEngine(std::unique_ptr<Plan> plan, ILogger& logger);
    virtual ~ICudaEngine() noexcept;

    std::int32_t getNbIOTensors() const noexcept;
    char const* getIOTensorName(std::int32_t index) const noexcept;
    TensorIOMode getTensorIOMode(char const* name) const noexcept;
    DataType getTensorDataType(char const* name) const noexcept;
    TensorFormat getTensorFormat(char const* name) const noexcept;
    TensorLocation getTensorLocation(char const* name) const noexcept;
    IExecutionContext* createExecutionContext(
        ExecutionContextAllocationStrategy strategy = ExecutionContextAllocationStrategy::kSTATIC) noexcept;

  private:
    std::unique_ptr<Plan> plan_;
    ILogger& logger_;
};

class IRuntime {
  public:
    explicit IRuntime(ILogger& logger) : logger_(logger) {}
    virtual ~IRuntime() noexcept = default;

    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept;

  private:
    ILogger& logger_;
};

IRuntime* createInferRuntime(ILogger& logger) noexcept;

}  // namespace nvinfer1
