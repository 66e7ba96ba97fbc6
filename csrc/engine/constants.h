// Arrays of a blob in safetensors layout: u64 length, a JSON table, the data.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "core/status.h"
#include "core/tensor.h"

namespace graphdet {

// Arrays by name, as views into the blob, which this object keeps. Not copyable: views would point elsewhere.
class Constants {
  public:
    Constants() = default;
    Constants(const Constants&) = delete;
    Constants& operator=(const Constants&) = delete;

    // Fails with corrupt_artefact when the layout is wrong: arrays must follow one another without gaps and fill the
    // blob, as the format asks; and their types must be ones that native steps take, F32 and I64.
    Status read(const std::string& blob);

    [[nodiscard]] const std::map<std::string, TensorView>& views() const { return views_; }

  private:
    std::unique_ptr<std::uint8_t[]> data_;  // aligned for every element type
    std::map<std::string, TensorView> views_;
};

}  // namespace graphdet
