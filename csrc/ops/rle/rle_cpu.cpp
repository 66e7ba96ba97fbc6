#include <algorithm>

#include "core/dispatch.h"
#include "ops/rle/rle.h"

namespace graphdet {

namespace {

constexpr std::int64_t kBlock = 64;

// Is any of kBlock bytes unlike `value` (0 or not 0)?
GD_INLINE bool uniform(const std::uint8_t* x, bool value) {
    std::uint8_t other = 0;
    for (std::int64_t i = 0; i < kBlock; ++i) other |= static_cast<std::uint8_t>((x[i] != 0) != value);
    return other == 0;
}

// The first place in [from, count) whose pixel is not `value`, or count.
GD_CLONES std::int64_t run_end(const std::uint8_t* x, std::int64_t from, std::int64_t count, bool value) {
    std::int64_t i = from;
    for (; i < count && i < from + 16; ++i)
        if ((x[i] != 0) != value) return i;
    while (i + kBlock <= count && uniform(x + i, value)) i += kBlock;
    while (i < count && (x[i] != 0) == value) ++i;
    return i;
}

// A pixel that differs from the one above it.
struct Toggle {
    std::uint32_t x, y;
};

GD_INLINE bool same(const std::uint8_t* a, const std::uint8_t* b) {
    std::uint8_t other = 0;
    for (std::int64_t i = 0; i < kBlock; ++i) other |= static_cast<std::uint8_t>((a[i] != 0) != (b[i] != 0));
    return other == 0;
}

// Places in [from, count) where two rows differ, after a step over blocks where they do not.
GD_CLONES std::int64_t next_difference(const std::uint8_t* a, const std::uint8_t* b, std::int64_t from,
                                       std::int64_t count) {
    std::int64_t i = from;
    while (i + kBlock <= count && same(a + i, b + i)) i += kBlock;
    while (i < count && (a[i] != 0) == (b[i] != 0)) ++i;
    return i;
}

// Row-major bitmaps: toggles are found row against row, then dealt out to their columns.
struct Columns {
    std::vector<Toggle> found;
    std::vector<std::uint32_t> begin, y;  // of each column its first toggle; toggles by column, from top to bottom

