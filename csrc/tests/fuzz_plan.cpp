// libFuzzer target: loading and running plans. The input is the header of a file whose blobs are those of the tiny
// detector; what loads is run on one image, without proposals and with two.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "engine/engine.h"
#include "tests/check.h"
#include "tests/tiny.h"

namespace graphdet::tests {

void failed(const char*, int, const std::string&) {}  // of `header_text`, which is not used here

}  // namespace graphdet::tests

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace graphdet;
    static const tests::Folder folder;
    static const std::string path = folder.file("a.gdet");
    static const std::string constants = tests::safetensors("shift", "[1,4]", {1, 1, 10, 0});
    static const std::uint8_t pixels[12 * 9 * 3] = {255, 200, 100};

    const std::string header(reinterpret_cast<const char*>(data), size);
    tests::write(path, tests::pack(header, {{"segment:dense0", "model"}, {"constants", constants}}));
    const auto engine = tests::load(path);
    if (!engine) return 0;
    static const float boxes[8] = {1, 1, 6, 9, 0, 0, 12, 9};
    ImageView view = {pixels, 12, 9};
    for (int given = 0; given < 2; ++given) {
        const auto found = engine->detect(view);
        if (!found.ok() && found.status().text().empty()) std::abort();
        view.proposals = BoxesView{boxes, 2};
    }
    return 0;
}
