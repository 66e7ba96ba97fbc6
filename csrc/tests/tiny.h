// A tiny artefact and a backend without a network, as in tests/runtime/tiny.py: boxes are fixed parts of the image,
// scores follow its brightest pixel.
#pragma once

#include <map>
#include <string>

#include "engine/engine.h"

namespace graphdet::tests {

// A folder that is removed with all that it holds.
class Folder {
  public:
    Folder();
    ~Folder();
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

void write(const std::string& path, const std::string& content);

// The header's text with a blob table for `blobs`; `changes` are pairs of text to replace and its replacement.
using Blobs = std::vector<std::pair<std::string, std::string>>;
using Changes = std::vector<std::pair<std::string, std::string>>;
std::string header_text(const Blobs& blobs, const Changes& changes = {});

// The bytes of a whole file.
std::string pack(const std::string& header, const Blobs& blobs);
std::string tiny_file(const Changes& changes = {},
                      const Blobs& blobs = {{"graph", "tiny"}, {"segment:dense0", "model"}});

// One f32 array in safetensors layout.
std::string safetensors(const std::string& name, const std::string& shape, const std::vector<float>& values);

// Target "openvino": pixels f32[N 3 H W], size f32[N 2] -> boxes f32[N 3 4], scores f32[N 3], labels i64[N 3].
Backends fake_backends();

// An engine of a file on that backend.
Result<Engine> load(const std::string& path, const LoadOptions& options = {});

}  // namespace graphdet::tests
