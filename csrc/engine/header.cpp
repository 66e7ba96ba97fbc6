#include "engine/header.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/artefact.h"

namespace graphdet {

namespace {

using json::Kind;
using json::Value;

constexpr std::int64_t kSideLimit = std::int64_t{1} << 15;  // pixels of one image side
constexpr std::int64_t kBatchLimit = std::int64_t{1} << 12;
constexpr std::int64_t kGivenLimit = std::int64_t{1} << 20;  // of one side of a given input
constexpr std::size_t kGivenRank = 3;                        // of one image's block
constexpr std::int64_t kIntLimit = std::int64_t{1} << 62;
constexpr std::int64_t kArenaAlign = 64;
constexpr std::size_t kShown = 60;  // characters of a wrong value that a message repeats
constexpr const char* kPreprocessFields[] = {"order", "mean", "std", "size", "fit", "pad", "divisor"};

// A value with its name, and the checked readings of it. The first failure stays; later readings give defaults.
class Field {
  public:
    Field(Value value, std::string at, Status& failure) : value_(value), at_(std::move(at)), failure_(failure) {}

    [[nodiscard]] Field operator[](const char* key) const {
        const Value found = is(Kind::object, "an object") ? value_[key] : Value();
        if (!found && failure_.ok()) {
            failure_ = Status(Code::corrupt_artefact,
                              "artefact header, field " + (at_.empty() ? at_ : at_ + ".") + key + " is missing");
        }
        return {found, join(key), failure_};
    }
    [[nodiscard]] bool has(const char* key) const { return value_.is(Kind::object) && value_[key]; }

    [[nodiscard]] std::vector<Field> items() const {
        std::vector<Field> fields;
        if (!is(Kind::array, "an array")) return fields;
        for (const Value& item : value_.items()) {
            fields.emplace_back(item, at_ + "[" + std::to_string(fields.size()) + "]", failure_);
        }
        return fields;
    }
    [[nodiscard]] std::vector<Field> items(std::size_t count) const {
        const std::vector<Field> fields = items();
        if (fields.size() != count) wrong("an array of another length");
        return fields.size() == count ? fields : std::vector<Field>(count, *this);
    }
    [[nodiscard]] std::vector<std::pair<std::string, Field>> members() const {
        std::vector<std::pair<std::string, Field>> fields;
        if (!is(Kind::object, "an object")) return fields;
        for (auto& [key, item] : value_.members()) fields.emplace_back(key, Field(item, join(key), failure_));
        return fields;
    }

    [[nodiscard]] std::string text() const { return is(Kind::string, "a string") ? value_.string() : std::string(); }
    [[nodiscard]] std::string name() const {
        std::string text = this->text();
        if (text.empty()) wrong("a name");
        return text;
    }
    [[nodiscard]] bool flag() const { return is(Kind::boolean, "true or false") && value_.boolean(); }
    [[nodiscard]] std::int64_t integer(std::int64_t low, std::int64_t high) const {
        const auto number = value_.is(Kind::integer) ? value_.integer() : std::nullopt;
        if (number && *number >= low && *number <= high) return *number;
        wrong("an integer in range");
        return low;
    }
    [[nodiscard]] double number() const {
        const bool numeric = value_.is(Kind::integer) || value_.is(Kind::real);
        const double number = numeric ? value_.number() : std::nan("");
        if (!std::isfinite(number)) wrong("a finite number");
        return number;
    }
    // The place of the word in `known`.
    template <std::size_t n>
    [[nodiscard]] std::size_t choice(const char* const (&known)[n]) const {
        const bool text = value_.is(Kind::string);
        const auto* found = text ? std::find(std::begin(known), std::end(known), value_.string()) : std::end(known);
        if (found != std::end(known)) return static_cast<std::size_t>(found - std::begin(known));
        wrong("a known word");
        return 0;
    }
    [[nodiscard]] bool is_word(std::string_view word) const {
        return value_.is(Kind::string) && value_.string() == word;
    }
    [[nodiscard]] bool is_null() const { return value_.is(Kind::null); }
    [[nodiscard]] Value value() const { return value_; }

