// bench ENGINE.gdet IMAGE [RUNS] [THREADS]
//
// Prints the latency of one image in milliseconds, from pixels in memory to boxes, after a warm-up; and the processor
// time, of all threads together.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "images.hpp"

namespace {

int fail(const std::string& text) {
    std::fprintf(stderr, "bench: %s\n", text.c_str());
    return 1;
}

}  // namespace

int main(int count, char** words) {
    if (count < 3) return fail("usage: bench ENGINE.gdet IMAGE [RUNS] [THREADS]");
    const int runs = count > 3 ? std::max(1, std::atoi(words[3])) : 100;
    graphdet::LoadOptions options;
    options.threads = count > 4 ? std::atoi(words[4]) : 0;
    const auto engine = graphdet::Engine::load(words[1], options);
    if (!engine) return fail(engine.status().message());
    const auto image = examples::read_image(words[2]);
    if (!image) return fail(std::string("cannot read ") + words[2]);

    std::vector<double> times, work;
    std::size_t objects = 0;
    for (int i = -5; i < runs; ++i) {
        const std::clock_t used = std::clock();
        const auto start = std::chrono::steady_clock::now();
        const auto found = engine->detect(image->view());
        const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
        if (!found) return fail(found.status().message());
        objects = found->objects.size();
        if (i < 0) continue;
        times.push_back(time.count());
        work.push_back(1000.0 * static_cast<double>(std::clock() - used) / CLOCKS_PER_SEC);
    }
    std::sort(times.begin(), times.end());
    std::sort(work.begin(), work.end());
    const auto percentile = [&](double part) {
        return times[static_cast<std::size_t>(part * static_cast<double>(times.size() - 1))];
    };
    std::printf(
        "{\"runs\": %d, \"objects\": %zu, \"min_ms\": %.3f, \"p50_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, "
        "\"cpu_p50_ms\": %.3f}\n",
        runs, objects, times.front(), percentile(0.5), percentile(0.9), percentile(0.99), work[work.size() / 2]);
    return 0;
}
