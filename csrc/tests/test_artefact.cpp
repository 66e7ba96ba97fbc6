#include <fstream>
#include <iterator>

#include "engine/artefact.h"
#include "engine/constants.h"
#include "engine/external.h"
#include "engine/json.h"
#include "tests/check.h"
#include "tests/tiny.h"

namespace graphdet::tests {

namespace {

Status verdict(const std::string& path) {
    const auto artefact = Artefact::read(path);
    GD_CHECK(artefact.status());
    return artefact->verify();
}

Status verdict_of(const std::string& content) {
    const Folder folder;
    write(folder.file("a.gdet"), content);
    return verdict(folder.file("a.gdet"));
}

Status constants(const std::string& blob) {
    Constants constants;
    return constants.read(blob);
}

}  // namespace

GD_TEST(artefact_reads_its_blobs) {
    const Folder folder;
    write(folder.file("a.gdet"), tiny_file());
    const auto artefact = Artefact::read(folder.file("a.gdet"));
    CHECK(artefact.ok() && artefact->verify().ok());
    if (!artefact) return;
    CHECK(artefact->header().classes.size() == 2 && artefact->header().steps.size() == 3);
    CHECK(artefact->header().steps[1].line == "zoo/tiny.py:3");
    const auto blob = artefact->blob("segment:dense0");
    CHECK(blob.ok() && *blob == "model");
    CHECK_FAILS(artefact->blob("absent").status(), Code::corrupt_artefact, "no blob 'absent'");
}

GD_TEST(artefact_judges_the_shared_files) {
    // tests/csrc/vectors.py writes them; tests/csrc/test_vectors.py asks Python's reader the same.
    const std::string folder = GRAPHDET_VECTORS;
    std::ifstream stream(folder + "/words.json");
    json::Document words;
    CHECK(words.read({std::istreambuf_iterator<char>(stream), {}}).ok());
    int files = 0;
    for (const auto& [name, text] : words.root().members()) {
        const Status found = verdict(folder + "/" + name + ".gdet");
        const std::string code = name.rfind("good", 0) == 0 ? "" : name.substr(0, name.find('-'));
        CHECK(found.message().substr(0, 5) == code);
        if (!code.empty()) CHECK_FAILS(found, found.code(), text.string());
        ++files;
    }
    CHECK(files > 15);
}

GD_TEST(artefact_refuses_every_truncation) {
    const Folder folder;
    const std::string whole = tiny_file(), path = folder.file("a.gdet");
    for (std::size_t size = 0; size < whole.size(); ++size) {
        write(path, whole.substr(0, size));
        CHECK_FAILS(verdict(path), Code::truncated_artefact, "");
    }
}

GD_TEST(artefact_refuses_every_flipped_bit) {
    const Folder folder;
    const std::string whole = tiny_file(), path = folder.file("a.gdet");
    for (std::size_t bit = 0; bit < whole.size() * 8; bit += 3) {
        std::string damaged = whole;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
        write(path, damaged);
        CHECK(!verdict(path).ok());
    }
}

GD_TEST(artefact_tells_foreign_future_and_wrong_apart) {
    const Folder folder;
    std::string future = tiny_file(), wrong = tiny_file(), blob = tiny_file();
    future[8] = 2;
    wrong[60] ^= 1;
    blob.back() ^= 1;
    CHECK_FAILS(verdict(folder.file("absent")), Code::missing_file, "absent");
    CHECK_FAILS(verdict(folder.file("")), Code::not_an_artefact, "folder");
    CHECK_FAILS(verdict_of("PK\x03\x04 a zip file"), Code::not_an_artefact, "a.gdet");
    CHECK_FAILS(verdict_of(""), Code::truncated_artefact, "first fields");
    CHECK_FAILS(verdict_of(future), Code::future_artefact, "version 2");
    CHECK_FAILS(verdict_of(wrong), Code::corrupt_artefact, "checksum of the header");
    CHECK_FAILS(verdict_of(blob), Code::corrupt_artefact, "checksum of blob 'segment:dense0'");
    CHECK_FAILS(verdict_of(tiny_file() + "x"), Code::corrupt_artefact, "after its last blob");
}

GD_TEST(artefact_checks_fields) {
    const std::pair<Changes, const char*> cases[] = {
        {{{"\"tiny\"", "7"}}, "detector: expected a string"},
        {{{"\"openvino\"", "\"cuda\""}}, "target"},
        {{{"\"classes\"", "\"klasses\""}}, "field classes is missing"},
        {{{"[64,64]", "[64]"}}, "preprocess.size"},
        {{{"[64,64]", "[64,99999]"}}, "preprocess.size"},
        {{{"255.0", "-1"}}, "preprocess.std: expected positive"},
        {{{"255.0", "1e999"}}, "preprocess.std"},
        {{{"\"divisor\"", "\"gamma\":1,\"divisor\""}}, "known fields only"},
        {{{"\"batch\":\"dynamic\"", "\"batch\":true"}}, "input.batch"},
        {{{"\"size\":\"dynamic\"", "\"size\":\"dynamic\",\"bounds\":[[32,32],[64]]"}}, "input.bounds[1]"},
        {{{"\"size\":\"dynamic\"", "\"size\":\"dynamic\",\"given\":[]"}}, "input.given: expected an object"},
        {{{"\"nms\"", "\"__import__\""}}, "name of a native op"},
        {{{"\"keep\":0", "\"keep\":null"}}, "attrs.keep"},
        {{{"\"count\":\"v6\"", "\"counts\":\"v6\""}}, "plan.outputs.count is missing"},
        {{{"\"offset\":64", "\"offset\":63"}}, "said to start at 63"},
        {{{"\"segment:dense0\",\"offset", "\"graph\",\"offset"}}, "a name used once"},
        {{{"\"clip\":true", "\"clip\":1"}}, "true or false"},
    };
    for (const auto& [changes, words] : cases)
        CHECK_FAILS(verdict_of(tiny_file(changes)), Code::corrupt_artefact, words);
    CHECK_FAILS(verdict_of(tiny_file({{"\"format\":1", "\"format\":2"}})), Code::future_artefact, "newer");
    CHECK_FAILS(verdict_of(tiny_file({{"\"size\":5", "\"size\":999999"}})), Code::truncated_artefact, "");
    CHECK(verdict_of(tiny_file({{"\"bytes\":0", "\"bytes\":0,\"more\":[1]"}})).ok());
}

GD_TEST(constants_are_bounded) {
    const std::string good = safetensors("v8", "[2,3]", {1, 2, 3, 4, 5, 6});
    Constants read;
    CHECK(read.read(good).ok() && read.views().at("v8").dims == Dims({2, 3}) && read.views().at("v8").f32()[5] == 6.0F);
    for (std::size_t size = 0; size < good.size(); ++size) {
        CHECK_FAILS(constants(good.substr(0, size)), Code::corrupt_artefact, "safetensors");
    }
    CHECK_FAILS(constants(good + "x"), Code::corrupt_artefact, "safetensors");
    for (const char* shape : {"[2,2]", "[-2,-3]", "[4611686018427387904,4]", "6", "[1,1,1,1,1,1,1,2,3]", "[2.0,3]"}) {
        CHECK_FAILS(constants(safetensors("v8", shape, {1, 2, 3, 4, 5, 6})), Code::corrupt_artefact, "v8");
    }
    CHECK(constants(safetensors("v8", "[0,3]", {})).ok());
    CHECK(constants(safetensors("v8", "[]", {1})).ok());
}

GD_TEST(external_data_is_refused) {
    // field 7 (graph) { field 5 (tensor) { field 14 = 1 } }
    CHECK_FAILS(refuse_external_data("\x3a\x04\x2a\x02\x70\x01"), Code::corrupt_artefact, "another file");
    CHECK_FAILS(refuse_external_data("\x3a\x04\x2a\x02\x6a"), Code::corrupt_artefact, "longer than its message");
    CHECK_FAILS(refuse_external_data("\x3a"), Code::corrupt_artefact, "does not end");
    CHECK_FAILS(refuse_external_data("\x3b\x01"), Code::corrupt_artefact, "wire type");
    CHECK(refuse_external_data(std::string_view("\x3a\x04\x2a\x02\x70\x00", 6)).ok());
    CHECK(refuse_external_data("").ok());
}

}  // namespace graphdet::tests
