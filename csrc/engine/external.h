// Refuses ONNX models that point at other files.
//
// ONNX lets a tensor say "my data are in file x"; OpenVINO then reads that file, wherever it lies. An artefact that names
// files of its reader's disk must not be opened. The walk reads the protobuf wire format: it visits each message that can
// hold a tensor and steps over the rest by its length.
#pragma once

#include <string_view>

#include "core/status.h"

namespace graphdet {

// Fails with corrupt_artefact where a tensor's data lie in another file, or where the bytes are no protobuf message.
Status refuse_external_data(std::string_view model);

}  // namespace graphdet
