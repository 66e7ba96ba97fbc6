#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "engine/engine.h"
#include "tests/check.h"
#include "tests/tiny.h"

namespace graphdet::tests {

namespace {

Result<Engine> engine_of(const Changes& changes = {},
                         const Blobs& blobs = {{"graph", "tiny"}, {"segment:dense0", "model"}}) {
    const Folder folder;
    write(folder.file("a.gdet"), tiny_file(changes, blobs));
    return load(folder.file("a.gdet"));
}

// A dark image whose upper half has the value `peak`.
struct Photo {
    std::vector<std::uint8_t> pixels;
    std::int64_t height, width;

    Photo(std::int64_t h, std::int64_t w, std::uint8_t peak = 255)
        : pixels(static_cast<std::size_t>(3 * h * w), 0), height(h), width(w) {
        std::fill_n(pixels.begin(), 3 * std::max<std::int64_t>(1, h / 2) * w, peak);
    }
    [[nodiscard]] ImageView view() const { return {pixels.data(), height, width}; }
};

bool near(const std::array<float, 4>& box, std::array<double, 4> expected, double tolerance) {
    for (std::size_t i = 0; i < 4; ++i) {
        if (!(std::abs(static_cast<double>(box[i]) - expected[i]) <= tolerance)) return false;
    }
    return true;
}

// At `x`, the bilinear interpolation of two cells over from..to: the first is 1, and the second too where `both`.
double between(double x, double from, double to, bool both) {
    const double cell = 2 * (x - from) / (to - from);
    if (cell < 0 || cell > 2) return 0;
    return both ? std::min({1.0, cell + 0.5, 2.5 - cell}) : std::max(0.0, 1 - std::abs(cell - 0.5));
}

bool equal(const Detections& a, const Detections& b) {
    if (a.objects.size() != b.objects.size() || a.height != b.height || a.width != b.width) return false;
    for (std::size_t i = 0; i < a.objects.size(); ++i) {
        const Detection &x = a.objects[i], &y = b.objects[i];
        if (x.box != y.box || x.score != y.score || x.label != y.label) return false;
    }
    return true;
}

}  // namespace

GD_TEST(engine_finds_boxes_of_mixed_sizes) {
    for (const char* batch : {"\"dynamic\"", "1", "2", "4"}) {
        for (const char* size : {"\"dynamic\"", "[64,96]"}) {
            const auto engine = engine_of({{"\"batch\":\"dynamic\",\"size\":\"dynamic\"",
                                            std::string("\"batch\":") + batch + ",\"size\":" + size}});
            CHECK(engine.ok());
            if (!engine) continue;
            const Photo photos[] = {{64, 64}, {480, 640}, {640, 480}, {33, 7}, {1, 1}};
            std::vector<ImageView> views;
            for (const Photo& photo : photos) views.push_back(photo.view());
            const auto found = engine->detect(views.data(), views.size());
            CHECK(found.ok() && found->size() == 5);
            for (std::size_t i = 0; found.ok() && i < 5; ++i) {
                const auto h = static_cast<double>(photos[i].height), w = static_cast<double>(photos[i].width);
                const auto& objects = (*found)[i].objects;
                CHECK(objects.size() == 2);
                if (objects.size() != 2) continue;
                CHECK(near(objects[0].box, {0, 0, w / 2, h / 2}, std::max(w, h) / 64));
                CHECK(near(objects[1].box, {w / 2, h / 2, w, h}, std::max(w, h) / 64));
                CHECK(objects[0].score == 1.0F && objects[1].score == 0.5F);
                CHECK(engine->name(objects[1].label) == "corner" && engine->name(7) == "7");
            }
        }
    }
}

GD_TEST(engine_thresholds_and_options) {
    const auto engine = engine_of();
    CHECK(engine.ok());
    if (!engine) return;
    const Photo photo(64, 64);
    const auto count = [&](const Thresholds& thresholds) {
        const auto found = engine->detect(photo.view(), thresholds);
        return found ? found->objects.size() : 99;
    };
    CHECK(count({}) == 2 && count({std::nullopt, 1.0F}) == 3 && count({0.6F, std::nullopt}) == 1);
    CHECK(engine->detect(nullptr, 0).ok());
    CHECK_FAILS(engine->detect(photo.view(), {1.5F, std::nullopt}).status(), Code::bad_input, "score_threshold is 1.5");
    CHECK_FAILS(engine->detect(photo.view(), {std::nullopt, std::numeric_limits<float>::quiet_NaN()}).status(),
                Code::bad_input, "iou_threshold");
    CHECK_FAILS(Engine::load("absent.gdet").status(), Code::missing_file, "absent.gdet");
}

GD_TEST(engine_refuses_bad_images) {
    const auto engine = engine_of();
    const Photo photo(8, 8);
    const ImageView bad[] = {{nullptr, 8, 8},
                             {photo.pixels.data(), 0, 8},
                             {photo.pixels.data(), 8, 8, 2},
                             {photo.pixels.data(), 8, 8, 3, 23},
                             {photo.pixels.data(), -1, 8}};
    for (const ImageView& view : bad) {
        const ImageView views[] = {photo.view(), view};
        CHECK(engine.ok());
        if (engine) CHECK_FAILS(engine->detect(views, 2).status(), Code::bad_image, "image 1 ");
    }
}

GD_TEST(engine_reads_channels_and_strides) {
    const auto engine = engine_of();
    if (!engine) return;
    const Photo photo(40, 30, 200);
    const auto expected = engine->detect(photo.view());
    std::vector<std::uint8_t> gray, wide, alpha;
    for (std::int64_t y = 0; y < 40; ++y) {
        for (std::int64_t x = 0; x < 30; ++x) {
            const std::uint8_t value = photo.pixels[static_cast<std::size_t>(3 * (30 * y + x))];
            gray.push_back(value);
            wide.insert(wide.end(), 3, value);
            alpha.insert(alpha.end(), {value, value, value, 255});
        }
        wide.insert(wide.end(), 10, 255);
    }
    for (const ImageView& view : {ImageView{gray.data(), 40, 30, 1}, ImageView{wide.data(), 40, 30, 3, 100},
                                  ImageView{alpha.data(), 40, 30, 4, 0, Order::rgb}}) {
        const auto found = engine->detect(view);
        CHECK(expected.ok() && found.ok() && equal(*expected, *found));
    }
}

GD_TEST(engine_refuses_wrong_plans) {
    const std::tuple<Changes, Code, const char*> cases[] = {
        {{{"\"v0\",\"v1\",\"v2\",\"score", "\"v0\",\"v1\",\"v9\",\"score"}}, Code::corrupt_artefact, "uses value 'v9'"},
        {{{"\"v3\",\"v4\"", "\"v0\",\"v4\""}}, Code::corrupt_artefact, "makes value 'v0' a second time"},
        {{{"\"boxes\":\"v7\"", "\"boxes\":\"v8\""}}, Code::corrupt_artefact, "output boxes is value 'v8'"},
        {{{"\"op\":\"nms\"", "\"op\":\"soft_nms_v9\""}}, Code::future_artefact, "soft_nms_v9"},
        {{{"\"keep\":0", "\"keep\":0.5"}}, Code::corrupt_artefact, "attribute keep is not an integer"},
        {{{"\"keep\":0", "\"keep\":0,\"more\":1"}}, Code::corrupt_artefact, "unknown attribute more"},
        {{{"\"keep\":0,", ""}}, Code::corrupt_artefact, "attribute keep is missing"},
        {{{"[\"v3\",\"geometry\"]", "[\"v3\"]"}}, Code::corrupt_artefact, "has 1 operands, expected 2"},
        {{{"[\"v3\",\"geometry\"]", "[\"v3\",null]"}}, Code::corrupt_artefact, "to_image: operand 1 is absent"},
        {{{"\"segment\":\"dense0\"", "\"segment\":\"dense1\""}}, Code::corrupt_artefact, "no blob 'segment:dense1'"},
        {{{"\"openvino\"", "\"torch\""}}, Code::backend_missing, "target 'torch'; it has: openvino"},
    };
    for (const auto& [changes, code, words] : cases) CHECK_FAILS(engine_of(changes).status(), code, words);
    const Blobs clash = {{"segment:dense0", "model"}, {"constants", safetensors("size", "[1]", {1})}};
    CHECK_FAILS(engine_of({}, clash).status(), Code::corrupt_artefact, "constant 'size'");
}

GD_TEST(engine_explains_failing_steps) {
    const Photo photo(64, 64);
    const std::pair<Changes, const char*> cases[] = {
        {{{"[\"v3\",\"geometry\"]", "[\"v3\",\"size\"]"}},
         "to_image failed on f32[1 3 4], f32[1 2]: to_image: geometry"},
        {{{"\"keep\":0", "\"keep\":-1"}}, "keep is -1"},
        {{{"\"boxes\":\"v7\"", "\"boxes\":\"v4\""}}, "plan: output boxes is f32[1 3]"},
        {{{"\"count\":\"v6\"", "\"count\":\"v5\""}}, "plan: output count is i64[1 3]"},
        {{{"\"v3\",\"v4\",\"v5\",\"v6\"]", "\"v3\",\"v4\",\"v5\",\"v6\",\"v66\"]"}}, "the kernel gives 4 outputs"},
    };
    for (const auto& [changes, words] : cases) {
        const auto engine = engine_of(changes);
        CHECK(engine.ok());
        if (engine) CHECK_FAILS(engine->detect(photo.view()).status(), Code::internal, words);
    }
}

GD_TEST(engine_bounds_sizes_from_attributes) {
    // Sizes whose product, or whose bytes, do not fit into 64 bits must not become a small buffer.
    for (const char* size :
         {"\"height\":4611686018427387904,\"width\":4", "\"height\":4294967296,\"width\":4294967296",
          "\"height\":2147483648,\"width\":2147483648", "\"height\":2147483647,\"width\":2147483647"}) {
        const std::string step = R"({"kind":"native","op":"paste_masks","inputs":["pixels","v3","v6"],"attrs":{)" +
                                 std::string(size) + R"(},"outputs":["m"]},)";
        const std::string last = R"({"kind":"native","op":"to_image")";
        const auto engine = engine_of({{last, step + last}});
        CHECK(engine.ok());
        if (engine) CHECK_FAILS(engine->detect(Photo(64, 64).view()).status(), Code::internal, "paste_masks failed on");
    }
}

GD_TEST(engine_takes_constants) {
    const Blobs blobs = {{"segment:dense0", "model"}, {"constants", safetensors("shift", "[1,4]", {1, 1, 1000, 0})}};
    const auto engine = engine_of({{"[\"v3\",\"geometry\"]", "[\"v3\",\"shift\"]"}}, blobs);
    CHECK(engine.ok());
    const auto found = engine ? engine->detect(Photo(64, 64).view()) : Result<Detections>(engine.status());
    CHECK(found.ok() && found->objects.empty());  // outside the image
}

GD_TEST(engine_gives_masks) {
    const auto with = [](const char* shape, std::vector<float> grids, const char* frame) {
        return engine_of({{"\"count\":\"v6\"", "\"count\":\"v6\",\"masks\":\"m\""},
                          {"\"clip\":true", std::string("\"clip\":true,\"masks\":\"") + frame + "\""}},
                         {{"segment:dense0", "model"}, {"constants", safetensors("m", shape, grids)}});
    };
    const std::vector<float> grids = {1, 1, 1, 1, 1, 0, 1, 0};  // all of the first object, the left of the second
    const Photo photo(64, 32);  // boxes: its upper left quarter, its lower right quarter
    for (const char* frame : {"roi", "net"}) {
        const auto engine = with("[1,2,2,2]", grids, frame);
        CHECK(engine.ok());
        const auto found = engine ? engine->detect(photo.view()) : Result<Detections>(engine.status());
        CHECK(found.ok() && found->objects.size() == 2 && found->grids.spans.size() == 2);
        if (!found || found->grids.spans.size() != 2) continue;
        const bool roi = std::string(frame) == "roi";
        for (std::size_t i = 0; i < 2; ++i) {
            const auto& span = found->grids.spans[i];  // a box as predicted, or the whole network input
            const std::array<double, 4> box = i == 0 ? std::array{0., 0., 16., 32.} : std::array{16., 32., 40., 96.};
            CHECK(near(span, roi ? box : std::array{0., 0., 32., 64.}, 1e-4));
            const auto mask = found->bitmap(i);
            CHECK(mask.ok() && mask->size() == 64 * 32);
            int wrong = 0;
            for (std::size_t p = 0; mask.ok() && p < mask->size(); ++p) {
                const double x = static_cast<double>(p % 32) + 0.5, y = static_cast<double>(p / 32) + 0.5;
                const double value = between(x, span[0], span[2], i == 0) * between(y, span[1], span[3], true);
                wrong += (value >= 0.5) != ((*mask)[p] == 1);
            }
            CHECK(wrong == 0);
        }
        const auto runs = found->runs(1);
        CHECK(runs.ok() && !runs->empty());
        CHECK_FAILS(found->bitmap(2).status(), Code::bad_input, "there is no mask 2; the image has 2");
        CHECK_FAILS(found->runs(2).status(), Code::bad_input, "there is no mask 2; the image has 2");
        const auto none = engine->detect(photo.view(), {1.0F, std::nullopt});
        CHECK(none.ok() && none->objects.empty() && none->grids.spans.empty());
    }
    const auto plain = engine_of();
    const auto bare = plain ? plain->detect(photo.view()) : Result<Detections>(plain.status());
    CHECK(bare.ok() && bare->objects.size() == 2 && bare->grids.rows == 0);
    if (bare) CHECK_FAILS(bare->bitmap(0).status(), Code::bad_input, "there is no mask 0; the image has 0");
    const std::pair<const char*, std::vector<float>> bad[] = {{"[1,1,2,2]", {1, 1, 1, 1}}, {"[2,2,2]", grids}};
    for (const auto& [shape, values] : bad) {  // fewer masks than objects; another rank
        const auto engine = with(shape, values, "roi");
        CHECK(engine.ok());
        if (engine) CHECK_FAILS(engine->detect(photo.view()).status(), Code::internal, "plan: ");
    }
}

GD_TEST(engine_is_given_proposals) {
    const std::string rows = R"("given":{"proposals.count":{"dtype":"i64","shape":[],"meaning":"tensor"},)"
                             R"("proposals.boxes":{"dtype":"f32","shape":[3,4],"meaning":"boxes<xyxy,image>"}},)";
    const Changes boxes_out = {{"\"boxes\":\"v7\"", "\"boxes\":\"proposals.boxes\""},
                               {"\"scores\":\"v4\"", "\"scores\":\"v1\""},
                               {"\"labels\":\"v5\"", "\"labels\":\"v2\""},
                               {"\"count\":\"v6\"", "\"count\":\"proposals.count\""}};
    const Photo photo(64, 48);
    const float boxes[] = {1, 2, 30, 40, 0, 0, 8, 8, 3, 3, 9, 9, 0, 0, 1, 1};
    const auto with = [&](const float* data, std::int64_t count) {
        ImageView view = photo.view();
        view.proposals = BoxesView{data, count};
        return view;
    };
    for (const char* batch : {"\"dynamic\"", "1", "2"}) {
        Changes changes = boxes_out;
        changes.push_back({"\"input\":{\"batch\":\"dynamic\",", "\"input\":{" + rows + "\"batch\":" + batch + ","});
        const auto engine = engine_of(changes);
        CHECK(engine.ok());
        if (!engine) continue;
        const ImageView views[] = {with(boxes, 2), with(nullptr, 0), with(boxes + 4, 3)};
        const auto found = engine->detect(views, 3);
        CHECK(found.ok() && found->size() == 3);
        for (std::size_t i = 0; found.ok() && i < 3; ++i) {
            const auto& objects = (*found)[i].objects;
            CHECK(objects.size() == static_cast<std::size_t>(views[i].proposals->count));
            for (std::size_t k = 0; k < objects.size(); ++k) {
                CHECK(std::equal(objects[k].box.begin(), objects[k].box.end(), views[i].proposals->data + 4 * k));
            }
        }
        const auto queued = engine->submit(views, 3).get();
        CHECK(queued.ok() && found.ok() && equal((*queued)[2], (*found)[2]));
        const float wrong[] = {0, 0, std::numeric_limits<float>::quiet_NaN(), 1};
        const std::pair<ImageView, const char*> bad[] = {
            {photo.view(), "image 1 comes without proposals, and tiny is given up to 3"},
            {with(boxes, 4), "image 1 comes with 4 proposals, tiny takes up to 3"},
            {with(boxes, -1), "image 1 comes with -1 proposals"},
            {with(nullptr, 2), "image 1 comes with 0 proposals"},
            {with(wrong, 1), "proposal 0 of image 1 holds a number that is not finite"}};
        for (const auto& [view, words] : bad) {
            const ImageView pair[] = {with(boxes, 1), view};
            CHECK_FAILS(engine->detect(pair, 2).status(), Code::bad_input, words);
        }
    }
    const auto plain = engine_of();
    CHECK(plain.ok());
    if (plain) CHECK_FAILS(plain->detect(with(boxes, 1)).status(), Code::bad_input, "and tiny takes none");
    const auto other = engine_of({{"\"batch\":\"dynamic\"",
                                   "\"batch\":\"dynamic\",\"given\":{\"text\":{\"dtype\":\"f32\","
                                   "\"shape\":[8],\"meaning\":\"tensor\"}}"}});
    CHECK(other.ok());
    if (other) CHECK_FAILS(other->detect(photo.view()).status(), Code::bad_input, "tiny needs the input 'text'");
    CHECK_FAILS(engine_of({{"\"batch\":\"dynamic\"",
                            "\"batch\":\"dynamic\",\"given\":{\"size\":{\"dtype\":\"f32\","
                            "\"shape\":[2],\"meaning\":\"tensor\"}}"}})
                    .status(),
                Code::corrupt_artefact, "input 'size' has the name of a graph input");
}

GD_TEST(engine_keeps_within_bounds) {
    const auto engine = engine_of({{"\"size\":\"dynamic\"", "\"size\":\"dynamic\",\"bounds\":[[32,64],[64,64]]"},
                                   {"\"size\":[64,64]", "\"size\":[64,96]"}});
    CHECK(engine.ok());
    if (!engine) return;
    const Photo fits(40, 20), wide(30, 90);
    const auto found = engine->detect(fits.view());  // padded to 64 x 64
    CHECK(found.ok() && found->objects.size() == 2);
    const ImageView views[] = {fits.view(), wide.view()};
    CHECK(engine->detect(views, 2).ok());  // the second is scaled to 21 x 64
}

GD_TEST(engine_is_the_same_on_eight_threads) {
    const auto engine = engine_of();
    CHECK(engine.ok());
    if (!engine) return;
    std::vector<Photo> photos;
    for (int i = 0; i < 24; ++i)
        photos.emplace_back(20 + 13 * (i % 7), 15 + 29 * (i % 5), static_cast<std::uint8_t>(10 * i));
    std::vector<Detections> serial;
    for (const Photo& photo : photos) {
        const auto found = engine->detect(photo.view());
        serial.push_back(found ? *found : Detections());
    }
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 8; ++t) {
        threads.emplace_back([&, t] {
            for (std::size_t i = 0; i < 3 * photos.size(); ++i) {
                const std::size_t k = (i + 3 * t) % photos.size();
                const auto found = engine->detect(photos[k].view());
                CHECK(found.ok() && equal(*found, serial[k]));
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
}

}  // namespace graphdet::tests
