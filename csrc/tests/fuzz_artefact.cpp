// libFuzzer target: the reader of `.gdet` files, on any bytes. The first byte chooses what the rest is: a whole file, a
// header (whose checksum is made to fit, or the fuzzer would never get past it), constants, or an ONNX model.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <unistd.h>

#include "engine/artefact.h"
#include "engine/constants.h"
#include "engine/external.h"

namespace {

using graphdet::Status;

// A file of this process, rewritten for each input.
const std::string& path() {
    static const std::string path = [] {
        const char* folder = std::getenv("TMPDIR");
        return std::string(folder != nullptr ? folder : "/tmp") + "/fuzz_artefact_" + std::to_string(getpid()) +
               ".gdet";
    }();
    return path;
}

Status read_file(const std::string& content) {
    std::ofstream(path(), std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
    const auto artefact = graphdet::Artefact::read(path());
    GD_CHECK(artefact.status());
    return artefact->verify();
}

Status read_text(const std::string& content) {
    graphdet::Header header;
    return graphdet::read_header(content, header);
}

Status read_constants(const std::string& content) {
    graphdet::Constants constants;
    return constants.read(content);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string content(reinterpret_cast<const char*>(data) + 1, size - 1);
    Status status;
    switch (data[0] % 4) {
        case 0: status = read_file(content); break;
        case 1: status = read_text(content); break;
        case 2: status = read_constants(content); break;
        default: status = graphdet::refuse_external_data(content);
    }
    // Every failure has a reason.
    if (!status.ok() && status.text().empty()) std::abort();
    return 0;
}
