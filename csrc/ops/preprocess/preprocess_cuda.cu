#include "core/bfloat16.h"
#include "cuda/cuda.h"
#include "ops/preprocess/formulas.h"
#include "ops/preprocess/preprocess.h"

namespace graphdet {

namespace {

using namespace cuda;

struct Values {
    float mean[3], std[3], pad;
};

// One channel of the image, resized: the value of the pixel that `y` and `x` place.
__device__ inline std::int32_t resized(const Pixels& image, std::int64_t channel, const Place& y, const Place& x) {
    const std::int64_t right = std::min(x.low + 1, image.width - 1), last = image.height - 1;
    std::int16_t rows[2];
    for (int i = 0; i < 2; ++i) {
        const std::int64_t at = std::min(std::max<std::int64_t>(y.low + i, 0), last);
        const std::uint8_t* row = image.data + at * image.row + channel * image.channel;
        rows[i] = across(row[x.low * image.column], row[right * image.column], x.low_weight, x.high_weight);
    }
    return down(rows[0], rows[1], static_cast<std::int16_t>(y.low_weight), static_cast<std::int16_t>(y.high_weight));
}

// `columns`, `rows`: where each column and row of the image lies.
template <class T>
void write(const Preprocess& args, const Place* columns, const Place* rows, const Device& device, T* out) {
    const Pixels image = args.image;
    const std::int64_t height = args.height, width = args.width;
    Values values = {};
    values.pad = args.pad;
    for (std::size_t i = 0; i < 3; ++i) values.mean[i] = args.mean[i], values.std[i] = args.std[i];
    const std::int64_t canvas_width = args.canvas_width, canvas = args.canvas_height * args.canvas_width;
    const bool gray = image.channels == 1, reverse = args.reverse;
    for_each(device, canvas, [=] __device__(std::int64_t at) {
        const std::int64_t y = at / canvas_width, x = at % canvas_width;
        for (std::int64_t plane = 0; plane < 3; ++plane) {
            const std::int64_t channel = gray ? 0 : reverse ? 2 - plane : plane;
            float value = values.pad;
            if (y < height && x < width) {
                value = static_cast<float>(resized(image, channel, rows[y], columns[x]));
                value = (value - values.mean[plane]) / values.std[plane];
            }
            store(value, out + plane * canvas + at);
        }
    });
}

}  // namespace

Status plan(const Preprocess& args, Plan& needed, const Device&) {
    GD_CHECK(plan(args, needed));
    needed.workspace = Workspace::need<Place>(args.width) + Workspace::need<Place>(args.height);
    return Status();
}

Status launch(const Preprocess& args, const TensorView* outputs, Workspace workspace, const Device& device) {
    constexpr const char* op = "preprocess";
    Plan needed;
    GD_CHECK(ready(op, args, outputs, workspace, device, needed));
    auto* columns = workspace.take<Place>(args.width);
    auto* rows = workspace.take<Place>(args.height);
    const Pixels image = args.image;
    const std::int64_t height = args.height, width = args.width;
    for_each(device, width, [=] __device__(std::int64_t x) { columns[x] = column_of(x, image.width, width); });
    for_each(device, height, [=] __device__(std::int64_t y) { rows[y] = place_of(y, image.height, height); });
    if (args.dtype == DType::bf16) {
        write(args, columns, rows, device, static_cast<BFloat16*>(outputs[0].data));
    } else {
        write(args, columns, rows, device, outputs[0].f32_out());
    }
    return finish(op);
}

}  // namespace graphdet
