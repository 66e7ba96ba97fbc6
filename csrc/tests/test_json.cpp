#include <cmath>

#include "engine/json.h"
#include "engine/sha256.h"
#include "tests/check.h"

namespace graphdet::tests {

namespace {

bool accepted(const std::string& text) {
    json::Document document;
    return document.read(text).ok();
}

std::string decoded(const std::string& text) {
    json::Document document;
    return document.read(text).ok() ? document.root().string() : "refused";
}

double number(const std::string& text) {
    json::Document document;
    return document.read(text).ok() ? document.root().number() : std::nan("");
}

}  // namespace

GD_TEST(json_accepts_what_the_standard_has) {
    for (const char* text : {"null", " true ", "[]", "{}", "[1,-0,0.5,1e5,2E-3]", R"({"a":{"b":[null]},"c":""})",
                             "\"\x7f\"", R"("\u00e9\ud83d\ude00\n")", "\"\xc3\xa9\xf0\x9f\x98\x80\""}) {
        CHECK(accepted(text));
    }
}

GD_TEST(json_refuses_the_rest) {
    for (const char* text : {"",
                             " ",
                             "nul",
                             "truex",
                             "[1,]",
                             "[,1]",
                             "{1:2}",
                             R"({"a" 1})",
                             R"({"a":1,})",
                             "01",
                             "+1",
                             "1.",
                             ".5",
                             "1e",
                             "-",
                             "NaN",
                             "Infinity",
                             "[1 2]",
                             "1 2",
                             "\"",
                             "\"\\x\"",
                             "\"\\u12g4\"",
                             "\"a\nb\"",
                             "[",
                             "{\"a\":",
                             "\xef\xbb\xbf[]",
                             "\"\xff\"",
                             "\"\xc0\xaf\"",
                             "\"\xed\xa0\x80\"",
                             "\"\xf4\x90\x80\x80\"",
                             "\"\xe2\x82\"",
                             R"("\ud800")",
                             R"("\ude00")",
                             R"("\ud83dx")",
                             R"("\ud83d\u0041")",
                             R"({"a":1,"b":2,"a":3})",
                             R"({"a":1,"\u0061":3})"}) {
        CHECK(!accepted(text));
    }
    CHECK(!accepted(std::string("\"\0\"", 3)));
    CHECK(!accepted(std::string("[]\0", 3)));
}

GD_TEST(json_bounds_depth_and_digits) {
    const auto nested = [](int depth) {
        const auto count = static_cast<std::size_t>(depth);
        return std::string(count, '[') + std::string(count, ']');
    };
    CHECK(accepted(nested(json::kMaxDepth)));
    CHECK(!accepted(nested(json::kMaxDepth + 1)));
    CHECK(!accepted(std::string(1000000, '[')));
    CHECK(accepted(std::string(json::kMaxDigits, '1')));
    CHECK(!accepted(std::string(json::kMaxDigits + 1, '1')));
}

GD_TEST(json_values) {
    CHECK(decoded(R"("a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00")") == "a\"\\/\b\f\n\r\t\xc3\xa9\xf0\x9f\x98\x80");
    CHECK(number("-2.5e1") == -25.0);
    CHECK(std::isinf(number("1e400")) && std::isinf(number("1e99999999999999999999")));
    CHECK(std::isinf(number("1" + std::string(400, '0'))));
    CHECK(number("1e-400") == 0.0 && number("0.0e-99999999999999999999") == 0.0);
    json::Document document;
    CHECK(document.read(R"({"a":[1,{"x":[2,3]},"s"],"b":9223372036854775807,"c":9223372036854775808,"d":1.0})").ok());
    const json::Value root = document.root();
    CHECK(root["a"].items().size() == 3 && root["a"].items()[1]["x"].items()[1].integer() == 3);
    CHECK(root["b"].integer() == INT64_MAX && !root["c"].integer() && root["d"].is(json::Kind::real));
    CHECK(!root["e"] && root.members().size() == 4 && root.members()[3].first == "d");
    CHECK(json::quoted("a\"\\\n") == R"("a\"\\\u000a")");
}

GD_TEST(sha256_of_known_texts) {
    CHECK(hex(sha256("", 0)) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(hex(sha256("abc", 3)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const std::string million(1000000, 'a');
    Sha256 pieces;
    for (std::size_t at = 0, size = 1; at < million.size(); at += size, size = size * 3 % 257 + 1) {
        pieces.add(million.data() + at, std::min(size, million.size() - at));
    }
    CHECK(hex(pieces.finish()) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

}  // namespace graphdet::tests
