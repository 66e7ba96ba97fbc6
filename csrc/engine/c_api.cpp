#include "graphdet/graphdet_c.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "engine/guard.h"
#include "graphdet/graphdet.hpp"

struct gd_engine {
    graphdet::Engine engine;
};

struct gd_result {
    std::vector<std::vector<gd_detection>> images;
    std::vector<graphdet::Detections> found;
};

struct gd_panoptic {
    std::vector<std::vector<gd_segment>> segments;
    std::vector<graphdet::Panoptic> found;
};

struct gd_job {
    std::future<graphdet::Result<std::vector<graphdet::Detections>>> future;
};

namespace {

using graphdet::Code;
using graphdet::Status;

std::string& last_error() {
    thread_local std::string text;
    return text;
}

// Keeps the text of a failure for `gd_last_error`. When even that has no memory the code still says what happened.
gd_status reported(const Status& status) noexcept {
    if (!status.ok()) {
        try {
            last_error() = status.message();
        } catch (const std::exception&) {
            last_error().clear();
        }
    }
    return static_cast<gd_status>(status.code());
}

std::optional<float> threshold(float value) { return value == GD_DEFAULT ? std::nullopt : std::optional<float>(value); }

graphdet::ImageView view_of(const gd_image& image) {
    graphdet::ImageView view;
    view.data = image.data;
    view.height = image.height, view.width = image.width;
    view.channels = image.channels, view.row_bytes = image.row_bytes;
    view.order = image.order == GD_RGB ? graphdet::Order::rgb : graphdet::Order::bgr;
    if (image.proposals != nullptr) view.proposals = {image.proposals->data, image.proposals->count};
    return view;
}

Status load(const char* path, int32_t threads, gd_engine** out) {
    graphdet::LoadOptions options;
    options.threads = threads;
    auto engine = graphdet::Engine::load(path, options);
    GD_CHECK(engine.status());
    *out = new gd_engine{*std::move(engine)};
    return Status();
}

Status views_of(const gd_image* images, size_t count, std::vector<graphdet::ImageView>& views) {
    for (size_t i = 0; i < count; ++i) {
        if (images[i].order != GD_BGR && images[i].order != GD_RGB) {
            return Status(Code::bad_image, "image " + std::to_string(i) + " has an unknown channel order");
        }
        views.push_back(view_of(images[i]));
    }
    return Status();
}

Status deliver(const graphdet::Result<std::vector<graphdet::Detections>>& found, gd_result** out) {
    GD_CHECK(found.status());
    auto result = std::make_unique<gd_result>();
    for (const graphdet::Detections& image : *found) {
        auto& objects = result->images.emplace_back();
        for (const graphdet::Detection& one : image.objects) {
            objects.push_back({{one.box[0], one.box[1], one.box[2], one.box[3]}, one.score, one.label});
        }
    }
    result->found = *found;
    *out = result.release();
    return Status();
}

Status paste(const gd_result& result, size_t image, size_t object, uint8_t* out) {
    if (image >= result.found.size()) {
        return Status(Code::bad_input, "there is no image " + std::to_string(image) + "; the result has " +
                                           std::to_string(result.found.size()));
    }
    const auto mask = result.found[image].bitmap(object);
    GD_CHECK(mask.status());
    std::copy(mask->begin(), mask->end(), out);
    return Status();
}

Status detect(const graphdet::Engine& engine, const gd_image* images, size_t count, float score, float iou,
              gd_result** out) {
    std::vector<graphdet::ImageView> views;
    GD_CHECK(views_of(images, count, views));
    return deliver(engine.detect(views.data(), count, {threshold(score), threshold(iou)}), out);
}

Status panoptic(const graphdet::Engine& engine, const gd_image* images, size_t count, gd_panoptic** out) {
    std::vector<graphdet::ImageView> views;
    GD_CHECK(views_of(images, count, views));
    auto found = engine.panoptic(views.data(), count);
    GD_CHECK(found.status());
    auto result = std::make_unique<gd_panoptic>();
    for (const graphdet::Panoptic& image : *found) {
        auto& segments = result->segments.emplace_back();
        for (const graphdet::PanopticSegment& one : image.segments) {
            segments.push_back({one.id, one.thing ? 1 : 0, one.label, one.area});
        }
    }
    result->found = *std::move(found);
    *out = result.release();
    return Status();
}

Status submit(const graphdet::Engine& engine, const gd_image* images, size_t count, float score, float iou,
              gd_job** out) {
    std::vector<graphdet::ImageView> views;
    GD_CHECK(views_of(images, count, views));
    *out = new gd_job{engine.submit(views.data(), count, {threshold(score), threshold(iou)})};
    return Status();
}

}  // namespace

