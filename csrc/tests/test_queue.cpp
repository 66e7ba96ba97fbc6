// The bounded queue by itself, and submitted work of an engine.
#include "engine/queue.h"

#include <atomic>
#include <future>
#include <set>
#include <thread>

#include "tests/check.h"
#include "tests/tiny.h"

namespace graphdet::tests {

namespace {

using std::chrono::milliseconds;

// Holds threads up until it is opened.
class Gate {
  public:
    void open() { promise_.set_value(); }
    void wait() const { future_.wait(); }

  private:
    std::promise<void> promise_;
    std::shared_future<void> future_ = promise_.get_future().share();
};

Result<Engine> engine_of(const LoadOptions& options) {
    const Folder folder;
    write(folder.file("a.gdet"), tiny_file());
    return load(folder.file("a.gdet"), options);
}

}  // namespace

GD_TEST(queue_keeps_the_order_of_one_worker) {
    std::vector<int> done;
    {
        Queue queue(1, 4);
        for (int i = 0; i < 50; ++i) CHECK(queue.push([&done, i](bool go) { done.push_back(go ? i : -1); }).ok());
        std::promise<void> last;
        CHECK(queue.push([&](bool) { last.set_value(); }).ok());
        last.get_future().wait();
    }
    CHECK(done.size() == 50);
    for (int i = 0; i < 50; ++i) CHECK(done[static_cast<std::size_t>(i)] == i);
}

GD_TEST(queue_is_bounded) {
    Gate gate;
    std::atomic<int> done{0};
    Queue queue(1, 2);
    std::promise<void> begun;
    CHECK(queue
              .push([&](bool) {
                  begun.set_value();
                  gate.wait();
              })
              .ok());
    begun.get_future().wait();
    for (int i = 0; i < 2; ++i) CHECK(queue.push([&](bool go) { done += go ? 1 : 100; }).ok());
    Queue::Job third = [&](bool go) { done += go ? 1 : 100; };
    const auto full = queue.push_within(third, milliseconds(20));
    CHECK(full.ok() && !*full && third);
    gate.open();
    const auto later = queue.push_within(third, milliseconds(60000));
    CHECK(later.ok() && *later);
    std::promise<void> last;
    CHECK(queue.push([&](bool) { last.set_value(); }).ok());
    last.get_future().wait();
    CHECK(done == 3);
}

GD_TEST(queue_uses_its_workers) {
    // Each job waits for all others: it takes four threads to get through.
    std::atomic<int> arrived{0};
    Gate gate;
    Queue queue(4, 8);
    std::promise<void> all;
    for (int i = 0; i < 4; ++i) {
        CHECK(queue
                  .push([&](bool) {
                      if (++arrived == 4) all.set_value();
                      gate.wait();
                  })
                  .ok());
    }
    CHECK(all.get_future().wait_for(std::chrono::seconds(60)) == std::future_status::ready);
    gate.open();
}

GD_TEST(queue_close_cancels_what_waits) {
    Gate gate;
    std::atomic<int> ran{0}, cancelled{0};
    Queue queue(2, 8);
    std::promise<void> begun[2];
    for (auto& promise : begun) {
        CHECK(queue
                  .push([&](bool) {
                      promise.set_value();
                      gate.wait();
                      ++ran;
                  })
                  .ok());
        promise.get_future().wait();
    }
    for (int i = 0; i < 5; ++i) CHECK(queue.push([&](bool go) { ++(go ? ran : cancelled); }).ok());
    std::thread closer([&] { queue.close(); });
    while (cancelled < 5) std::this_thread::sleep_for(milliseconds(1));
    CHECK(ran == 0);
    gate.open();
    closer.join();
    CHECK(ran == 2 && cancelled == 5);
    CHECK_FAILS(queue.push([](bool) {}), Code::engine_closed, "closed");
    queue.close();
}

GD_TEST(queue_may_be_closed_by_its_own_job) {
    auto queue = std::make_unique<Queue>(1, 1);
    std::promise<void> gone;
    CHECK(queue
              ->push([&](bool) {
                  queue.reset();
                  gone.set_value();
              })
              .ok());
    CHECK(gone.get_future().wait_for(std::chrono::seconds(60)) == std::future_status::ready);
}

GD_TEST(engine_does_submitted_work) {
    LoadOptions options;
    options.workers = 3, options.queue = 2;
    const auto engine = engine_of(options);
    CHECK(engine.ok());
    if (!engine) return;
    std::vector<std::vector<std::uint8_t>> photos;
    std::vector<std::future<Result<std::vector<Detections>>>> futures;
    for (int i = 0; i < 40; ++i) photos.emplace_back(3 * 20 * 30, static_cast<std::uint8_t>(60 + i));
    for (const auto& photo : photos) {
        const ImageView view{photo.data(), 20, 30};
        futures.push_back(engine->submit(&view, 1));
    }
    for (std::size_t i = 0; i < photos.size(); ++i) {
        const auto found = futures[i].get();
        const auto expected = engine->detect(ImageView{photos[i].data(), 20, 30});
        CHECK(found.ok() && expected.ok() && found->size() == 1);
        if (!found || !expected) continue;
        CHECK(found->front().objects.size() == expected->objects.size() && !expected->objects.empty());
        CHECK(found->front().objects[0].score == expected->objects[0].score);
    }
    const ImageView good{photos[0].data(), 20, 30}, bad;
    CHECK_FAILS(engine->submit(&bad, 1).get().status(), Code::bad_image, "image 0 has no pixels");
    CHECK_FAILS(engine->submit(&good, 1, {2.0F, std::nullopt}).get().status(), Code::bad_input, "score_threshold is 2");
    engine->close();
    CHECK_FAILS(engine->submit(&good, 1).get().status(), Code::engine_closed, "closed");
    CHECK(engine->detect(good).ok());
}

GD_TEST(engine_checks_its_options) {
    for (int LoadOptions::* option : {&LoadOptions::chunk, &LoadOptions::workers, &LoadOptions::queue}) {
        LoadOptions options;
        options.*option = 0;
        CHECK_FAILS(engine_of(options).status(), Code::bad_input, "is 0, expected at least 1");
    }
}

}  // namespace graphdet::tests
