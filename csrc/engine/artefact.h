// The `.gdet` file, checked as graphdet/runtime/artefact.py checks it; docs/artefact.md has the layout. Nothing in the
// file is trusted: lengths are bounded before memory is taken, and every byte is covered by a checksum or a rule.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/status.h"
#include "engine/header.h"

namespace graphdet {

constexpr std::uint32_t kFormat = 1;
constexpr std::uint64_t kHeaderLimit = std::uint64_t{1} << 24;  // bytes

// A header and its blobs, which stay in the file until they are asked for.
class Artefact {
  public:
    // Checks everything but the blobs' contents.
    static Result<Artefact> read(const std::string& path);

    // One that is not in a file: the text of its header, whose table of blobs is not used, and the blobs themselves.
    static Result<Artefact> of(std::string header, std::map<std::string, std::string> blobs);

    [[nodiscard]] const Header& header() const { return header_; }
    [[nodiscard]] bool has(const std::string& blob) const { return held_.count(blob) > 0 || find(blob) != nullptr; }

    // The content of one blob, whose checksum is right.
    [[nodiscard]] Result<std::string> blob(const std::string& name) const;

    // Reads every blob once.
    Status verify() const;

  private:
    [[nodiscard]] const BlobRow* find(const std::string& name) const;

    std::string path_;
    std::string name_;         // the file's own, for messages
    std::uint64_t start_ = 0;  // of the data area
    Header header_;
    std::map<std::string, std::string> held_;  // blobs in memory
};

}  // namespace graphdet
