#include "engine/preprocess.h"

#include <algorithm>
#include <array>

namespace graphdet {

namespace {

Size within(const Size& size, const std::optional<Bounds>& bounds) { return bounds ? bounds->nearest(size) : size; }

double scale_of(const Size& shape, const PreprocessRule& rule, const std::optional<Bounds>& bounds) {
    const auto height = static_cast<double>(shape.height), width = static_cast<double>(shape.width);
    const auto ratio = [&](const Size& limits) {
        return std::min(static_cast<double>(limits.height) / height, static_cast<double>(limits.width) / width);
    };
    if (rule.fit == PreprocessRule::Fit::letterbox) return ratio(within(rule.size, bounds));
    const auto [low, high] = std::minmax(rule.size.height, rule.size.width);
    const double scale = std::min(static_cast<double>(high) / std::max(height, width),
                                  static_cast<double>(low) / std::min(height, width));
    return bounds ? std::min(scale, ratio(bounds->most)) : scale;
}

// Scale factors (x, y) by which boxes return to the image: equal under letterbox, as in the code that trained the weights.
std::array<float, 2> scales(const Size& shape, const Size& target, const PreprocessRule& rule,
                            const std::optional<Bounds>& bounds) {
    if (rule.fit == PreprocessRule::Fit::letterbox) {
        const auto scale = static_cast<float>(scale_of(shape, rule, bounds));
        return {scale, scale};
    }
    return {static_cast<float>(static_cast<double>(target.width) / static_cast<double>(shape.width)),
            static_cast<float>(static_cast<double>(target.height) / static_cast<double>(shape.height))};
}

std::int64_t rounded_up(std::int64_t side, const PreprocessRule& rule) {
    return (side + rule.divisor - 1) / rule.divisor * rule.divisor;
}

Size shape_of(const Picture& image) { return {image.pixels.height, image.pixels.width}; }

Status place_one(const Picture& image, const PreprocessRule& rule, const Size& target, const Size& canvas,
                 Buffer& scratch, DType dtype, void* out) {
    Preprocess args;
    args.image = image.pixels;
    args.height = target.height, args.width = target.width;
    args.canvas_height = canvas.height, args.canvas_width = canvas.width;
    for (std::size_t i = 0; i < rule.mean.size(); ++i) {
        args.mean[i] = static_cast<float>(rule.mean[i]);
        args.std[i] = static_cast<float>(rule.std[i]);
    }
    args.reverse = rule.rgb != image.rgb;
    args.pad = static_cast<float>(rule.pad);
    args.dtype = dtype;
    Plan needed;
    GD_CHECK(plan(args, needed));
    const TensorView output = {out, needed.outputs[0].dtype, needed.outputs[0].dims};
    return launch(args, &output, scratch.workspace(needed.workspace));
}

}  // namespace

Status picture_of(const ImageView& image, std::size_t number, Picture& picture) {
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
    const std::int64_t row_bytes = image.row_bytes != 0 ? image.row_bytes : image.width * image.channels;
    picture.pixels = {image.data, image.height, image.width, image.channels, row_bytes, image.channels, 1};
    picture.rgb = image.order == Order::rgb;
    picture.number = number;
    picture.proposals = image.proposals;
    return Status();
}

Size fitted(const Size& shape, const PreprocessRule& rule, const std::optional<Bounds>& bounds) {
    if (rule.fit == PreprocessRule::Fit::stretch) return within(rule.size, bounds);
    const double scale = scale_of(shape, rule, bounds);
    const double rounding = rule.fit == PreprocessRule::Fit::letterbox ? 0.0 : 0.5;
    const auto side = [&](std::int64_t length) {
        return std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(length) * scale + rounding));
    };
    return {side(shape.height), side(shape.width)};
}

void lay_out(const Picture* images, std::size_t count, std::size_t filled, const PreprocessRule& rule,
             const std::optional<Bounds>& bounds, Layout& layout) {
    layout.targets.clear(), layout.size.clear(), layout.geometry.clear();
    Size most = {1, 1};
    for (std::size_t i = 0; i < filled; ++i) {
        const Size shape = shape_of(images[std::min(i, count - 1)]), target = fitted(shape, rule, bounds);
        const std::array<float, 2> scale = scales(shape, target, rule, bounds);
        layout.targets.push_back(target);
        layout.size.insert(layout.size.end(), {static_cast<float>(target.height), static_cast<float>(target.width)});
        layout.geometry.insert(layout.geometry.end(), {scale[0], scale[1], 0.0F, 0.0F});
        most = {std::max(most.height, target.height), std::max(most.width, target.width)};
    }
    layout.canvas = within({rounded_up(most.height, rule), rounded_up(most.width, rule)}, bounds);
}

Status place(const Picture* images, std::size_t count, std::size_t filled, const PreprocessRule& rule,
             const Layout& layout, Buffer& scratch, DType dtype, void* out) {
    const std::size_t per_image =
        static_cast<std::size_t>(3 * layout.canvas.height * layout.canvas.width) * bytes_of(dtype);
    auto* to = static_cast<char*>(out);
    for (std::size_t i = 0; i < filled; ++i, to += per_image) {
        if (i < count) {
            GD_CHECK(place_one(images[i], rule, layout.targets[i], layout.canvas, scratch, dtype, to));
        } else {
            std::copy_n(to - per_image, per_image, to);
        }
    }
    return Status();
}

}  // namespace graphdet
