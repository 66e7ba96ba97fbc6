// graphdet: run a compiled detector (`.gdet` file) from C++17.
//
//   auto engine = graphdet::Engine::load("yolox.gdet");
//   if (!engine) return fail(engine.status().message());
//   auto found = engine->detect(graphdet::ImageView{pixels, height, width});
//   if (!found) return fail(found.status().message());
//   for (const graphdet::Detection& one : found->objects) use(one.box, one.score, engine->name(one.label));
//
// Results equal those of the Python engine bit for bit, given the same pixels, batch and number of threads.
// Nothing throws. Standard-library types cross the border, so build with the same compiler family and standard library
// as the library; where that cannot be, use graphdet_c.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "graphdet/status.hpp"

#if defined(_WIN32)
#define GRAPHDET_API
#define GRAPHDET_LOCAL
#else
#define GRAPHDET_API __attribute__((visibility("default")))
#define GRAPHDET_LOCAL __attribute__((visibility("hidden")))
#endif

namespace graphdet {

enum class Order : std::uint8_t { bgr, rgb };

// Boxes (x1, y1, x2, y2) in pixels of their image, one after the other, owned by the caller and only read.
struct BoxesView {
    const float* data = nullptr;
    std::int64_t count = 0;
};

// Pixels of one image, uint8, channels last, owned by the caller and only read. They and the proposals must stay as they are until the
// call that takes the view returns.
struct ImageView {
    const std::uint8_t* data = nullptr;
    std::int64_t height = 0;     // pixels, >= 1
    std::int64_t width = 0;      // pixels, >= 1
    int channels = 3;            // 1: gray, 3: colour, 4: colour and alpha, which is not read
    std::int64_t row_bytes = 0;  // from one row to the next, at least width * channels; 0 = rows follow one another
    Order order = Order::bgr;    // of the colour channels
    // Where to look, for a detector that is given boxes (Fast R-CNN), which needs them, be they none; not for others.
    std::optional<BoxesView> proposals = std::nullopt;
};

// One object: box (x1, y1, x2, y2) in pixels of the original image, continuous coordinates; score in 0..1; label, an
// index into `Engine::classes()`.
struct Detection {
    std::array<float, 4> box = {};
    float score = 0.0F;
    std::int64_t label = -1;
};

// Masks of the objects of one image, as predicted: for each object, in their order, a grid of rows x columns
// probabilities that spans a part of the image, (x1, y1, x2, y2) in its pixels. No rows: the detector predicts no
// masks.
struct Grids {
    std::int64_t rows = 0;
    std::int64_t columns = 0;
    std::vector<float> values;
    std::vector<std::array<float, 4>> spans;
};

// Objects of one image of height x width pixels, best first.
struct GRAPHDET_API Detections {
    std::vector<Detection> objects;
    std::int64_t height = 0;
    std::int64_t width = 0;
    Grids grids;

    // The mask of an object, pasted into the image with one interpolation: height x width bytes of 0 and 1, row by row;
    // and the same as COCO's compressed run lengths, for which no bitmap is made.
    //
    // Fail with bad_input for an object that there is not, or without masks; out_of_memory.
    [[nodiscard]] Result<std::vector<std::uint8_t>> bitmap(std::size_t object) const;
    [[nodiscard]] Result<std::string> runs(std::size_t object) const;
};

// A segment of an image: its pixels' number in `Panoptic::map`, its label, whether it is a countable thing, and how
// many pixels it has.
struct PanopticSegment {
    std::int32_t id = 0;
    std::int64_t label = -1;
    bool thing = false;
    std::int64_t area = 0;
};

// Panoptic segments of one image of height x width pixels: for each pixel, row by row, the id of its segment, or 0
// where it has none.
struct Panoptic {
    std::vector<std::int32_t> map;
    std::vector<PanopticSegment> segments;
    std::int64_t height = 0;
    std::int64_t width = 0;
};

struct LoadOptions {
    int threads = 0;  // CPU threads of the network; 0 leaves the number to the backend
    int chunk = 8;    // images run at once where the file's batch is dynamic; >= 1
    int workers = 1;  // threads that do submitted work; >= 1
    int queue = 32;   // submissions that may wait beside those that run; >= 1
    // Little memory rather than little time: weights that the backend has made its own copies of go to a temporary file,
    // and what only a run or a segment needs is given back after it.
    bool lean = false;
};

// Run-time thresholds, 0..1, in place of the file's own. One that the file does not have is an error.
struct Thresholds {
    std::optional<float> score;  // keep objects above this score
    std::optional<float> iou;    // suppress boxes of one class that overlap more than this
};

// A compiled detector, ready to run. Moving it is cheap. `detect` may be called from several threads at once; each call
// has its own buffers, which are kept for later calls. Buffers grow with the largest batch seen and are freed with the
// engine.
class GRAPHDET_API Engine {
  public:
    // Reads and checks the file, and compiles its network for this machine.
    //
    // Fails with missing_file, not_an_artefact, truncated_artefact, future_artefact, corrupt_artefact; backend_missing
    // when this build lacks the file's target; precision_mismatch; bad_input for an option out of range.
    static Result<Engine> load(const std::string& path, const LoadOptions& options = {});

    // Detects objects in `count` images, which may differ in size. The result has one entry for each, in their order;
    // no image is a normal input. Images of one chunk are padded to a common size where the file's size is dynamic.
    //
    // Fails with bad_image and, for its proposals or for a size outside the file's bounds, bad_input (the text has the
    // image's number); bad_input, internal, out_of_memory.
    Result<std::vector<Detections>> detect(const ImageView* images, std::size_t count,
                                           const Thresholds& thresholds = {}) const;

    // The same for one image.
    Result<Detections> detect(const ImageView& image, const Thresholds& thresholds = {}) const;

    // Gives each pixel of `count` images to a segment or to none.
    //
    // Fails as `detect` does; with bad_input for a detector without panoptic segments.
    Result<std::vector<Panoptic>> panoptic(const ImageView* images, std::size_t count) const;

    // `detect` on the engine's own threads: returns when the work is in the queue, which it waits for while the queue
    // is full. The pixels must stay as they are until the future is ready. Every failure comes with the future, also
    // engine_closed, for work that was not begun when the engine was closed or destroyed.
    std::future<Result<std::vector<Detections>>> submit(const ImageView* images, std::size_t count,
                                                        const Thresholds& thresholds = {}) const;

    // Ends `submit`: waiting work fails with engine_closed, and the call returns when running work is done. `detect`
    // goes on working. The destructor does the same first.
    void close() const;

    // Class names by label.
    [[nodiscard]] const std::vector<std::string>& classes() const;

    // The class name of a label, or its number where the file has no name for it.
    [[nodiscard]] std::string name(std::int64_t label) const;

    // The detector's name, and the backend that the file was built for.
    [[nodiscard]] const std::string& detector() const;
    [[nodiscard]] const std::string& target() const;

    class GRAPHDET_LOCAL Impl;
    explicit Engine(std::unique_ptr<Impl> impl);
    Engine(Engine&&) noexcept;
    Engine& operator=(Engine&&) noexcept;
    ~Engine();

  private:
    std::unique_ptr<Impl> impl_;
};

// Version of the library, and the targets that this build can run ("openvino").
GRAPHDET_API const char* version();
GRAPHDET_API std::vector<std::string> backends();

}  // namespace graphdet
