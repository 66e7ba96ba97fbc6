// detect ENGINE.gdet IMAGE... [--score S] [--iou S] [--threads N] [--lean] [--draw FOLDER]
//
// Prints the detections of all images as JSON, numbers with as many digits as it takes to read them back unchanged.
// With --draw, writes each image with its boxes as FOLDER/<number>.ppm.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "images.hpp"

namespace {

struct Options {
    std::vector<std::string> files;
    std::string draw;
    graphdet::LoadOptions load;
    graphdet::Thresholds thresholds;
};

std::optional<Options> parse(int count, char** words) {
    Options options;
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        if (word.rfind("--", 0) != 0) {
            options.files.push_back(word);
            continue;
        }
        if (word == "--lean") {
            options.load.lean = true;
            continue;
        }
        if (++i == count) return std::nullopt;
        if (word == "--score") {
            options.thresholds.score = std::strtof(words[i], nullptr);
        } else if (word == "--iou") {
            options.thresholds.iou = std::strtof(words[i], nullptr);
        } else if (word == "--threads") {
            options.load.threads = std::atoi(words[i]);
        } else if (word == "--draw") {
            options.draw = words[i];
        } else {
            return std::nullopt;
        }
    }
    return options.files.size() < 2 ? std::nullopt : std::optional<Options>(options);
}

// Text as a JSON string.
std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (static_cast<unsigned char>(c) < 0x20) {
            char escape[8];
            std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
            out += escape;
        } else {
            if (c == '"' || c == '\\') out += '\\';
            out += c;
        }
    }
    return out + '"';
}

void print(const graphdet::Engine& engine, const std::string& file, const graphdet::Detections& image) {
    std::printf("{\"image\": %s, \"size\": [%lld, %lld], \"objects\": [", quoted(file).c_str(),
                static_cast<long long>(image.height), static_cast<long long>(image.width));
    const char* gap = "";
    for (std::size_t i = 0; i < image.objects.size(); ++i) {
        const graphdet::Detection& one = image.objects[i];
        std::printf("%s\n    {\"class\": %s, \"label\": %lld, \"score\": %.9g, \"box\": [%.9g, %.9g, %.9g, %.9g]", gap,
                    quoted(engine.name(one.label)).c_str(), static_cast<long long>(one.label),
                    static_cast<double>(one.score), static_cast<double>(one.box[0]), static_cast<double>(one.box[1]),
                    static_cast<double>(one.box[2]), static_cast<double>(one.box[3]));
        if (const auto runs = image.runs(i); image.grids.rows > 0 && runs) {  // COCO's form
            std::printf(", \"mask\": {\"size\": [%lld, %lld], \"counts\": %s}", static_cast<long long>(image.height),
                        static_cast<long long>(image.width), quoted(*runs).c_str());
        }
        std::printf("}");
        gap = ",";
    }
    std::printf("]}");
}

// The image as RGB with a frame around each object, and its mask tinted.
examples::Image drawn(const examples::Image& image, const graphdet::Detections& found) {
    examples::Image out;
    out.height = image.height, out.width = image.width;
    for (std::int64_t i = 0; i < image.height * image.width; ++i) {
        for (int c = 0; c < 3; ++c) {
            const int channel = image.channels == 1 ? 0 : (image.order == graphdet::Order::rgb ? c : 2 - c);
            out.pixels.push_back(image.pixels[static_cast<std::size_t>(i * image.channels + channel)]);
        }
    }
    const auto paint = [&](std::int64_t x, std::int64_t y, std::int64_t label) {
        std::uint8_t* pixel = out.pixels.data() + 3 * (y * out.width + x);
        for (int c = 0; c < 3; ++c) pixel[c] = static_cast<std::uint8_t>(((label * 7 + 3) * (c * 61 + 37)) % 200 + 55);
    };
    for (std::size_t i = 0; i < found.grids.spans.size(); ++i) {
        const auto mask = found.bitmap(i);
        for (std::int64_t p = 0; mask && p < image.height * image.width; ++p) {
            const std::uint8_t* before = out.pixels.data() + 3 * p;
            const std::array<std::uint8_t, 3> kept = {before[0], before[1], before[2]};
            if ((*mask)[static_cast<std::size_t>(p)] == 0) continue;
            paint(p % out.width, p / out.width, found.objects[i].label);
            for (int c = 0; c < 3; ++c) {
                std::uint8_t& pixel = out.pixels[static_cast<std::size_t>(3 * p + c)];
                pixel = static_cast<std::uint8_t>((pixel + kept[static_cast<std::size_t>(c)]) / 2);
            }
        }
    }
    for (const graphdet::Detection& one : found.objects) {
        const auto inside = [](float value, std::int64_t size) {
            return std::clamp<std::int64_t>(static_cast<std::int64_t>(value), 0, size - 1);
        };
        const std::int64_t x1 = inside(one.box[0], out.width), x2 = inside(one.box[2], out.width);
        const std::int64_t y1 = inside(one.box[1], out.height), y2 = inside(one.box[3], out.height);
        for (std::int64_t x = x1; x <= x2; ++x) paint(x, y1, one.label), paint(x, y2, one.label);
        for (std::int64_t y = y1; y <= y2; ++y) paint(x1, y, one.label), paint(x2, y, one.label);
    }
    return out;
}

bool write_ppm(const std::string& path, const examples::Image& image) {
    std::ofstream file(path, std::ios::binary);
    file << "P6\n" << image.width << ' ' << image.height << "\n255\n";
    file.write(reinterpret_cast<const char*>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()));
    return static_cast<bool>(file);
}

int fail(const std::string& text) {
    std::fprintf(stderr, "detect: %s\n", text.c_str());
    return 1;
}

}  // namespace

int main(int count, char** words) {
    const auto options = parse(count, words);
    if (!options)
        return fail("usage: detect ENGINE.gdet IMAGE... [--score S] [--iou S] [--threads N] [--lean] [--draw FOLDER]");
    const auto engine = graphdet::Engine::load(options->files[0], options->load);
    if (!engine) return fail(engine.status().message());

    std::vector<examples::Image> images;
    std::vector<graphdet::ImageView> views;
    for (std::size_t i = 1; i < options->files.size(); ++i) {
        auto image = examples::read_image(options->files[i]);
        if (!image) return fail("cannot read " + options->files[i]);
        images.push_back(*std::move(image));
    }
    for (const examples::Image& image : images) views.push_back(image.view());
    const auto found = engine->detect(views.data(), views.size(), options->thresholds);
    if (!found) return fail(found.status().message());

    std::printf("[");
    for (std::size_t i = 0; i < images.size(); ++i) {
        std::printf(i > 0 ? ",\n  " : "\n  ");
        print(*engine, options->files[i + 1], (*found)[i]);
        if (options->draw.empty()) continue;
        const std::string path = options->draw + "/" + std::to_string(i) + ".ppm";
        if (!write_ppm(path, drawn(images[i], (*found)[i]))) return fail("cannot write " + path);
    }
    std::printf("\n]\n");
    return 0;
}