    explicit Columns(const Bitmap& bitmap) {
        const std::vector<std::uint8_t> blank(static_cast<std::size_t>(bitmap.width), 0);
        const std::uint8_t* above = blank.data();
        for (std::int64_t r = 0; r < bitmap.height; ++r) {
            const std::uint8_t* row = bitmap.data + r * bitmap.row;
            for (std::int64_t c = next_difference(row, above, 0, bitmap.width); c < bitmap.width;
                 c = next_difference(row, above, c + 1, bitmap.width)) {
                found.push_back({static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(r)});
            }
            above = row;
        }
        begin.assign(static_cast<std::size_t>(bitmap.width) + 1, 0);
        for (const Toggle& t : found) ++begin[t.x + 1];
        for (std::size_t c = 1; c < begin.size(); ++c) begin[c] += begin[c - 1];
        y.resize(found.size());
        std::vector<std::uint32_t> next(begin.begin(), begin.end() - 1);
        for (const Toggle& t : found) y[next[t.x]++] = t.y;
    }
};

void encode_rows(const Bitmap& bitmap, std::int64_t top, std::int64_t left, std::int64_t height, RunBuilder& out) {
    const Columns columns(bitmap);
    for (std::int64_t c = 0; c < bitmap.width; ++c) {
        const std::int64_t base = (left + c) * height + top;
        const std::size_t last = columns.begin[static_cast<std::size_t>(c) + 1];
        for (std::size_t i = columns.begin[static_cast<std::size_t>(c)]; i < last; i += 2) {
            const std::int64_t end = i + 1 < last ? columns.y[i + 1] : bitmap.height;
            out.ones(base + columns.y[i], base + end);
        }
    }
}

void encode_columns(const Bitmap& bitmap, std::int64_t top, std::int64_t left, std::int64_t height, RunBuilder& out) {
    for (std::int64_t c = 0; c < bitmap.width; ++c) {
        const std::uint8_t* column = bitmap.data + c * bitmap.column;
        const std::int64_t base = (left + c) * height + top;
        for (std::int64_t at = run_end(column, 0, bitmap.height, false); at < bitmap.height;) {
            const std::int64_t end = run_end(column, at, bitmap.height, true);
            out.ones(base + at, base + end);
            at = run_end(column, end, bitmap.height, false);
        }
    }
}

// One long column is as good as many: neighbouring columns that touch in memory are read as one.
Bitmap joined(const Bitmap& bitmap) { return {bitmap.data, bitmap.height * bitmap.width, 1, 1, bitmap.height}; }

}  // namespace

Runs rle_encode(const Bitmap& bitmap, std::int64_t top, std::int64_t left, std::int64_t height, std::int64_t width) {
    RunBuilder out;
    if (bitmap.height > 0 && bitmap.width > 0) {
        const bool whole = bitmap.height == height && bitmap.column == bitmap.height;
        if (bitmap.row == 1 && whole) {
            encode_columns(joined(bitmap), left * height, 0, 0, out);
        } else if (bitmap.row == 1) {
            encode_columns(bitmap, top, left, height, out);
        } else {
            encode_rows(bitmap, top, left, height, out);
        }
    }
    return out.finish(height * width);
}

Status rle_check(const Runs& runs, std::int64_t pixels) {
    std::int64_t sum = 0;
    for (const std::uint32_t run : runs) sum += run;
    return require(sum == pixels, "the runs cover ", sum, " pixels, the mask has ", pixels);
}

Status rle_decode(const Runs& runs, std::int64_t height, std::int64_t width, std::uint8_t* out) {
    GD_CHECK(rle_check(runs, height * width));
    std::fill_n(out, height * width, std::uint8_t{0});
    std::int64_t y = 0, x = 0;
    for (std::size_t i = 0; i < runs.size(); ++i) {
        std::int64_t left = runs[i];
        if (i % 2 == 0) {
            if (height > 0) x += (y + left) / height, y = (y + left) % height;
            continue;
        }
        while (left > 0) {
            const std::int64_t part = std::min(left, height - y);
            for (std::int64_t k = 0; k < part; ++k) out[(y + k) * width + x] = 1;
            left -= part, y += part;
            if (y == height) y = 0, ++x;
        }
    }
    return Status();
}

std::int64_t rle_area(const Runs& runs) {
    std::int64_t area = 0;
    for (std::size_t i = 1; i < runs.size(); i += 2) area += runs[i];
    return area;
}

double rle_iou(const Runs& a, const Runs& b, bool crowd) {
    std::int64_t shared = 0;
    std::size_t i = 0, j = 0;
    std::int64_t left_a = a.empty() ? 0 : a[0], left_b = b.empty() ? 0 : b[0];
    while (i < a.size() && j < b.size()) {
        const std::int64_t step = std::min(left_a, left_b);
        if (i % 2 == 1 && j % 2 == 1) shared += step;
        left_a -= step, left_b -= step;
        if (left_a == 0 && ++i < a.size()) left_a = a[i];
        if (left_b == 0 && ++j < b.size()) left_b = b[j];
    }
    const std::int64_t area = rle_area(a), all = crowd ? area : area + rle_area(b) - shared;
    return all == 0 ? 0.0 : static_cast<double>(shared) / static_cast<double>(all);
}

std::string rle_to_text(const Runs& runs) {
    std::string text;
    text.reserve(runs.size() * 2);
    for (std::size_t i = 0; i < runs.size(); ++i) {
        std::int64_t x = runs[i];
        if (i > 2) x -= runs[i - 2];
        for (bool more = true; more;) {
            auto digit = static_cast<std::int64_t>(x & 0x1F);
            x >>= 5;
            more = (digit & 0x10) != 0 ? x != -1 : x != 0;
            text.push_back(static_cast<char>((more ? digit | 0x20 : digit) + 48));
        }
    }
    return text;
}

Status rle_from_text(std::string_view text, Runs& runs) {
    runs.clear();
    for (std::size_t at = 0; at < text.size();) {
        std::int64_t x = 0;
        int shift = 0;
        for (bool more = true; more; shift += 5) {
            GD_CHECK(require(at < text.size(), "the text ends inside a number"));
            const int digit = static_cast<unsigned char>(text[at]) - 48;
            GD_CHECK(require(digit >= 0 && digit < 64, "character ", at, " is none of run-length text"));
            GD_CHECK(require(shift <= 35, "the number at character ", at, " is too long"));
            x |= static_cast<std::int64_t>(digit & 0x1F) << shift;
            more = (digit & 0x20) != 0;
            ++at;
            if (!more && (digit & 0x10) != 0) x |= -(std::int64_t{1} << (shift + 5));
        }
        if (runs.size() > 2) x += runs[runs.size() - 2];
        GD_CHECK(require(x >= 0 && x <= 0xFFFFFFFFLL, "run ", runs.size(), " has length ", x));
        runs.push_back(static_cast<std::uint32_t>(x));
    }
    return Status();
}

}  // namespace graphdet
