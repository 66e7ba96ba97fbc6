#include "engine/preprocess.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace graphdet {

namespace {

constexpr int kPlanes = 3;
constexpr float kWeightOne = 2048.0F;  // OpenCV's weights have 11 bits

double scale_of(const Size& shape, const PreprocessRule& rule, const std::optional<Size>& fixed) {
    const auto height = static_cast<double>(shape.height), width = static_cast<double>(shape.width);
    const auto ratio = [&](const Size& limits) {
        return std::min(static_cast<double>(limits.height) / height, static_cast<double>(limits.width) / width);
    };
    if (rule.fit == PreprocessRule::Fit::letterbox) return ratio(fixed ? *fixed : rule.size);
    const auto [low, high] = std::minmax(rule.size.height, rule.size.width);
    const double scale = std::min(static_cast<double>(high) / std::max(height, width),
                                  static_cast<double>(low) / std::min(height, width));
    return fixed ? std::min(scale, ratio(*fixed)) : scale;
}

// Where an output coordinate reads: first pixel, and the weights of it and the next.
struct Tap {
    std::int32_t first;
    std::int32_t weight[2];
};

// The arithmetic of cv2.resize: positions in double, fractions in float, weights rounded to 11 bits.
Tap tap_of(std::int64_t i, std::int64_t from, std::int64_t to) {
    const double scale = 1.0 / (static_cast<double>(to) / static_cast<double>(from));
    const auto position = static_cast<float>((static_cast<double>(i) + 0.5) * scale - 0.5);
    const float first = std::floor(position), fraction = position - first;
    return {static_cast<std::int32_t>(first),
            {static_cast<std::int32_t>(std::lrint((1.0F - fraction) * kWeightOne)),
             static_cast<std::int32_t>(std::lrint(fraction * kWeightOne))}};
}

// Columns outside the image take the border pixel with full weight.
Tap column_tap(std::int64_t i, std::int64_t from, std::int64_t to) {
    const Tap tap = tap_of(i, from, to);
    if (tap.first < 0) return {0, {static_cast<std::int32_t>(kWeightOne), 0}};
    if (tap.first >= from - 1) return {static_cast<std::int32_t>(from - 1), {static_cast<std::int32_t>(kWeightOne), 0}};
    return tap;
}

// What one plane needs: which channel it reads, and how values become floats.
struct Plane {
    int channel;
    float mean, std;
};

std::array<Plane, kPlanes> planes_of(const ImageView& image, const PreprocessRule& rule) {
    const bool reversed = rule.rgb != (image.order == Order::rgb);
    std::array<Plane, kPlanes> planes = {};
    for (int c = 0; c < kPlanes; ++c) {
        const auto i = static_cast<std::size_t>(c);
        const int channel = image.channels == 1 ? 0 : (reversed ? kPlanes - 1 - c : c);
        planes[i] = {channel, static_cast<float>(rule.mean[i]), static_cast<float>(rule.std[i])};
    }
    return planes;
}

float normalised(std::int32_t value, const Plane& plane) { return (static_cast<float>(value) - plane.mean) / plane.std; }

struct Source {
    const std::uint8_t* data;
    std::int64_t row_bytes;
    std::int64_t channels;
    Size shape;

    [[nodiscard]] const std::uint8_t* row(std::int64_t y) const { return data + y * row_bytes; }
};

void copy_plane(const Source& source, const Plane& plane, std::int64_t canvas_width, float* out) {
    for (std::int64_t y = 0; y < source.shape.height; ++y) {
        const std::uint8_t* in = source.row(y) + plane.channel;
        float* o = out + y * canvas_width;
        for (std::int64_t x = 0; x < source.shape.width; ++x) o[x] = normalised(in[x * source.channels], plane);
    }
}

// Half size in both directions: OpenCV takes the mean of four pixels.
void halve_plane(const Source& source, const Plane& plane, const Size& target, std::int64_t canvas_width, float* out) {
    const std::int64_t step = source.channels;
    for (std::int64_t y = 0; y < target.height; ++y) {
        const std::uint8_t* a = source.row(2 * y) + plane.channel;
        const std::uint8_t* b = source.row(2 * y + 1) + plane.channel;
        float* o = out + y * canvas_width;
        for (std::int64_t x = 0; x < target.width; ++x) {
            const std::int64_t i = 2 * x * step;
            o[x] = normalised((a[i] + a[i + step] + b[i] + b[i + step] + 2) >> 2, plane);
        }
    }
}

// Horizontally scaled rows, of which the two latest are kept: neighbours in the output mostly share them.
class ScaledRows {
  public:
    ScaledRows(const Source& source, const std::array<Plane, kPlanes>& planes, const Tap* columns, std::int64_t width,
               std::int32_t* room)
        : source_(source), planes_(planes), columns_(columns), width_(width), room_{room, room + kPlanes * width} {}

    // i32[3 width] of source row `y`. The row returned before stays valid.
    const std::int32_t* row(std::int64_t y) {
        for (const int i : {0, 1}) {
            if (y_[i] == y) {
                oldest_ = 1 - i;
                return room_[i];
            }
        }
        const int i = oldest_;
        y_[i] = y;
        oldest_ = 1 - i;
        scale(source_.row(y), room_[i]);
        return room_[i];
    }

  private:
    void scale(const std::uint8_t* in, std::int32_t* out) const {
        const std::int64_t step = source_.channels;
        const std::int64_t last = (source_.shape.width - 1) * step;
        for (std::int64_t x = 0; x < width_; ++x) {
            const Tap& tap = columns_[x];
            const std::int64_t a = tap.first * step, b = std::min(a + step, last);
            for (std::size_t c = 0; c < kPlanes; ++c) {
                const int channel = planes_[c].channel;
                out[static_cast<std::int64_t>(c) * width_ + x] =
                    in[a + channel] * tap.weight[0] + in[b + channel] * tap.weight[1];
            }
        }
    }

