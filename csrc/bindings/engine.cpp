// The engine for graphdet/runtime/engine.py, which adds the types and opens image files.
#include "engine/engine.h"

#include <map>

#include "bindings/pictures.h"
#include "bindings/segment.h"
#include "engine/guard.h"

namespace graphdet::bindings {

namespace {

using Given = std::map<std::string, double>;
using Others = std::map<std::string, AnyArray>;
using Proposals = py::typing::Optional<py::typing::List<Floats>>;
using GridsAndSpans = py::typing::Optional<py::typing::Tuple<Floats, Floats>>;
using Found =
    py::typing::List<py::typing::Tuple<Floats, Floats, Ints, py::typing::Tuple<py::int_, py::int_>, GridsAndSpans>>;
using Mapped = py::typing::List<py::typing::Tuple<SegmentMap, Ints, Ints>>;
using Outputs = py::typing::Dict<py::str, AnyArray>;
using Watcher = py::typing::Callable<py::object(py::str, AnyArray)>;
using Convert = py::typing::Callable<py::object(Found)>;

Settings settings_of(const Given& given) {
    Settings settings;
    for (const auto& [name, value] : given) settings.push_back({name, value});
    return settings;
}

// `proposals`: None, or f32[K 4] of each image; the list keeps the arrays.
std::vector<Picture> pictures_of(const Pictures& images, const Proposals& proposals, std::size_t first = 0) {
    std::vector<Picture> pictures = pictures_of(images, first);
    if (proposals.is_none()) return pictures;
    const py::list list(proposals);
    for (std::size_t i = 0; i < pictures.size(); ++i) {
        const py::object item = list[i];
        const bool dense = py::isinstance<py::array_t<float, py::array::c_style>>(item);
        const py::array boxes = dense ? py::array(item) : py::array();
        if (boxes.ndim() != 2 || boxes.shape(1) != 4) {
            raise_failure(Status(Code::bad_input, "proposals are not dense arrays f32[K 4]"));
        }
        pictures[i].proposals = BoxesView{static_cast<const float*>(boxes.data()), boxes.shape(0)};
    }
    return pictures;
}

py::object masks_of(const Grids& grids) {
    if (grids.rows == 0) return py::none();
    const auto count = static_cast<py::ssize_t>(grids.spans.size());
    py::array_t<float> values({count, static_cast<py::ssize_t>(grids.rows), static_cast<py::ssize_t>(grids.columns)});
    py::array_t<float> spans({count, py::ssize_t{4}});
    std::copy(grids.values.begin(), grids.values.end(), values.mutable_data());
    float* span = spans.mutable_data();
    for (const auto& one : grids.spans) span = std::copy(one.begin(), one.end(), span);
    return py::make_tuple(values, spans);
}

// (boxes f32[K 4], scores f32[K], labels i64[K], (height, width), None or (grids f32[K P Q], spans f32[K 4])) of each
// image.
Found arrays_of(const std::vector<Detections>& found) {
    Found images;
    for (const Detections& image : found) {
        const auto count = static_cast<py::ssize_t>(image.objects.size());
        py::array_t<float> boxes({count, py::ssize_t{4}}), scores(count);
        py::array_t<std::int64_t> labels(count);
        float *box = boxes.mutable_data(), *score = scores.mutable_data();
        std::int64_t* label = labels.mutable_data();
        for (const Detection& one : image.objects) {
            box = std::copy(one.box.begin(), one.box.end(), box);
            *score++ = one.score, *label++ = one.label;
        }
        images.append(
            py::make_tuple(boxes, scores, labels, py::make_tuple(image.height, image.width), masks_of(image.grids)));
    }
    return images;
}

// (ids i32[height width], and of each id from 1 the label and whether it is a thing, i64[S]) of each image.
Mapped maps_of(const std::vector<Panoptic>& found) {
    Mapped images;
    for (const Panoptic& image : found) {
        const py::array_t<std::int32_t> map({image.height, image.width}, image.map.data());
        const auto count = static_cast<py::ssize_t>(image.segments.size());
        py::array_t<std::int64_t> labels(count), things(count);
        std::int64_t *label = labels.mutable_data(), *thing = things.mutable_data();
        for (const PanopticSegment& one : image.segments) *label++ = one.label, *thing++ = one.thing ? 1 : 0;
        images.append(py::make_tuple(map, labels, things));
    }
    return images;
}

// A call of the engine without the GIL.
template <class Body>
void unlocked(const Body& body) {
    Status status;
    {
        const py::gil_scoped_release released;
        status = guarded(body);
    }
    raise_failure(status);
}

class PyEngine {
  public:
    PyEngine(const std::string& header, const py::bytes& constants, const OpenSegments& open, int threads, int chunk,
             int workers, int queue, bool lean) {
        std::map<std::string, std::string> blobs;
        if (py::len(constants) > 0) blobs["constants"] = constants;
        auto artefact = Artefact::of(header, std::move(blobs));
        raise_failure(artefact.status());
        auto impl = guarded([&] {
            return Engine::Impl::open(*artefact, {threads, chunk, workers, queue, lean},
                                      python_backends(artefact->header().target, py::function(open)));
        });
        raise_failure(impl.status());
        impl_ = *std::move(impl);
    }
    PyEngine(const PyEngine&) = delete;
    PyEngine& operator=(const PyEngine&) = delete;
    ~PyEngine() { close(); }

    Found detect(const Pictures& images, const Proposals& proposals, const Given& given, std::size_t first) {
        const std::vector<Picture> pictures = pictures_of(images, proposals, first);
        const Settings settings = settings_of(given);
        std::vector<Detections> found;
        unlocked([&] { return impl_->detect(pictures.data(), pictures.size(), settings, found); });
        return arrays_of(found);
    }

