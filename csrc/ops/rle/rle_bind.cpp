#include "ops/rle/rle.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/bytes.h"
#include "core/parallel.h"

namespace graphdet::bindings {

namespace {

constexpr std::int64_t kMaxPixels = (std::int64_t{1} << 32) - 1;

void check_size(const char* op, std::int64_t height, std::int64_t width) {
    const bool fits = height >= 0 && width >= 0 && (height == 0 || width <= kMaxPixels / height);
    raise_if_failed(require(fits, op, ": the size is ", height, " x ", width, ", expected 0 to 2^32 - 1 pixels"));
}

std::vector<Runs> read(const char* op, const std::vector<std::string>& texts, std::int64_t height, std::int64_t width) {
    check_size(op, height, width);
    std::vector<Runs> all(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
        Status status = rle_from_text(texts[i], all[i]);
        if (status.ok()) status = rle_check(all[i], height * width);
        raise_if_failed(require(status.ok(), op, ": mask ", i, ": ", status.text()));
    }
    return all;
}

py::typing::List<py::bytes> bytes_of_texts(const std::vector<std::string>& texts) {
    py::typing::List<py::bytes> out;
    for (const std::string& text : texts) out.append(py::bytes(text));
    return out;
}

#if defined(GRAPHDET_CUDA_MODULE)

// Codes in device memory, as the GPU has them.
struct Codes {
    std::shared_ptr<void> memory;
    TensorView ends;
};

Codes codes_of(const std::vector<Runs>& all, std::int64_t pixels) {
    std::size_t most = 1;
    for (const Runs& runs : all) most = std::max(most, runs.size());
    std::vector<std::int64_t> ends(all.size() * most, pixels);
    for (std::size_t i = 0; i < all.size(); ++i) {
        std::partial_sum(all[i].begin(), all[i].end(), ends.begin() + static_cast<std::ptrdiff_t>(i * most));
    }
    Codes found;
    raise_if_failed(bring(ends.data(), ends.size() * sizeof(std::int64_t), found.memory));
    const auto masks = static_cast<std::int64_t>(all.size());
    found.ends = {found.memory.get(), DType::i64, {masks, static_cast<std::int64_t>(most)}};
    return found;
}

std::vector<std::string> encode_all(const Bytes& masks) {
    const py::array dense = py::array::ensure(masks.array, py::array::c_style);
    std::shared_ptr<void> memory;
    raise_if_failed(bring(dense.data(), static_cast<std::size_t>(dense.nbytes()), memory));
    const TensorView view = {memory.get(), DType::u8, {masks.size[0], masks.size[1], masks.size[2]}};
    const auto counts = py::array_t<std::int64_t>(py::tuple(run(EncodeRuns{view}))[1]);
    std::int64_t most = 0;
    for (py::ssize_t i = 0; i < counts.size(); ++i) most = std::max(most, counts.at(i));
    const auto ends = py::array_t<std::int64_t>(py::tuple(run(EncodeRuns{view, most}))[0]);
    std::vector<std::string> texts;
    for (py::ssize_t i = 0; i < counts.size(); ++i) {
        Runs runs;
        for (py::ssize_t k = 0; k < counts.at(i); ++k) {
            runs.push_back(static_cast<std::uint32_t>(ends.at(i, k) - (k > 0 ? ends.at(i, k - 1) : 0)));
        }
        texts.push_back(rle_to_text(runs));
    }
    return texts;
}

Bitmaps decode_all(const std::vector<Runs>& all, std::int64_t height, std::int64_t width) {
    const Codes codes = codes_of(all, height * width);
    return run<Bitmaps>(DecodeRuns{codes.ends, height, width});
}

Ints areas(const std::vector<Runs>& all, std::int64_t pixels) {
    const Codes codes = codes_of(all, pixels);
    return run<Ints>(AreaOfRuns{codes.ends});
}

void overlaps(const std::vector<Runs>& left, const std::vector<Runs>& right, std::int64_t pixels,
              const std::vector<bool>& crowd, double* out) {
    const Codes a = codes_of(left, pixels), b = codes_of(right, pixels);
    const py::array_t<std::int64_t> shared = run(SharedByRuns{a.ends, b.ends});
    const py::array_t<std::int64_t> area_a = run(AreaOfRuns{a.ends}), area_b = run(AreaOfRuns{b.ends});
    for (py::ssize_t i = 0; i < area_a.size(); ++i) {
        for (py::ssize_t j = 0; j < area_b.size(); ++j) {
            const bool alone = !crowd.empty() && crowd[static_cast<std::size_t>(j)];
            const std::int64_t all = alone ? area_a.at(i) : area_a.at(i) + area_b.at(j) - shared.at(i, j);
            *out++ = all == 0 ? 0.0 : static_cast<double>(shared.at(i, j)) / static_cast<double>(all);
        }
    }
}

#else

std::vector<std::string> encode_all(const Bytes& masks) {
    Bytes m = masks;
    const bool rows = m.stride[2] == 1 || m.size[2] <= 1, columns = m.stride[1] == 1;
    if (!rows && !columns) {
        m = bytes_operand("rle_encode", "masks", py::array::ensure(m.array, py::array::c_style), 3);
    }
    std::vector<std::string> texts(static_cast<std::size_t>(m.size[0]));
    const py::gil_scoped_release unlocked;
    parallel_for(m.size[0], 1, [&](std::int64_t begin, std::int64_t /*end*/) {
        const Bitmap bitmap = {m.data + begin * m.stride[0], m.size[1], m.size[2], m.stride[1], m.stride[2]};
        texts[static_cast<std::size_t>(begin)] = rle_to_text(rle_encode(bitmap, 0, 0, m.size[1], m.size[2]));
    });
    return texts;
}

Bitmaps decode_all(const std::vector<Runs>& all, std::int64_t height, std::int64_t width) {
    const auto count = static_cast<std::int64_t>(all.size());
    const py::array out = new_array({DType::u8, {count, height, width}});
    auto* data = static_cast<std::uint8_t*>(const_cast<void*>(out.data()));
    {
        const py::gil_scoped_release unlocked;
        parallel_for(count, 1, [&](std::int64_t i, std::int64_t /*end*/) {
            // the sum of the runs has been checked, which is all that can fail
            (void)rle_decode(all[static_cast<std::size_t>(i)], height, width, data + i * height * width).ok();
        });
    }
    return out;
}

Ints areas(const std::vector<Runs>& all, std::int64_t /*pixels*/) {
    py::array_t<std::int64_t> out(static_cast<py::ssize_t>(all.size()));
    for (std::size_t i = 0; i < all.size(); ++i) out.mutable_at(static_cast<py::ssize_t>(i)) = rle_area(all[i]);
    return out;
}

void overlaps(const std::vector<Runs>& left, const std::vector<Runs>& right, std::int64_t /*pixels*/,
              const std::vector<bool>& crowd, double* out) {
    const py::gil_scoped_release unlocked;
    parallel_for(static_cast<std::int64_t>(left.size()), 1, [&](std::int64_t i, std::int64_t /*end*/) {
        for (std::size_t j = 0; j < right.size(); ++j) {
            const bool alone = !crowd.empty() && crowd[j];
            const auto row = static_cast<std::size_t>(i);
            out[row * right.size() + j] = rle_iou(left[row], right[j], alone);
        }
    });
}

#endif

py::typing::List<py::bytes> encode(const Bitmaps& masks) {
    const Bytes m = bytes_operand("rle_encode", "masks", masks, 3);
    check_size("rle_encode", m.size[1], m.size[2]);
    return bytes_of_texts(encode_all(m));
}

Bitmaps decode(const std::vector<std::string>& texts, std::int64_t height, std::int64_t width) {
    return decode_all(read("rle_decode", texts, height, width), height, width);
}

Ints area(const std::vector<std::string>& texts, std::int64_t height, std::int64_t width) {
    return areas(read("rle_area", texts, height, width), height * width);
}

Doubles iou(const std::vector<std::string>& a, const std::vector<std::string>& b, std::int64_t height,
            std::int64_t width, const std::vector<bool>& crowd) {
    const std::vector<Runs> left = read("rle_iou", a, height, width), right = read("rle_iou", b, height, width);
    raise_if_failed(require(crowd.empty() || crowd.size() == right.size(), "rle_iou: found ", crowd.size(),
                            " crowd flags for ", right.size(), " masks"));
    const py::array_t<double> out({static_cast<py::ssize_t>(left.size()), static_cast<py::ssize_t>(right.size())});
    overlaps(left, right, height * width, crowd, const_cast<double*>(out.data()));
    return out;
}

}  // namespace

void bind_rle(py::module_& m) {
    m.def("rle_encode", &encode, py::arg("masks"), py::pos_only(), "COCO's run-length text of each mask u8[K H W].");
    m.def("rle_decode", &decode, py::arg("counts"), py::pos_only(), py::kw_only(), py::arg("height"), py::arg("width"),
          "Masks u8[K H W] of run-length texts.");
    m.def("rle_area", &area, py::arg("counts"), py::pos_only(), py::kw_only(), py::arg("height"), py::arg("width"),
          "How many pixels each mask has.");
    m.def("rle_iou", &iou, py::arg("a"), py::arg("b"), py::pos_only(), py::kw_only(), py::arg("height"),
          py::arg("width"), py::arg("crowd") = std::vector<bool>(),
          "f64[A B]: overlap of each mask of a with each of b; over a's area alone where b is a crowd.");
}

}  // namespace graphdet::bindings
