// Image files for the examples: PPM and PGM by themselves, all that OpenCV reads where it was found.
#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include <graphdet/graphdet.hpp>

#if defined(WITH_OPENCV)
#include <opencv2/imgcodecs.hpp>
#endif

namespace examples {

struct Image {
    std::vector<std::uint8_t> pixels;  // [height, width, channels]
    std::int64_t height = 0;
    std::int64_t width = 0;
    int channels = 3;
    graphdet::Order order = graphdet::Order::rgb;

    [[nodiscard]] graphdet::ImageView view() const { return {pixels.data(), height, width, channels, 0, order}; }
};

// The next number of a PNM header, past space and comments; -1 when there is none.
inline std::int64_t pnm_number(const std::string& bytes, std::size_t& at) {
    while (at < bytes.size() && (bytes[at] == '#' || bytes[at] <= ' ')) {
        if (bytes[at] == '#') at = std::min(bytes.find('\n', at), bytes.size() - 1);
        ++at;
    }
    std::int64_t value = -1;
    for (; at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '9' && value < 100000; ++at) {
        value = (value < 0 ? 0 : value) * 10 + (bytes[at] - '0');
    }
    return value;
}

// Binary PPM (P6) or PGM (P5) of 8 bits.
inline std::optional<Image> decode_pnm(const std::string& bytes) {
    if (bytes.size() < 3 || bytes[0] != 'P' || (bytes[1] != '5' && bytes[1] != '6')) return std::nullopt;
    Image image;
    std::size_t at = 2;
    image.channels = bytes[1] == '6' ? 3 : 1;
    image.width = pnm_number(bytes, at);
    image.height = pnm_number(bytes, at);
    if (pnm_number(bytes, at) != 255 || image.width < 1 || image.height < 1) return std::nullopt;
    const auto size = static_cast<std::size_t>(image.width * image.height * image.channels);
    if (++at > bytes.size() || bytes.size() - at < size) return std::nullopt;
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    image.pixels.assign(begin, begin + static_cast<std::ptrdiff_t>(size));
    return image;
}

inline std::optional<Image> read_image(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return std::nullopt;
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    if (auto image = decode_pnm(bytes)) return image;
#if defined(WITH_OPENCV)
    const std::vector<std::uint8_t> data(bytes.begin(), bytes.end());
    const cv::Mat decoded = cv::imdecode(data, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
    if (!decoded.empty()) {
        Image image;
        image.height = decoded.rows, image.width = decoded.cols, image.order = graphdet::Order::bgr;
        image.pixels.assign(decoded.datastart, decoded.dataend);
        return image;
    }
#endif
    return std::nullopt;
}

}  // namespace examples
