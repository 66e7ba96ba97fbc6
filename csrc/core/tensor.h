// What a tensor is to a kernel: a pointer, an element type, and the sizes of a dense row-major block. Nothing is owned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>

namespace graphdet {

enum class DType : std::uint8_t { f32, i64, u8, bf16 };

[[nodiscard]] constexpr std::size_t bytes_of(DType dtype) {
    constexpr std::size_t bytes[] = {4, 8, 1, 2};
    return bytes[static_cast<std::size_t>(dtype)];
}
[[nodiscard]] constexpr const char* name_of(DType dtype) {
    constexpr const char* names[] = {"f32", "i64", "u8", "bf16"};
    return names[static_cast<std::size_t>(dtype)];
}

template <class T>
inline constexpr DType dtype_of = DType::f32;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::i64;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::u8;

// Sizes of up to `kMaxRank` dimensions. Rank 0 is a scalar with one element.
struct Dims {
    static constexpr int kMaxRank = 8;

    std::int64_t size[kMaxRank] = {};
    int rank = 0;

    Dims() = default;
    Dims(std::initializer_list<std::int64_t> sizes) {
        for (std::int64_t s : sizes) size[rank++] = s;
    }

    std::int64_t& operator[](int i) { return size[i]; }
    std::int64_t operator[](int i) const { return size[i]; }

    // Number of elements in dimensions [begin, end).
    [[nodiscard]] std::int64_t count(int begin, int end) const {
        std::int64_t n = 1;
        for (int i = begin; i < end; ++i) n *= size[i];
        return n;
    }
    [[nodiscard]] std::int64_t count() const { return count(0, rank); }

    friend bool operator==(const Dims& a, const Dims& b) {
        if (a.rank != b.rank) return false;
        for (int i = 0; i < a.rank; ++i)
            if (a.size[i] != b.size[i]) return false;
        return true;
    }
    friend bool operator!=(const Dims& a, const Dims& b) { return !(a == b); }
};

// A dense row-major block owned by the caller. `data` may be null when a dimension is 0.
struct TensorView {
    void* data = nullptr;
    DType dtype = DType::f32;
    Dims dims;

    [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(dims.count()) * bytes_of(dtype); }
    [[nodiscard]] const float* f32() const { return static_cast<const float*>(data); }
    [[nodiscard]] const std::int64_t* i64() const { return static_cast<const std::int64_t*>(data); }
    [[nodiscard]] const std::uint8_t* u8() const { return static_cast<const std::uint8_t*>(data); }
    [[nodiscard]] std::uint8_t* u8_out() const { return static_cast<std::uint8_t*>(data); }
    [[nodiscard]] float* f32_out() const { return static_cast<float*>(data); }
    [[nodiscard]] std::int64_t* i64_out() const { return static_cast<std::int64_t*>(data); }
};

// A type for messages, as in "f32[2 100 4]". The text is made when it is printed, so that naming it costs nothing.
struct TypeText {
    DType dtype;
    Dims dims;

    friend std::ostream& operator<<(std::ostream& out, const TypeText& type);
};
[[nodiscard]] inline TypeText text_of(DType dtype, const Dims& dims) { return {dtype, dims}; }

}  // namespace graphdet
