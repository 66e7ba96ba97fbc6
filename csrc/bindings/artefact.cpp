#include "engine/artefact.h"

#include <pybind11/pybind11.h>

#include "engine/external.h"
#include "engine/guard.h"

namespace graphdet::bindings {

void bind_artefact(pybind11::module_& m) {
    // The underscore keeps it out of reach of plans, whose ops start with a letter.
    m.def(
        "_check_artefact",
        [](const std::string& path) {
            const pybind11::gil_scoped_release unlocked;
            const Status status = guarded([&] {
                const auto artefact = Artefact::read(path);
                GD_CHECK(artefact.status());
                return artefact->verify();
            });
            return status.message();
        },
        pybind11::arg("path"), pybind11::pos_only(),
        "What the C++ engine says of a .gdet file: 'GD403: ...', or nothing when every byte is right.");
    m.def(
        "refuse_external_data",
        [](const pybind11::bytes& model) {
            const Status status = refuse_external_data(std::string_view(model));
            if (!status.ok()) throw pybind11::value_error(status.text());
        },
        pybind11::arg("model"), pybind11::pos_only(),
        "Raise ValueError for an ONNX model whose tensors lie in other files, or for what is no ONNX model.");
}

}  // namespace graphdet::bindings
