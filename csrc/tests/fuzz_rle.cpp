// libFuzzer target: run-length codes. The first byte chooses: the text of a code for a mask of given size, or a bitmap and
// its place in a mask. What can be read must survive every way back.
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "ops/rle/rle.h"

namespace {

using graphdet::Bitmap;
using graphdet::Runs;
using Bytes = std::vector<std::uint8_t>;

void demand(bool condition) {
    if (!condition) std::abort();
}

Runs read_back(const Runs& runs) {
    Runs found;
    demand(graphdet::rle_from_text(graphdet::rle_to_text(runs), found).ok());
    return found;
}

void read_text(std::int64_t height, std::int64_t width, std::string_view text) {
    Runs runs;
    const auto read = graphdet::rle_from_text(text, runs);
    demand(read.ok() || !read.text().empty());
    if (!read.ok()) return;
    demand(read_back(runs) == runs);

    Bytes mask(static_cast<std::size_t>(height * width));
    const auto decoded = graphdet::rle_decode(runs, height, width, mask.data());
    demand(decoded.ok() == graphdet::rle_check(runs, height * width).ok());
    if (!decoded.ok()) return demand(!decoded.text().empty());
    std::int64_t ones = 0;
    for (const std::uint8_t pixel : mask) ones += pixel;
    demand(graphdet::rle_area(runs) == ones);

    // Runs of no pixels say nothing: another code of the same mask overlaps it wholly.
    const Runs again = graphdet::rle_encode({mask.data(), height, width, width, 1}, 0, 0, height, width);
    demand(again.size() <= runs.size() + 1);
    demand(graphdet::rle_iou(runs, again, false) == (ones > 0 ? 1.0 : 0.0));
}

// A bitmap of `ones` in rows or columns, at (top, left) of a mask with a border of another size.
void encode(std::int64_t height, std::int64_t width, std::int64_t top, std::int64_t left, const Bytes& ones) {
    const std::int64_t whole_height = height + 2 * top, whole_width = width + left;
    const Bitmap by_column = {ones.data(), height, width, 1, height};
    Bytes turned(ones.size()), found(static_cast<std::size_t>(whole_height * whole_width), 2);
    for (std::int64_t y = 0; y < height; ++y)
        for (std::int64_t x = 0; x < width; ++x) turned[y * width + x] = ones[x * height + y];
    const Runs runs = graphdet::rle_encode(by_column, top, left, whole_height, whole_width);
    demand(runs ==
           graphdet::rle_encode({turned.data(), height, width, width, 1}, top, left, whole_height, whole_width));
    for (std::size_t i = 1; i < runs.size(); ++i) demand(runs[i] > 0);
    demand(read_back(runs) == runs);

    demand(graphdet::rle_decode(runs, whole_height, whole_width, found.data()).ok());
    for (std::int64_t y = 0; y < whole_height; ++y) {
        for (std::int64_t x = 0; x < whole_width; ++x) {
            const bool inside = y >= top && y < top + height && x >= left;
            const bool one = inside && ones[(x - left) * height + y - top] != 0;
            demand(found[y * whole_width + x] == (one ? 1 : 0));
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 5) return 0;
    const std::int64_t height = data[1], width = data[2];
    const std::uint8_t* rest = data + 5;
    if (data[0] % 2 == 0) {
        read_text(height, width, {reinterpret_cast<const char*>(rest), size - 5});
    } else {
        Bytes ones(rest, data + size);
        ones.resize(static_cast<std::size_t>(height * width));
        encode(height, width, data[3], data[4], ones);
    }
    return 0;
}
