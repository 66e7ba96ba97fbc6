// The memory plan of a file: where values lie, what is refused, and that runs allocate nothing.
#include "tests/check.h"
#include "tests/tiny.h"

namespace graphdet::tests {

namespace {

constexpr const char* kNone = R"({"bytes":0,"buffers":{}})";
// Planned for one image: v3, v7 f32[1 3 4], v4 f32[1 3], v5 i64[1 3], v6 i64[1].
constexpr const char* kPlanned = R"({"bytes":304,"buffers":{"v3":{"offset":0,"bytes":48},"v4":{"offset":64,"bytes":12},
"v5":{"offset":128,"bytes":24},"v6":{"offset":192,"bytes":8},"v7":{"offset":256,"bytes":48}}})";

struct Opened {
    Folder folder;
    std::unique_ptr<Executor> executor;
    std::unique_ptr<Executor::Context> context;
    Status status;

    explicit Opened(const std::string& memory, const Changes& more = {}) {
        Changes changes = {{kNone, memory}};
        changes.insert(changes.end(), more.begin(), more.end());
        write(folder.file("a.gdet"), tiny_file(changes));
        status = open();
    }
    Status open() {
        const auto artefact = Artefact::read(folder.file("a.gdet"));
        GD_CHECK(artefact.status());
        auto opened = Executor::open(*artefact, fake_backends(), 0);
        GD_CHECK(opened.status());
        executor = *std::move(opened);
        auto started = executor->start();
        GD_CHECK(started.status());
        context = *std::move(started);
        return Status();
    }
    RunOutputs run(std::int64_t images) {
        static float pixels[2 * 3 * 32 * 32] = {0.5F}, size[] = {32, 32, 32, 32};
        static float geometry[] = {1, 1, 0, 0, 1, 1, 0, 0}, thresholds[] = {0.1F, 0.5F};
        RunInputs inputs;
        RunOutputs outputs;
        inputs.pixels = {pixels, DType::f32, {images, 3, 32, 32}};
        inputs.size = {size, DType::f32, {images, 2}};
        inputs.geometry = {geometry, DType::f32, {images, 4}};
        inputs.thresholds = thresholds;
        CHECK(executor->run(*context, inputs, outputs).ok());
        return outputs;
    }
};

std::ptrdiff_t apart(const TensorView& a, const TensorView& b) {
    return static_cast<const std::byte*>(b.data) - static_cast<const std::byte*>(a.data);
}

}  // namespace

GD_TEST(arena_places_values_as_planned) {
    Opened one(kPlanned);
    CHECK(one.status.ok());
    const RunOutputs out = one.run(1);
    CHECK(apart(out.scores, out.labels) == 64 && apart(out.scores, out.count) == 128);
    CHECK(apart(out.scores, out.boxes) == 192 && one.context->bytes() >= 304);
    CHECK(out.count.i64()[0] == 2 && out.boxes.f32()[2] == 16.0F);
    // A batch of two is larger than planned: its values get memory of their own, and the results are right.
    const RunOutputs two = one.run(2);
    CHECK(two.count.i64()[0] == 2 && two.boxes.f32()[2] == 16.0F);
    CHECK(two.scores.f32()[0] == 0.5F && two.labels.i64()[1] == 1);
}

GD_TEST(arena_runs_allocate_nothing_after_warm_up) {
    for (const char* memory : {kNone, kPlanned}) {
        Opened one(memory);
        CHECK(one.status.ok());
        (void)one.run(2);
        (void)one.run(1);
        const std::int64_t before = allocations();
        const std::size_t bytes = one.context->bytes();
        for (int i = 0; i < 10; ++i) (void)one.run(1 + i % 2);
        CHECK(allocations() == before && one.context->bytes() == bytes);
    }
}

GD_TEST(engine_calls_allocate_nothing_after_warm_up) {
    const Folder folder;
    write(folder.file("a.gdet"), tiny_file({{kNone, kPlanned}}));
    const auto artefact = Artefact::read(folder.file("a.gdet"));
    CHECK(artefact.ok());
    const auto engine = Engine::Impl::open(*artefact, {}, fake_backends());
    CHECK(engine.ok());
    const std::vector<std::uint8_t> pixels(3 * 50 * 70, 255);
    std::vector<Picture> pictures(3);
    for (std::size_t i = 0; i < 3; ++i) CHECK(picture_of({pixels.data(), 50, 70}, i, pictures[i]).ok());
    std::vector<Detections> found;
    const Settings settings = {{"score_threshold", 0.2}};
    CHECK((*engine)->detect(pictures.data(), 3, settings, found).ok());
    const std::int64_t before = allocations();
    for (int i = 0; i < 10; ++i) CHECK((*engine)->detect(pictures.data(), 3, settings, found).ok());
    CHECK(allocations() == before);
    CHECK(found.size() == 3 && found[2].objects.size() == 2);
}

GD_TEST(arena_refuses_wrong_plans) {
    const std::pair<const char*, const char*> cases[] = {
        {R"({"bytes":96,"buffers":{"v3":{"offset":0,"bytes":48},"v4":{"offset":0,"bytes":12}}})", "bytes of 'v3'"},
        // v3 is read by the step that makes v7
        {R"({"bytes":96,"buffers":{"v3":{"offset":0,"bytes":48},"v7":{"offset":0,"bytes":48}}})", "bytes of 'v3'"},
        {R"({"bytes":96,"buffers":{"v3":{"offset":32,"bytes":48}}})", "a multiple of 64"},
        {R"({"bytes":96,"buffers":{"v3":{"offset":64,"bytes":48}}})", "memory.buffers.v3.offset"},
        {R"({"bytes":96,"buffers":{"v3":{"offset":0,"bytes":-1}}})", "memory.buffers.v3.bytes"},
        {R"({"bytes":96,"buffers":{"v3":{"offset":0}}})", "memory.buffers.v3.bytes is missing"},
        {R"({"bytes":96,"buffers":{"v3":7}})", "memory.buffers.v3"},
        {R"({"bytes":4611686018427387904,"buffers":{"v3":{"offset":0,"bytes":4611686018427387904}}})",
         "too much memory"},
    };
    for (const auto& [memory, words] : cases) CHECK_FAILS(Opened(memory).status, Code::corrupt_artefact, words);
}

}  // namespace graphdet::tests