const char* gd_last_error(void) { return last_error().c_str(); }
const char* gd_version(void) { return graphdet::version(); }

gd_status gd_engine_load(const char* path, int32_t threads, gd_engine** out) {
    *out = nullptr;
    return reported(graphdet::guarded([&] { return load(path, threads, out); }));
}

void gd_engine_free(gd_engine* engine) { delete engine; }

size_t gd_engine_class_count(const gd_engine* engine) { return engine->engine.classes().size(); }

const char* gd_engine_class_name(const gd_engine* engine, int64_t label) {
    const auto& classes = engine->engine.classes();
    const bool known = label >= 0 && static_cast<uint64_t>(label) < classes.size();
    return known ? classes[static_cast<size_t>(label)].c_str() : nullptr;
}

gd_status gd_engine_detect(const gd_engine* engine, const gd_image* images, size_t count, float score, float iou,
                           gd_result** out) {
    *out = nullptr;
    return reported(graphdet::guarded([&] { return detect(engine->engine, images, count, score, iou, out); }));
}

gd_status gd_engine_submit(const gd_engine* engine, const gd_image* images, size_t count, float score, float iou,
                           gd_job** out) {
    *out = nullptr;
    return reported(graphdet::guarded([&] { return submit(engine->engine, images, count, score, iou, out); }));
}

int32_t gd_job_done(const gd_job* job) {
    const bool taken = !job->future.valid();
    return taken || job->future.wait_for(std::chrono::seconds(0)) == std::future_status::ready ? 1 : 0;
}

gd_status gd_job_wait(gd_job* job, gd_result** out) {
    *out = nullptr;
    return reported(graphdet::guarded([&] {
        if (!job->future.valid()) return Status(Code::bad_input, "the job's result has been taken before");
        return deliver(job->future.get(), out);
    }));
}

void gd_job_free(gd_job* job) { delete job; }

void gd_engine_close(const gd_engine* engine) { engine->engine.close(); }

gd_status gd_result_bitmap(const gd_result* result, size_t image, size_t object, uint8_t* out) {
    return reported(graphdet::guarded([&] { return paste(*result, image, object, out); }));
}

gd_status gd_engine_panoptic(const gd_engine* engine, const gd_image* images, size_t count, gd_panoptic** out) {
    *out = nullptr;
    return reported(graphdet::guarded([&] { return panoptic(engine->engine, images, count, out); }));
}

void gd_panoptic_free(gd_panoptic* result) { delete result; }

const int32_t* gd_panoptic_map(const gd_panoptic* result, size_t image) {
    return image < result->found.size() ? result->found[image].map.data() : nullptr;
}

const gd_segment* gd_panoptic_segments(const gd_panoptic* result, size_t image, size_t* count) {
    *count = image < result->segments.size() ? result->segments[image].size() : 0;
    return *count > 0 ? result->segments[image].data() : nullptr;
}

void gd_result_free(gd_result* result) { delete result; }

size_t gd_result_images(const gd_result* result) { return result->images.size(); }

const gd_detection* gd_result_objects(const gd_result* result, size_t image, size_t* count) {
    *count = image < result->images.size() ? result->images[image].size() : 0;
    return *count > 0 ? result->images[image].data() : nullptr;
}