    void wrong(const char* expected) const {
        if (!failure_.ok()) return;
        std::string shown(value_ ? value_.source() : std::string_view());
        if (shown.size() > kShown) shown = shown.substr(0, kShown) + "...";
        failure_ = Status(Code::corrupt_artefact,
                          "artefact header, field " + at_ + ": expected " + expected + ", found " + shown);
    }

  private:
    [[nodiscard]] std::string join(const std::string& key) const { return at_.empty() ? key : at_ + "." + key; }
    bool is(Kind kind, const char* expected) const {
        if (value_.is(kind)) return true;
        wrong(expected);
        return false;
    }

    Value value_;
    std::string at_;
    Status& failure_;
};

Size read_size(const Field& field) {
    const std::vector<Field> sides = field.items(2);
    return {sides[0].integer(1, kSideLimit), sides[1].integer(1, kSideLimit)};
}

std::array<double, 3> read_triple(const Field& field) {
    const std::vector<Field> items = field.items(3);
    return {items[0].number(), items[1].number(), items[2].number()};
}

PreprocessRule read_preprocess(const Field& field) {
    // A field that is unknown here would change the pixels, so passing over it would give wrong detections silently.
    for (const auto& [key, item] : field.members()) {
        const auto* end = std::end(kPreprocessFields);
        if (std::find(std::begin(kPreprocessFields), end, key) == end) item.wrong("known fields only");
    }
    PreprocessRule rule;
    rule.rgb = field["order"].choice({"bgr", "rgb"}) == 1;
    rule.mean = read_triple(field["mean"]);
    rule.std = read_triple(field["std"]);
    if (!(*std::min_element(rule.std.begin(), rule.std.end()) > 0.0)) field["std"].wrong("positive numbers");
    rule.size = read_size(field["size"]);
    rule.fit = static_cast<PreprocessRule::Fit>(field["fit"].choice({"letterbox", "short_side", "stretch"}));
    rule.pad = field["pad"].number();
    rule.divisor = field["divisor"].integer(1, kSideLimit);
    return rule;
}

bool is_op_name(const std::string& text) {
    const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
    const auto rest = [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '_'; };
    return !text.empty() && text.size() <= 64 && letter(text[0]) && std::all_of(text.begin(), text.end(), rest);
}

void check_attribute(const Field& field) {
    if (field.value().is(Kind::array)) {
        for (const Field& item : field.items()) check_attribute(item);
    } else if (field.value().is(Kind::integer)) {
        (void)field.integer(-kIntLimit, kIntLimit);
    } else if (!field.value().is(Kind::string) && !field.value().is(Kind::boolean)) {
        (void)field.number();
    }
}

StepRow read_step(const Field& field) {
    StepRow step;
    step.native = field["kind"].choice({"segment", "native"}) == 1;
    for (const Field& item : field["inputs"].items()) {
        const bool absent = step.native && item.is_null();
        step.inputs.push_back(absent ? std::nullopt : std::optional<std::string>(item.name()));
    }
    for (const Field& item : field["outputs"].items()) step.outputs.push_back(item.name());
    step.name = field[step.native ? "op" : "segment"].name();
    if (!step.native) return step;
    if (!is_op_name(step.name)) field["op"].wrong("the name of a native op");
    if (field.has("attrs")) {
        for (const auto& [key, item] : field["attrs"].members()) {
            check_attribute(item);
            step.attrs.emplace_back(key, item.value());
        }
    }
    if (field.has("line")) step.line = field["line"].text();
    return step;
}

void read_input(const Field& input, Header& header) {
    const Field batch = input["batch"], size = input["size"];
    if (!batch.is_word("dynamic")) header.batch = batch.integer(1, kBatchLimit);
    if (!size.is_word("dynamic")) header.size = read_size(size);
    if (input.has("bounds")) {
        const std::vector<Field> ends = input["bounds"].items(2);
        const Bounds bounds = {read_size(ends[0]), read_size(ends[1])};
        const bool ordered = bounds.least.height <= bounds.most.height && bounds.least.width <= bounds.most.width;
        if (!ordered || header.size) input["bounds"].wrong("the least and the most of a dynamic size");
        header.bounds = bounds;
    }
    if (!input.has("given")) return;
    for (const auto& [name, row] : input["given"].members()) {
        GivenRow given;
        given.name = name;
        given.dtype = row["dtype"].choice({"f32", "i64"}) == 0 ? DType::f32 : DType::i64;
        const std::vector<Field> sides = row["shape"].items();
        if (sides.size() > kGivenRank) row["shape"].wrong("at most 3 sides");
        for (std::size_t i = 0; i < std::min(sides.size(), kGivenRank); ++i) {
            given.dims[given.dims.rank++] = sides[i].integer(1, kGivenLimit);
        }
        given.meaning = row["meaning"].name();
        header.given.push_back(std::move(given));
    }
}

void read_memory(const Field& memory, Header& header) {
    header.arena_bytes = memory["bytes"].integer(0, kIntLimit);
    for (const auto& [name, row] : memory["buffers"].members()) {
        ArenaRow& room = header.arena[name];
        room.bytes = row["bytes"].integer(0, header.arena_bytes);
        room.offset = row["offset"].integer(0, header.arena_bytes - room.bytes);
        if (room.offset % kArenaAlign != 0) row["offset"].wrong("a multiple of 64");
    }
}

void read_plan(const Field& plan, Header& header) {
    for (const Field& step : plan["steps"].items()) header.steps.push_back(read_step(step));
    const Field outputs = plan["outputs"];
    for (const char* key : kDetectionOutputs) (void)outputs[key];
    for (const auto& [key, item] : outputs.members()) header.outputs.emplace_back(key, item.name());
    read_memory(plan["memory"], header);
}

bool is_digest(const std::string& text) {
    const auto digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    return text.size() == 64 && std::all_of(text.begin(), text.end(), digit);
}

void read_blobs(const Field& field, std::vector<BlobRow>& blobs) {
    std::set<std::string> names;
    for (const Field& row : field.items()) {
        BlobRow blob;
        blob.sha256 = row["sha256"].text();
        if (!is_digest(blob.sha256)) row["sha256"].wrong("64 hexadecimal digits");
        blob.name = row["name"].name();
        blob.offset = static_cast<std::uint64_t>(row["offset"].integer(0, kIntLimit));
        blob.size = static_cast<std::uint64_t>(row["size"].integer(0, kIntLimit));
        if (!names.insert(blob.name).second) row["name"].wrong("a name used once");
        blobs.push_back(std::move(blob));
    }
}

void read_fields(const Field& top, Header& header, Status& failure) {
    if (top["format"].integer(1, kIntLimit) > kFormat && failure.ok()) {
        failure = Status(Code::future_artefact, "the header's format is newer than this graphdet");
    }
    header.detector = top["detector"].text();
    header.target = top["target"].value().is(Kind::string) ? top["target"].text() : "";
    (void)top["target"].choice({"openvino", "onnxruntime", "onnx", "torch", "tensorrt", "tensorrt-rtx"});
    for (const Field& item : top["classes"].items()) header.classes.push_back(item.name());
    header.preprocess = read_preprocess(top["preprocess"]);
    read_input(top["input"], header);
    for (const auto& [key, item] : top["thresholds"].members()) {
        header.thresholds.emplace_back(key, static_cast<float>(item.number()));
    }
    read_plan(top["plan"], header);
    header.clip = top["clip"].flag();
    if (const auto word = top.has("masks") ? top["masks"].choice({"", "roi", "net"}) : 0; word > 0) {
        header.masks = word == 1 ? MaskFrame::roi : MaskFrame::net;
    }
    const auto is_masks = [](const auto& output) { return output.first == "masks"; };
    if (std::any_of(header.outputs.begin(), header.outputs.end(), is_masks) != header.masks.has_value()) {
        Field(top["masks"]).wrong("a word exactly where the plan has an output of that name");
    }
    (void)top["certificate"].members();
    (void)top["provenance"].members();
    read_blobs(top["blobs"], header.blobs);
}

}  // namespace

Status read_header(std::string text, Header& header) {
    header.document = std::make_unique<json::Document>();
    if (const Status read = header.document->read(std::move(text)); !read.ok()) {
        return Status(Code::corrupt_artefact, "the header is not JSON: " + read.text());
    }
    Status failure;
    read_fields(Field(header.document->root(), "", failure), header, failure);
    return failure;
}

}  // namespace graphdet
