#include "tests/tiny.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "engine/sha256.h"
#include "tests/check.h"

namespace graphdet::tests {

namespace {

constexpr const char* kHeader = R"({"format":1,"detector":"tiny","target":"openvino","classes":["part","corner"],
"preprocess":{"order":"bgr","mean":[0,0,0],"std":[255.0,255,255],"size":[64,64],"fit":"letterbox","pad":0.0,"divisor":32},
"clip":true,"input":{"batch":"dynamic","size":"dynamic"},"thresholds":{"score_threshold":0.1,"iou_threshold":0.5},
"plan":{"steps":[
{"kind":"segment","segment":"dense0","inputs":["pixels","size"],"outputs":["v0","v1","v2"]},
{"kind":"native","op":"nms","inputs":["v0","v1","v2","score_threshold","iou_threshold"],"attrs":{"keep":0,"agnostic":false},
"outputs":["v3","v4","v5","v6"],"line":"zoo/tiny.py:3"},
{"kind":"native","op":"to_image","inputs":["v3","geometry"],"attrs":{},"outputs":["v7"],"line":"zoo/tiny.py:4"}],
"outputs":{"boxes":"v7","scores":"v4","labels":"v5","count":"v6"},"memory":{"bytes":0,"buffers":{}}},
"certificate":{},"provenance":{},"blobs":[)";

constexpr float kParts[3][4] = {{0, 0, 0.5F, 0.5F}, {0, 0, 0.5F, 0.52F}, {0.5F, 0.5F, 1.25F, 1.5F}};
constexpr float kWeights[3] = {1.0F, 0.75F, 0.5F};
constexpr std::int64_t kLabels[3] = {0, 0, 1};

void little_endian(std::string& to, std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) to += static_cast<char>(value >> (8 * i) & 0xFF);
}

void align(std::string& data) { data.resize((data.size() + 63) / 64 * 64); }

class FakeRun final : public SegmentRun {
  public:
    Status run(const TensorView* inputs, TensorView* outputs) override {
        const std::int64_t images = inputs[0].dims[0], each = inputs[0].dims.count(1, 4);
        boxes_.clear(), scores_.clear(), labels_.clear();
        for (std::int64_t n = 0; n < images; ++n) {
            const float* pixels = inputs[0].f32() + n * each;
            const float peak = *std::max_element(pixels, pixels + each);
            const float height = inputs[1].f32()[2 * n], width = inputs[1].f32()[2 * n + 1];
            for (int k = 0; k < 3; ++k) {
                for (int i = 0; i < 4; ++i) boxes_.push_back(kParts[k][i] * (i % 2 == 0 ? width : height));
                scores_.push_back(peak * kWeights[k]);
                labels_.push_back(kLabels[k]);
            }
        }
        outputs[0] = {boxes_.data(), DType::f32, {images, 3, 4}};
        outputs[1] = {scores_.data(), DType::f32, {images, 3}};
        outputs[2] = {labels_.data(), DType::i64, {images, 3}};
        return Status();
    }

  private:
    std::vector<float> boxes_, scores_;
    std::vector<std::int64_t> labels_;
};

class FakeSegment final : public Segment {
  public:
    [[nodiscard]] Result<std::unique_ptr<SegmentRun>> start() const override {
        return std::unique_ptr<SegmentRun>(std::make_unique<FakeRun>());
    }
};

}  // namespace

Folder::Folder() {
    static std::atomic<int> number{0};
    const auto path =
        std::filesystem::temp_directory_path() /
        ("graphdet_tests_" + std::to_string(reinterpret_cast<std::uintptr_t>(this)) + "_" + std::to_string(number++));
    std::filesystem::create_directories(path);
    path_ = path.string();
}

Folder::~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void write(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
}

std::string header_text(const Blobs& blobs, const Changes& changes) {
    std::string text = kHeader;
    std::size_t offset = 0;
    for (const auto& [name, data] : blobs) {
        text += (offset > 0 ? "," : "") + std::string(R"({"name":")") + name + R"(","offset":)" +
                std::to_string(offset) + R"(,"size":)" + std::to_string(data.size()) + R"(,"sha256":")" +
                hex(sha256(data.data(), data.size())) + "\"}";
        offset = (offset + data.size() + 63) / 64 * 64;
    }
    text += "]}";
    for (const auto& [from, to] : changes) {
        const std::size_t at = text.find(from);
        CHECK(at != std::string::npos);
        if (at != std::string::npos) text.replace(at, from.size(), to);
    }
    return text;
}

std::string pack(const std::string& header, const Blobs& blobs) {
    std::string data("\x89GDET\r\n\x1a", 8);
    const Digest digest = sha256(header.data(), header.size());
    little_endian(data, 1, 4);
    little_endian(data, header.size(), 8);
    data.append(reinterpret_cast<const char*>(digest.data()), digest.size());
    data += header;
    for (const auto& [name, content] : blobs) {
        align(data);
        data += content;
    }
    return data;
}

std::string tiny_file(const Changes& changes, const Blobs& blobs) { return pack(header_text(blobs, changes), blobs); }

std::string safetensors(const std::string& name, const std::string& shape, const std::vector<float>& values) {
    const std::string table = "{\"" + name + R"(":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,)" +
                              std::to_string(4 * values.size()) + "]}}";
    std::string data;
    little_endian(data, table.size(), 8);
    data += table;
    data.append(reinterpret_cast<const char*>(values.data()), 4 * values.size());
    return data;
}

Backends fake_backends() {
    return {{"openvino", [](const SegmentRequest& request) -> Result<std::unique_ptr<Segment>> {
                 const auto model = request.model();
                 GD_CHECK(model.status());
                 if (*model != "model") return Status(Code::corrupt_artefact, "not the model");
                 return std::unique_ptr<Segment>(std::make_unique<FakeSegment>());
             }}};
}

Result<Engine> load(const std::string& path, const LoadOptions& options) {
    const auto artefact = Artefact::read(path);
    GD_CHECK(artefact.status());
    auto impl = Engine::Impl::open(*artefact, options, fake_backends());
    GD_CHECK(impl.status());
    return Engine(*std::move(impl));
}

}  // namespace graphdet::tests
