#include "engine/constants.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/json.h"

namespace graphdet {

namespace {

using json::Kind;
using json::Value;

struct Row {
    std::string name;
    TensorView view;
    std::int64_t begin = 0;
    std::int64_t end = 0;
};

template <class... Parts>
Status wrong(const Parts&... parts) {
    return Status(Code::corrupt_artefact,
                  require(false, "blob 'constants' is not in safetensors layout: ", parts...).text());
}

// Non-negative integers of an array.
bool read_sizes(const Value& value, std::vector<std::int64_t>& sizes) {
    if (!value.is(Kind::array)) return false;
    for (const Value& item : value.items()) {
        const auto number = item.is(Kind::integer) ? item.integer() : std::nullopt;
        if (!number || *number < 0) return false;
        sizes.push_back(*number);
    }
    return true;
}

Status read_row(const std::string& name, const Value& entry, Row& row) {
    if (!entry.is(Kind::object)) return wrong("array ", name, " is no object");
    const Value dtype = entry["dtype"];
    const std::string type = dtype.is(Kind::string) ? dtype.string() : "";
    if (type != "F32" && type != "I64") return wrong("array ", name, " is of type '", type, "', expected F32 or I64");
    std::vector<std::int64_t> shape, offsets;
    if (!read_sizes(entry["shape"], shape) || shape.size() > Dims::kMaxRank) return wrong("the shape of array ", name);
    if (!read_sizes(entry["data_offsets"], offsets) || offsets.size() != 2 || offsets[0] > offsets[1]) {
        return wrong("the offsets of array ", name);
    }
    row.name = name, row.begin = offsets[0], row.end = offsets[1];
    row.view.dtype = type == "F32" ? DType::f32 : DType::i64;
    auto bytes = static_cast<std::int64_t>(bytes_of(row.view.dtype));
    for (const std::int64_t size : shape) {
        row.view.dims[row.view.dims.rank++] = size;
        if (__builtin_mul_overflow(bytes, size, &bytes)) return wrong("the shape of array ", name);
    }
    if (bytes != row.end - row.begin) return wrong("array ", name, " has ", row.end - row.begin, " bytes, not ", bytes);
    return Status();
}

}  // namespace

Status Constants::read(const std::string& blob) {
    std::uint64_t length = 0;
    if (blob.size() < sizeof(length)) return wrong("it has ", blob.size(), " bytes");
    for (std::size_t i = 0; i < sizeof(length); ++i) {
        length |= std::uint64_t{static_cast<std::uint8_t>(blob[i])} << (8 * i);
    }
    if (length > blob.size() - sizeof(length)) return wrong("its table has ", length, " bytes");
    json::Document table;
    if (const Status read = table.read(blob.substr(sizeof(length), length)); !read.ok()) return wrong(read.text());
    if (!table.root().is(Kind::object)) return wrong("its table is no object");

    std::vector<Row> rows;
    for (const auto& [name, entry] : table.root().members()) {
        if (name == "__metadata__") continue;
        GD_CHECK(read_row(name, entry, rows.emplace_back()));
    }
    std::sort(rows.begin(), rows.end(),
              [](const Row& a, const Row& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
    const auto area = static_cast<std::int64_t>(blob.size() - sizeof(length) - length);
    std::int64_t at = 0, room = 0;
    for (const Row& row : rows) {
        if (row.begin != at) return wrong("array ", row.name, " does not follow the one before it");
        at = row.end;
        room += (row.end - row.begin + 63) / 64 * 64;
    }
    if (at != area) return wrong("its arrays have ", at, " bytes, its data ", area);

    data_ = std::make_unique<std::uint8_t[]>(static_cast<std::size_t>(room));
    std::uint8_t* to = data_.get();
    const char* from = blob.data() + sizeof(length) + length;
    for (Row& row : rows) {
        const std::int64_t bytes = row.end - row.begin;
        std::copy_n(from + row.begin, bytes, to);
        row.view.data = to;
        views_[row.name] = row.view;
        to += (bytes + 63) / 64 * 64;
    }
    return Status();
}

}  // namespace graphdet
