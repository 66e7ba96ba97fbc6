// Image files for the examples: PPM and PGM by themselves, JPEG and PNG where libjpeg and libpng were found. The pixels
// are those that OpenCV decodes, so that results equal Python's. A tag that says "turn the photo" is passed over.
#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include <graphdet/graphdet.hpp>

#if defined(WITH_JPEG)
#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>
#endif
#if defined(WITH_PNG)
#include <png.h>
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

#if defined(WITH_JPEG)
// libjpeg reports a fatal mistake by a call that must not return; what it says otherwise is not of interest here.
struct JpegErrors {
    jpeg_error_mgr manager = {};
    std::jmp_buf back;
};

inline void jpeg_failed(j_common_ptr info) { std::longjmp(reinterpret_cast<JpegErrors*>(info->err)->back, 1); }
inline void jpeg_silent(j_common_ptr) {}

// `image` gets its room before the rows are read: nothing with a destructor is made between setjmp and longjmp.
inline bool read_jpeg(const std::string& bytes, Image& image) {
    jpeg_decompress_struct info = {};
    JpegErrors errors;
    info.err = jpeg_std_error(&errors.manager);
    errors.manager.error_exit = jpeg_failed;
    errors.manager.output_message = jpeg_silent;
    jpeg_create_decompress(&info);
    if (setjmp(errors.back) != 0) {
        jpeg_destroy_decompress(&info);
        return false;
    }
    jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<unsigned long>(bytes.size()));
    (void)jpeg_read_header(&info, TRUE);
    info.out_color_space = JCS_RGB;
    (void)jpeg_start_decompress(&info);
    image.height = info.output_height, image.width = info.output_width;
    image.pixels.resize(static_cast<std::size_t>(3 * image.height * image.width));
    while (info.output_scanline < info.output_height) {
        unsigned char* row = image.pixels.data() + std::size_t{3} * info.output_scanline * info.output_width;
        (void)jpeg_read_scanlines(&info, &row, 1);
    }
    (void)jpeg_finish_decompress(&info);
    jpeg_destroy_decompress(&info);
    return true;
}
#endif

#if defined(WITH_PNG)
inline bool read_png(const std::string& bytes, Image& image) {
    png_image info = {};
    info.version = PNG_IMAGE_VERSION;
    if (png_image_begin_read_from_memory(&info, bytes.data(), bytes.size()) == 0) return false;
    // Transparent parts keep their colour, as alpha is not used.
    info.format = PNG_FORMAT_RGBA;
    image.height = info.height, image.width = info.width, image.channels = 4;
    image.pixels.resize(PNG_IMAGE_SIZE(info));
    return png_image_finish_read(&info, nullptr, image.pixels.data(), 0, nullptr) != 0;
}
#endif

inline std::optional<Image> read_image(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return std::nullopt;
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    if (auto image = decode_pnm(bytes)) return image;
    Image image;
#if defined(WITH_JPEG)
    if (bytes.compare(0, 2, "\xff\xd8") == 0 && read_jpeg(bytes, image)) return image;
#endif
#if defined(WITH_PNG)
    if (bytes.compare(0, 4, "\x89PNG") == 0 && read_png(bytes, image)) return image;
#endif
    return std::nullopt;
}

}  // namespace examples
