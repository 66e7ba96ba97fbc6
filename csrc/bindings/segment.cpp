#include "bindings/segment.h"

#include <optional>
#include <utility>

#include "bindings/arrays.h"
#include "engine/guard.h"

namespace graphdet::bindings {

namespace {

// What Python raised inside this thread's call of the engine; taken by `exception_of`.
std::optional<py::error_already_set>& raised() {
    thread_local std::optional<py::error_already_set> error;
    return error;
}

// A reference that may be dropped on any thread, with or without the GIL.
class Held {
  public:
    explicit Held(py::object object) : object_(std::move(object)) {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() {
        const py::gil_scoped_acquire locked;
        object_ = py::object();
    }
    [[nodiscard]] const py::object& operator*() const { return object_; }
    [[nodiscard]] py::object& operator*() { return object_; }

  private:
    py::object object_;
};

Status view_of_output(const py::handle& value, std::size_t index, py::list& kept, TensorView& view) {
    const auto array = py::array::ensure(value, py::array::c_style);
    GD_CHECK(require(array && array.ndim() <= Dims::kMaxRank, "output ", index, " of the segment is no array"));
    const bool floats = py::isinstance<py::array_t<float>>(array);
    GD_CHECK(require(floats || py::isinstance<py::array_t<std::int64_t>>(array), "output ", index,
                     " of the segment is of type ", std::string(py::str(array.dtype())), ", expected f32 or i64"));
    view = view_of(array, floats ? DType::f32 : DType::i64);
    kept.append(array);
    return Status();
}

class PythonRun final : public SegmentRun {
  public:
    PythonRun(py::object segment, const std::vector<std::string>& inputs, std::size_t outputs)
        : segment_(std::move(segment)), kept_(py::list()), inputs_(inputs), outputs_(outputs) {}

    Status run(const TensorView* inputs, TensorView* outputs) override {
        const py::gil_scoped_acquire locked;
        return kept([&] {
            py::dict fed;
            for (std::size_t i = 0; i < inputs_.size(); ++i) fed[py::str(inputs_[i])] = borrowed(inputs[i]);
            const py::list made((*segment_).attr("run")(fed));
            GD_CHECK(require(made.size() == outputs_, "the segment gave ", made.size(), " outputs, the plan expects ",
                             outputs_));
            py::list arrays;
            for (std::size_t i = 0; i < outputs_; ++i) GD_CHECK(view_of_output(made[i], i, arrays, outputs[i]));
            *kept_ = arrays;
            return Status();
        });
    }

  private:
    Held segment_, kept_;
    const std::vector<std::string>& inputs_;  // of the segment, which outlives its runs
    std::size_t outputs_;
};

class PythonSegment final : public Segment {
  public:
    PythonSegment(py::object segment, const SegmentRequest& request)
        : segment_(std::move(segment)), inputs_(request.inputs), outputs_(request.outputs) {}

    [[nodiscard]] Result<std::unique_ptr<SegmentRun>> start() const override {
        const py::gil_scoped_acquire locked;
        std::unique_ptr<SegmentRun> run;
        GD_CHECK(kept([&] {
            run = std::make_unique<PythonRun>((*segment_).attr("clone")(), inputs_, outputs_);
            return Status();
        }));
        return run;
    }

  private:
    Held segment_;
    std::vector<std::string> inputs_;
    std::size_t outputs_;
};

}  // namespace

Status kept(const std::function<Status()>& body) {
    try {
        return body();
    } catch (py::error_already_set& error) {
        const std::string text = py::str(error.value());
        raised().emplace(std::move(error));
        return Status(text);
    } catch (const std::exception& error) {
        return Status(error.what());
    }
}

py::object exception_of(const Status& status) {
    py::object cause = py::none();
    if (raised()) cause = raised()->value();
    raised().reset();
    const py::object make = py::module_::import("graphdet.runtime.failure").attr("exception_of");
    return make(static_cast<int>(status.code()), status.text(), cause);
}

void raise_failure(const Status& status) {
    if (status.ok()) return;
    const py::object error = exception_of(status);
    PyErr_SetObject(py::type::handle_of(error).ptr(), error.ptr());
    throw py::error_already_set();
}

py::array borrowed(const TensorView& view) {
    const std::vector<py::ssize_t> shape(view.dims.size, view.dims.size + view.dims.rank);
    const py::dtype dtype = view.dtype == DType::f32   ? py::dtype::of<float>()
                            : view.dtype == DType::i64 ? py::dtype::of<std::int64_t>()
                                                       : py::dtype::of<std::uint8_t>();
    static const char owner = 0;
    return py::array(dtype, shape, view.data, py::capsule(&owner, "graphdet"));  // a base, so that nothing is copied
}

Backends python_backends(const std::string& target, py::function open) {
    const auto opener = [open = std::move(open)](const SegmentRequest& request) -> Result<std::unique_ptr<Segment>> {
        std::unique_ptr<Segment> segment;
        GD_CHECK(kept([&] {
            const py::object threads = request.threads > 0 ? py::object(py::int_(request.threads)) : py::none();
            segment = std::make_unique<PythonSegment>(open(request.name, threads), request);
            return Status();
        }));
        return segment;
    };
    return {{target, opener}};
}

}  // namespace graphdet::bindings
