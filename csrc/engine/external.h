// Refuses ONNX models that point at other files; see graphdet/runtime/adapters/external.py, which does the same.
#pragma once

#include <string_view>

#include "core/status.h"

namespace graphdet {

// Fails with corrupt_artefact where a tensor's data lie in another file, or where the bytes are no protobuf message.
Status refuse_external_data(std::string_view model);

}  // namespace graphdet
