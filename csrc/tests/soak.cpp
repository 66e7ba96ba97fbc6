// Soak: many threads share one engine for a while. Results must equal those of one thread, and memory must not grow.
//
//   soak ENGINE SECONDS [THREADS]      prints one line of JSON; exits with 1 when something is wrong
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <vector>

#if defined(__unix__)
#include <unistd.h>
#endif

#include "graphdet/graphdet.hpp"

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPhotos = 16;
constexpr double kWarmUp = 0.25;      // share of the time after which memory is looked at
constexpr double kGrowth = 16 << 20;  // bytes: what an allocator may keep, far below a leak of one image a second
constexpr std::size_t kPending = 4;   // submissions that one thread waits for at a time

struct Photo {
    std::int64_t height, width;
    std::vector<std::uint8_t> pixels;

    explicit Photo(int seed) : height(200 + 37 * (seed % 9)), width(240 + 53 * (seed % 7)) {
        pixels.resize(static_cast<std::size_t>(3 * height * width));
        std::uint32_t state = static_cast<std::uint32_t>(seed) * 2654435761U + 1U;
        const std::uint8_t ground = static_cast<std::uint8_t>(state >> 24);
        for (std::uint8_t& value : pixels) value = ground;
        for (int k = 0; k < 6; ++k) {  // coloured rectangles, which the detector of drawn scenes may find
            const auto random = [&](std::int64_t limit) {
                state = state * 1664525U + 1013904223U;
                return static_cast<std::int64_t>(state >> 8) % limit;
            };
            const std::int64_t y = random(height - 60), x = random(width - 60), h = 20 + random(40),
                               w = 20 + random(40);
            const std::uint8_t colour[] = {static_cast<std::uint8_t>(random(256)),
                                           static_cast<std::uint8_t>(random(256)),
                                           static_cast<std::uint8_t>(random(256))};
            for (std::int64_t i = y; i < y + h; ++i) {
                for (std::int64_t j = 3 * x; j < 3 * (x + w); ++j) {
                    pixels[static_cast<std::size_t>(3 * i * width + j)] = colour[j % 3];
                }
            }
        }
    }
    [[nodiscard]] graphdet::ImageView view() const { return {pixels.data(), height, width}; }
};

bool equal(const graphdet::Detections& a, const graphdet::Detections& b) {
    bool same = a.objects.size() == b.objects.size() && a.height == b.height && a.width == b.width;
    for (std::size_t i = 0; same && i < a.objects.size(); ++i) {
        const graphdet::Detection &x = a.objects[i], &y = b.objects[i];
        same = x.box == y.box && x.score == y.score && x.label == y.label;
    }
    return same;
}

// Bytes of memory that the process has in use; 0 where the system does not say.
double resident() {
    double total = 0, pages = 0;
    std::ifstream("/proc/self/statm") >> total >> pages;
#if defined(__unix__)
    return pages * static_cast<double>(sysconf(_SC_PAGESIZE));
#else
    return 0;
#endif
}

class Soak {
  public:
    Soak(const graphdet::Engine& engine, double seconds) : engine_(engine), seconds_(seconds) {
        for (int i = 0; i < kPhotos; ++i) photos_.emplace_back(i);
    }

    bool serial() {
        for (const Photo& photo : photos_) {
            auto found = engine_.detect(photo.view(), {0.05F, std::nullopt});
            if (!found) return std::fprintf(stderr, "soak: %s\n", found.status().message().c_str()), false;
            objects_ += found->objects.size();
            expected_.push_back(*std::move(found));
        }
        return true;
    }

    int run(int count) {
        const auto begin = Clock::now();
        const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
        std::vector<std::thread> threads;
        for (int t = 0; t < count; ++t) {
            threads.emplace_back([&, t] {
                for (std::size_t i = static_cast<std::size_t>(t); elapsed() < seconds_; i += kPending) {
                    t % 2 == 0 ? call(i) : submit(i);
                }
            });
        }
        double early = 0, most = 0;
        while (elapsed() < seconds_) {
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
            if (elapsed() < kWarmUp * seconds_) continue;
            if (early == 0) early = resident();
            most = std::max(most, resident());
        }
        for (std::thread& thread : threads) thread.join();
        const bool flat = most - early <= kGrowth;
        std::printf(
            "{\"threads\": %d, \"seconds\": %.1f, \"calls\": %lld, \"wrong\": %lld, \"objects\": %zu, "
            "\"rss_warm_mib\": %.1f, \"rss_most_mib\": %.1f}\n",
            count, elapsed(), calls_.load(), wrong_.load(), objects_, early / (1 << 20), most / (1 << 20));
        return wrong_ == 0 && flat && calls_ > 0 ? 0 : 1;
    }

  private:
    void check(const graphdet::Result<std::vector<graphdet::Detections>>& found, std::size_t photo) {
        ++calls_;
        if (!found || found->size() != 1 || !equal(found->front(), expected_[photo])) ++wrong_;
    }
    void call(std::size_t i) {
        const graphdet::ImageView view = photos_[i % kPhotos].view();
        check(engine_.detect(&view, 1, {0.05F, std::nullopt}), i % kPhotos);
    }
    void submit(std::size_t i) {
        std::vector<std::future<graphdet::Result<std::vector<graphdet::Detections>>>> futures;
        for (std::size_t k = i; k < i + kPending; ++k) {
            const graphdet::ImageView view = photos_[k % kPhotos].view();
            futures.push_back(engine_.submit(&view, 1, {0.05F, std::nullopt}));
        }
        for (std::size_t k = 0; k < kPending; ++k) check(futures[k].get(), (i + k) % kPhotos);
    }

    const graphdet::Engine& engine_;
    double seconds_;
    std::vector<Photo> photos_;
    std::vector<graphdet::Detections> expected_;
    std::size_t objects_ = 0;
    std::atomic<long long> calls_{0}, wrong_{0};
};

}  // namespace

int main(int count, char** words) {
    if (count < 3) return std::fprintf(stderr, "usage: soak ENGINE SECONDS [THREADS]\n"), 2;
    graphdet::LoadOptions options;
    options.threads = 1, options.workers = 2, options.queue = 8;
    const auto engine = graphdet::Engine::load(words[1], options);
    if (!engine) return std::fprintf(stderr, "soak: %s\n", engine.status().message().c_str()), 1;
    Soak soak(*engine, std::atof(words[2]));
    return soak.serial() ? soak.run(count > 3 ? std::atoi(words[3]) : 8) : 1;
}