    Mapped panoptic(const Pictures& images) {
        const std::vector<Picture> pictures = pictures_of(images);
        std::vector<Panoptic> found;
        unlocked([&] { return impl_->panoptic(pictures.data(), pictures.size(), {}, found); });
        return maps_of(found);
    }

    Outputs run(const Floats& pixels, const Floats& size, const Floats& geometry, const Others& others,
                const Given& given, const py::typing::Optional<Watcher>& watch) {
        const Operand p = operand("run", "pixels", pixels), s = operand("run", "size", size),
                      g = operand("run", "geometry", geometry);
        std::vector<Operand> operands;
        Inputs inputs;
        for (const auto& [name, array] : others) {
            operands.push_back(operand("run", name.c_str(), array));
            inputs.emplace_back(name, operands.back().view);
        }
        const Settings settings = settings_of(given);
        const Watch see = [&](const std::string& name, const TensorView& value) {
            const py::gil_scoped_acquire locked;
            return kept([&] {
                watch(name, borrowed(value));
                return Status();
            });
        };
        Outputs outputs;
        const Watch take = [&](const std::string& name, const TensorView& value) {
            const py::gil_scoped_acquire locked;
            return kept([&] {
                outputs[py::str(name)] = borrowed(value).attr("copy")();
                return Status();
            });
        };
        RunInputs batch;
        batch.pixels = p.view, batch.size = s.view, batch.geometry = g.view;
        unlocked([&] { return impl_->run(batch, inputs, settings, watch.is_none() ? nullptr : &see, take); });
        return outputs;
    }

    // Settles `future` from a thread of the queue: with `convert(what detect gives)`, an exception, or as cancelled.
    void submit(const Pictures& images, const Proposals& proposals, const Given& given, const AnyFuture& future,
                const Convert& convert) {
        struct Held {
            py::object images, proposals, future, convert;
            Given given;
            std::vector<Picture> pictures;
            ~Held() {
                const py::gil_scoped_acquire locked;
                images = proposals = future = convert = py::object();
            }
        };
        // Not as a member of the job itself: std::function copies, and references are counted under the GIL alone.
        const auto held = std::make_shared<Held>();
        held->images = images, held->proposals = proposals, held->future = future, held->convert = convert;
        held->given = given, held->pictures = pictures_of(images, proposals);
        Queue::Job job = [held, impl = impl_.get()](bool go) {
            const py::gil_scoped_acquire locked;
            settle(*impl, held->pictures, held->given, held->future, held->convert, go);
        };
        for (;;) {
            Result<bool> taken = false;
            {
                const py::gil_scoped_release released;
                taken = impl_->queue().push_within(job, std::chrono::milliseconds(50));
            }
            raise_failure(taken.status());
            if (*taken) return;
            if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        }
    }

    void close() {
        const py::gil_scoped_release released;
        if (impl_) impl_->queue().close();
    }

  private:
    static void settle(Engine::Impl& impl, const std::vector<Picture>& pictures, const Given& given,
                       const py::object& future, const py::object& convert, bool go) {
        const Status told = guarded([&] {
            if (!go) (void)future.attr("cancel")();
            if (!py::cast<bool>(future.attr("set_running_or_notify_cancel")())) return Status();
            std::vector<Detections> found;
            py::object result;
            Status status;
            {
                const py::gil_scoped_release released;
                status =
                    guarded([&] { return impl.detect(pictures.data(), pictures.size(), settings_of(given), found); });
            }
            if (status.ok()) {
                status = kept([&] {
                    result = convert(arrays_of(found));
                    return Status();
                });
            }
            (void)(status.ok() ? future.attr("set_result")(result)
                               : future.attr("set_exception")(exception_of(status)));
            return Status();
        });
        // Only an interpreter that shuts down refuses what a future is told.
        if (!told.ok()) PySys_FormatStderr("graphdet: %s\n", told.text().c_str());
    }

    std::unique_ptr<Engine::Impl> impl_;
};

}  // namespace

void bind_engine(py::module_& m) {
    py::class_<PyEngine>(m, "Engine", "The plan executor. `graphdet.runtime.Engine` is its friendly face.")
        .def(py::init<const std::string&, const py::bytes&, const OpenSegments&, int, int, int, int, bool>(),
             py::arg("header"), py::arg("constants"), py::arg("open_segment"), py::kw_only(), py::arg("threads") = 0,
             py::arg("chunk") = 8, py::arg("workers") = 1, py::arg("queue") = 32, py::arg("lean") = false)
        .def("detect", &PyEngine::detect, py::arg("images"), py::arg("proposals"), py::arg("thresholds"),
             py::arg("first") = 0, "Detect objects in images, the first of which has this number in messages.")
        .def("panoptic", &PyEngine::panoptic, py::arg("images"), "Give the pixels of images to segments.")
        .def("run", &PyEngine::run, py::arg("pixels"), py::arg("size"), py::arg("geometry"), py::arg("inputs"),
             py::arg("thresholds"), py::arg("watch") = py::none(), "Run the plan on one prepared batch.")
        .def("submit", &PyEngine::submit, py::arg("images"), py::arg("proposals"), py::arg("thresholds"),
             py::arg("future"), py::arg("convert"), "Queue a detection that settles a concurrent.futures.Future.")
        .def("close", &PyEngine::close, "Cancel submitted work that waits, and wait for what runs.");
}

}  // namespace graphdet::bindings
