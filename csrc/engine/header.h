// The JSON header of a `.gdet` file as records; graphdet/runtime/header.py checks the same rules.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"
#include "engine/json.h"

namespace graphdet {

struct Size {
    std::int64_t height = 0;
    std::int64_t width = 0;

    friend bool operator==(const Size& a, const Size& b) { return a.height == b.height && a.width == b.width; }
    friend bool operator!=(const Size& a, const Size& b) { return !(a == b); }
};

// Which sizes of the network input an engine takes, both included; where they are one, its size is fixed.
struct Bounds {
    Size least, most;

    [[nodiscard]] Size nearest(const Size& size) const {
        return {std::clamp(size.height, least.height, most.height), std::clamp(size.width, least.width, most.width)};
    }
};

// How an image becomes a network input; see `Preprocess` of graphdet/records.py.
struct PreprocessRule {
    enum class Fit : std::uint8_t { letterbox, short_side, stretch };

    bool rgb = false;
    std::array<double, 3> mean = {};
    std::array<double, 3> std = {};
    Size size;
    Fit fit = Fit::letterbox;
    double pad = 0.0;
    std::int64_t divisor = 1;
};

// What a grid of the output `masks` spans: the box of its object, or the padded network input.
enum class MaskFrame : std::uint8_t { roi, net };

// One step: a segment that the backend runs, or a native op with its attributes. An operand without a value is absent.
struct StepRow {
    bool native = false;
    std::string name;  // of the segment or the op
    std::vector<std::optional<std::string>> inputs;
    std::vector<std::string> outputs;
    std::vector<std::pair<std::string, json::Value>> attrs;  // point into `Header::document`
    std::string line;                                        // that declared the op
};

// A graph input that comes with the images: of each a block `dims` of element type f32 or i64. `meaning` is what the
// graph's types say of it: `tensor`, `boxes<xyxy,image>`.
struct GivenRow {
    std::string name;
    DType dtype = DType::f32;
    Dims dims;
    std::string meaning;
};

// Where the memory plan puts a value: bytes from the start of the arena.
struct ArenaRow {
    std::int64_t offset = 0;
    std::int64_t bytes = 0;
};

struct BlobRow {
    std::string name;
    std::uint64_t offset = 0;  // from the start of the data area
    std::uint64_t size = 0;
    std::string sha256;
};

struct Header {
    std::string detector;
    std::string target;
    std::vector<std::string> classes;
    PreprocessRule preprocess;
    bool clip = true;
    std::optional<MaskFrame> masks;     // empty: the detector predicts none
    std::optional<std::int64_t> batch;  // empty: any
    std::optional<Size> size;           // of the network input; empty: any, within the bounds
    std::optional<Bounds> bounds;       // empty: none
    std::vector<GivenRow> given;
    std::vector<std::pair<std::string, float>> thresholds;
    std::vector<StepRow> steps;
    std::vector<std::pair<std::string, std::string>> outputs;  // plan output -> value name
    std::int64_t arena_bytes = 0;
    std::map<std::string, ArenaRow> arena;  // by value name; values that are not in it get memory of their own
    std::vector<BlobRow> blobs;
    std::unique_ptr<json::Document> document;
};

constexpr const char* kGraphInputs[] = {"pixels", "size", "geometry"};
constexpr const char* kDetectionOutputs[] = {"boxes", "scores", "labels", "count"};
constexpr const char* kSegmentOutputs[] = {"segment_scores", "segment_labels", "segment_things", "segment_logits"};

// Reads and checks header text, field by field; a failure names the field.
Status read_header(std::string text, Header& header);

}  // namespace graphdet