    Source source_;
    std::array<Plane, kPlanes> planes_;
    const Tap* columns_;
    std::int64_t width_;
    std::int32_t* room_[2];
    std::int64_t y_[2] = {-1, -1};
    int oldest_ = 0;
};

void mix_rows(const std::int32_t* a, const std::int32_t* b, const Tap& tap, const Plane& plane, std::int64_t width,
              float* out) {
    const std::int32_t wa = tap.weight[0], wb = tap.weight[1];
    for (std::int64_t x = 0; x < width; ++x) {
        const std::int32_t sum = ((wa * (a[x] >> 4)) >> 16) + ((wb * (b[x] >> 4)) >> 16);
        out[x] = normalised(std::min((sum + 2) >> 2, 255), plane);
    }
}

void scale_image(const Source& source, const std::array<Plane, kPlanes>& planes, const Size& target, const Size& canvas,
                 PlaceScratch& scratch, float* out) {
    Tap* columns = scratch.columns.reserve_for<Tap>(target.width);
    for (std::int64_t x = 0; x < target.width; ++x) columns[x] = column_tap(x, source.shape.width, target.width);
    ScaledRows rows(source, planes, columns, target.width,
                    scratch.rows.reserve_for<std::int32_t>(2 * kPlanes * target.width));
    const std::int64_t last = source.shape.height - 1, area = canvas.height * canvas.width;
    for (std::int64_t y = 0; y < target.height; ++y) {
        const Tap tap = tap_of(y, source.shape.height, target.height);
        const std::int32_t* a = rows.row(std::clamp<std::int64_t>(tap.first, 0, last));
        const std::int32_t* b = rows.row(std::clamp<std::int64_t>(tap.first + 1, 0, last));
        for (std::size_t c = 0; c < kPlanes; ++c) {
            const auto plane = static_cast<std::int64_t>(c);
            mix_rows(a + plane * target.width, b + plane * target.width, tap, planes[c], target.width,
                     out + plane * area + y * canvas.width);
        }
    }
}

void pad(const Size& target, const Size& canvas, float value, float* out) {
    for (int c = 0; c < kPlanes; ++c, out += canvas.height * canvas.width) {
        for (std::int64_t y = 0; y < target.height; ++y) {
            std::fill(out + y * canvas.width + target.width, out + (y + 1) * canvas.width, value);
        }
        std::fill(out + target.height * canvas.width, out + canvas.height * canvas.width, value);
    }
}

}  // namespace

Status check_image(const ImageView& image, std::size_t number) {
    const auto fail = [&](const auto&... parts) {
        return Status(Code::bad_image, require(false, "image ", number, parts...).text());
    };
    constexpr std::int64_t kSide = std::int64_t{1} << 24;
    if (image.data == nullptr) return fail(" has no pixels");
    if (image.height < 1 || image.width < 1 || image.height > kSide || image.width > kSide) {
        return fail(" is of ", image.height, " x ", image.width, " pixels");
    }
    if (image.channels != 1 && image.channels != 3 && image.channels != 4) {
        return fail(" has ", image.channels, " channels, expected 1, 3 or 4");
    }
    if (image.row_bytes != 0 && image.row_bytes < image.width * image.channels) {
        return fail(" has rows of ", image.row_bytes, " bytes, expected at least ", image.width * image.channels);
    }
    return Status();
}

Size fitted(const Size& shape, const PreprocessRule& rule, const std::optional<Size>& fixed) {
    const double scale = scale_of(shape, rule, fixed);
    const double rounding = rule.fit == PreprocessRule::Fit::letterbox ? 0.0 : 0.5;
    const auto side = [&](std::int64_t length) {
        return std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(length) * scale + rounding));
    };
    return {side(shape.height), side(shape.width)};
}

std::array<float, 2> scales(const Size& shape, const Size& target, const PreprocessRule& rule,
                            const std::optional<Size>& fixed) {
    if (rule.fit == PreprocessRule::Fit::letterbox) {
        const auto scale = static_cast<float>(scale_of(shape, rule, fixed));
        return {scale, scale};
    }
    return {static_cast<float>(static_cast<double>(target.width) / static_cast<double>(shape.width)),
            static_cast<float>(static_cast<double>(target.height) / static_cast<double>(shape.height))};
}

std::int64_t rounded_up(std::int64_t side, const PreprocessRule& rule) {
    return (side + rule.divisor - 1) / rule.divisor * rule.divisor;
}

void place(const ImageView& image, const PreprocessRule& rule, const Size& target, const Size& canvas,
           PlaceScratch& scratch, float* out) {
    const std::int64_t row_bytes = image.row_bytes != 0 ? image.row_bytes : image.width * image.channels;
    const Source source = {image.data, row_bytes, image.channels, {image.height, image.width}};
    const std::array<Plane, kPlanes> planes = planes_of(image, rule);
    const bool same = source.shape == target;
    const bool half = source.shape == Size{2 * target.height, 2 * target.width};
    if (same || half) {
        for (std::size_t c = 0; c < kPlanes; ++c) {
            float* plane = out + static_cast<std::int64_t>(c) * canvas.height * canvas.width;
            if (same) copy_plane(source, planes[c], canvas.width, plane);
            if (half) halve_plane(source, planes[c], target, canvas.width, plane);
        }
    } else {
        scale_image(source, planes, target, canvas, scratch, out);
    }
    pad(target, canvas, static_cast<float>(rule.pad), out);
}

}  // namespace graphdet
