// The TensorRT adapter, on the emulation of its API beside this file.
#include <algorithm>
#include <thread>

#include "cuda/emulate.h"
#include "engine/engine.h"
#include "tests/check.h"
#include "tests/tiny.h"

namespace graphdet {

Result<std::unique_ptr<Segment>> open_tensorrt(const SegmentRequest& request);

}  // namespace graphdet

namespace graphdet::tests {

namespace {

const std::string kHead = "tinyplan 10 9.0\n";
// y = 2 x + 1 for two numbers, rows above 0, and how many rows came.
const std::string kPlan = kHead +
                          "in x 0 gpu -1 2\n"
                          "out y 0 gpu linear x 2 2 1 2 2 0 0 2 1 1\n"
                          "out some 0 gpu keep x 0 1\n"
                          "out rows 8 host rows x\n";

struct Opened {
    Artefact artefact;
    std::string name = "dense0";
    std::vector<std::string> inputs;
    Result<std::unique_ptr<Segment>> segment = Status("not opened");
};

Opened open(const std::string& plan, std::vector<std::string> inputs = {"x"}, std::size_t outputs = 3) {
    auto artefact = Artefact::of(header_text({}), {{"segment:dense0", plan}});
    CHECK_FAILS(artefact.status(), Code::ok, "");
    Opened opened{*std::move(artefact), "dense0", std::move(inputs)};
    opened.segment = open_tensorrt({opened.artefact, opened.name, opened.inputs, outputs, 0});
    return opened;
}

Status refusal(const std::string& plan, const std::vector<std::string>& inputs = {"x"}, std::size_t outputs = 1) {
    return open(plan, inputs, outputs).segment.status();
}

TensorView view(std::vector<float>& values, const Dims& dims) {
    return {values.empty() ? nullptr : values.data(), DType::f32, dims};
}

std::vector<float> floats(const TensorView& found) {
    return {found.f32(), found.f32() + (found.data != nullptr ? found.dims.count() : 0)};
}

// Runs the plan above on rows of two numbers and compares with what they say.
bool runs(SegmentRun& run, std::vector<float> x) {
    const auto rows = static_cast<std::int64_t>(x.size() / 2);
    std::vector<float> y, some;
    for (std::size_t i = 0; i < x.size(); ++i) y.push_back(2 * x[i] + 1);
    for (std::size_t i = 0; i < x.size(); i += 2) {
        if (x[i] > 0) some.insert(some.end(), {x[i], x[i + 1]});
    }
    const TensorView input = view(x, {rows, 2});
    TensorView found[3];
    const Status status = run.run(&input, found);
    CHECK_FAILS(status, Code::ok, "");
    return status.ok() && found[0].dims == Dims({rows, 2, 1}) && floats(found[0]) == y &&
           found[1].dims == Dims({static_cast<std::int64_t>(some.size() / 2), 2}) && floats(found[1]) == some &&
           found[2].dims == Dims({1}) && found[2].dtype == DType::i64 && *found[2].i64() == rows;
}

// The failure of one run, of a segment that opens.
Status failure(const std::string& plan, const TensorView& input) {
    const Opened opened = open(plan, {"x"}, 1);
    GD_CHECK(opened.segment.status());
    auto run = (*opened.segment)->start();
    GD_CHECK(run.status());
    TensorView found;
    return (*run)->run(&input, &found);
}

// The detector of tiny.h, but its scores do not follow the image: parts of the image's size, in plan.cpp's words.
std::string tiny_plan() {
    std::string boxes, scores, labels;
    for (const char* part : {"0 0 .5 .5", "0 0 .5 .52", ".5 .5 1.25 1.5"}) {
        std::istringstream sides(part);
        for (int i = 0; i < 4; ++i) {
            std::string side;
            sides >> side;
            boxes += i % 2 == 0 ? " 0 " + side : " " + side + " 0";
        }
    }
    for (int i = 0; i < 12; ++i) boxes += " 0";
    return kHead + "in pixels 0 gpu -1 3 -1 -1\nin size 0 gpu -1 2\n" + "out v0 0 gpu linear size 2 3 4 2" + boxes +
           "\nout v1 0 gpu linear size 1 3 2 0 0 0 0 0 0 1 .75 .5\nout v2 8 gpu linear size 1 3 2 0 0 0 0 0 0 0 0 1\n";
}

Result<Engine> tiny_engine() {
    const auto artefact =
        Artefact::of(header_text({}, {{"\"openvino\"", "\"tensorrt\""}}), {{"segment:dense0", tiny_plan()}});
    GD_CHECK(artefact.status());
    auto impl = Engine::Impl::open(*artefact, {}, {{"tensorrt", open_tensorrt}});
    GD_CHECK(impl.status());
    return Engine(*std::move(impl));
}

}  // namespace

GD_TEST(tensorrt_runs_batches_of_any_size) {
    emulate::set_late(true);
    {
        const Opened opened = open(kPlan);
        CHECK_FAILS(opened.segment.status(), Code::ok, "");
        if (!opened.segment) return;
        auto run = (*opened.segment)->start();
        CHECK(run.ok());
        if (!run) return;
        CHECK(runs(**run, {1, 2}) && runs(**run, {1, 2, -3, 4, 5, 6}) && runs(**run, {-1, 2, -3, 4}));
        CHECK(runs(**run, {}) && runs(**run, {7, 8, 9, 10, 11, 12}) && runs(**run, {}));

        const std::size_t taken = emulate::blocks().taken;
        std::vector<float> x = {1, 2, 3, 4};
        const TensorView input = view(x, {2, 2});
        TensorView found[3];
        const std::int64_t before = allocations();
        CHECK((*run)->run(&input, found).ok());
        CHECK(allocations() == before && emulate::blocks().taken == taken);
    }
    emulate::set_late(false);
    CHECK(emulate::blocks().held == 0);
}

GD_TEST(tensorrt_takes_the_values_of_shapes_in_host_memory) {
    const Opened opened = open(kHead + "in x 8 host 1\nout y 8 gpu range x\n", {"x"}, 1);
    CHECK(opened.segment.ok());
    if (!opened.segment) return;
    auto run = (*opened.segment)->start();
    CHECK(run.ok());
    for (std::int64_t count : {3, 0, 5}) {
        const TensorView input = {&count, DType::i64, {1}};
        TensorView found;
        CHECK(run.ok() && (*run)->run(&input, &found).ok() && found.dims == Dims({count}));
        for (std::int64_t i = 0; i < count && found.data != nullptr; ++i) CHECK(found.i64()[i] == i);
    }
}

GD_TEST(tensorrt_segments_serve_threads) {
    const Opened opened = open(kPlan);
    CHECK(opened.segment.ok());
    if (!opened.segment) return;
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
        threads.emplace_back([&opened, t] {
            auto run = (*opened.segment)->start();
            CHECK(run.ok());
            for (int i = 0; run.ok() && i < 50; ++i) {
                std::vector<float> x(static_cast<std::size_t>(2 * ((i + t) % 8)), static_cast<float>(i - 20));
                CHECK(runs(**run, x));
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
}

GD_TEST(tensorrt_is_a_backend_of_the_engine) {
    const auto engine = tiny_engine();
    CHECK_FAILS(engine.status(), Code::ok, "");
    if (!engine) return;
    const std::vector<std::uint8_t> pixels(64 * 64 * 3, 255);
    const std::vector<ImageView> images(11, ImageView{pixels.data(), 64, 64});
    const auto found = engine->detect(images.data(), images.size());
    CHECK_FAILS(found.status(), Code::ok, "");
    if (!found) return;
    CHECK(found->size() == 11);
    for (const Detections& image : *found) {
        CHECK(image.objects.size() == 2);
        if (image.objects.size() != 2) continue;
        CHECK((image.objects[0].box == std::array<float, 4>{0, 0, 32, 32}) && image.objects[0].score == 1.0F);
        CHECK((image.objects[1].box == std::array<float, 4>{32, 32, 64, 64}) && image.objects[1].label == 1);
    }
}

GD_TEST(tensorrt_refuses_what_it_cannot_open) {
    const std::string x = "in x 0 gpu -1 2\n", y = "out y 0 gpu repeat x 1\n";
    CHECK(refusal(kHead + x + y).ok());
    CHECK_FAILS(refusal("an ONNX model"), Code::corrupt_artefact, "refuses the segment: Magic tag");
    CHECK_FAILS(refusal(kHead + "out y 0 gpu rows x\n"), Code::corrupt_artefact, "Deserialization failed");
    CHECK_FAILS(refusal("tinyplan 8 9.0\n" + x + y), Code::backend_missing, "another version of TensorRT: The plan is");
    CHECK_FAILS(refusal("tinyplan 10 7.5\n" + x + y), Code::backend_missing, "another kind of GPU: The plan is");
    CHECK_FAILS(refusal(kHead + x + y, {"pixels"}), Code::corrupt_artefact, "an input x, which no operand");
    CHECK_FAILS(refusal(kHead + x + y, {"x"}, 2), Code::corrupt_artefact, "gives 1 outputs, the plan expects 2");
    CHECK_FAILS(refusal(kHead + "in x 1 gpu -1 2\n" + y), Code::corrupt_artefact, "x of the plan is half");
    CHECK_FAILS(refusal(kHead + "in x 9 gpu -1 2\n" + y), Code::corrupt_artefact, "x of the plan is of fewer");
    CHECK_FAILS(refusal(kHead + x + "out y 5 gpu repeat x 1\n"), Code::corrupt_artefact, "y of the plan is uint8");
    CHECK_FAILS(refusal(kHead + "in x 0 chw2 -1 2\n" + y), Code::corrupt_artefact, "not stored row by row");
    CHECK(refusal(kHead + "in x 5 gpu -1 2\n" + y).ok() && refusal(kHead + "in x 7 gpu -1 2\n" + y).ok());

    const Opened cramped = open(kHead + x + y + "no-context\n", {"x"}, 1);
    CHECK(cramped.segment.ok());
    if (cramped.segment) {
        CHECK_FAILS((*cramped.segment)->start().status(), Code::internal, "makes no context for the segment: no room");
    }
}

GD_TEST(tensorrt_explains_failed_runs) {
    const std::string x = "in x 0 gpu -1 2\n", y = "out y 0 gpu repeat x 1\n";
    std::vector<float> values(32, 1.0F);
    std::int64_t whole[] = {1, 2};
    CHECK(failure(kHead + x + y, view(values, {3, 2})).ok());
    CHECK_FAILS(failure(kHead + x + y, {whole, DType::i64, {1, 2}}), Code::internal, "is i64[1 2], the plan takes f32");
    CHECK_FAILS(failure(kHead + x + y, view(values, {9, 2})), Code::internal, "take x as f32[9 2]: the shape does not");
    CHECK_FAILS(failure(kHead + x + y, view(values, {2, 2, 2})), Code::internal, "the plan does not take x as");
    CHECK_FAILS(failure(kHead + x + "out y 0 gpu fail x\n", view(values, {1, 2})), Code::internal,
                "TensorRT cannot run the segment: a layer failed");
    CHECK_FAILS(failure(kHead + x + "out y 0 gpu repeat x 1000000000000\n", view(values, {1, 2})), Code::out_of_memory,
                "there is no memory for y, 8000000000000 bytes");
    CHECK_FAILS(failure(kHead + x + "out y 0 gpu repeat x 4611686018427387904\n", view(values, {1, 2})), Code::internal,
                "output y of the plan would be f32[4611686018427387904 2]");
    CHECK_FAILS(failure(kHead + x + "out y 0 gpu keep x 0 1000000000000\n", view(values, {1, 2})), Code::out_of_memory,
                "there is no memory for y, 8000000000000 bytes");
    CHECK(emulate::blocks().held == 0);

    // A run that failed can be repeated.
    const Opened opened = open(kPlan);
    auto run = opened.segment ? (*opened.segment)->start() : Result<std::unique_ptr<SegmentRun>>(Status("not opened"));
    CHECK(run.ok());
    if (!run) return;
    TensorView found[3], many = view(values, {9, 2});
    CHECK(!(*run)->run(&many, found).ok());
    CHECK(runs(**run, {1, 2, 3, 4}));
}

}  // namespace graphdet::tests
