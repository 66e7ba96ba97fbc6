#include "engine/artefact.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "engine/sha256.h"

namespace graphdet {

namespace {

constexpr char kMagic[] = {'\x89', 'G', 'D', 'E', 'T', '\r', '\n', '\x1a'};
constexpr std::uint64_t kAlign = 64;
constexpr std::size_t kPrefix = sizeof(kMagic) + 4 + 8 + 32;
constexpr std::size_t kPiece = std::size_t{1} << 20;  // bytes read at once: a lying size cannot take more memory

std::uint64_t align(std::uint64_t position) { return (position + kAlign - 1) / kAlign * kAlign; }

template <class T>
T little_endian(const char* bytes) {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        value |= static_cast<T>(static_cast<T>(static_cast<std::uint8_t>(bytes[i])) << (8 * i));
    }
    return value;
}

template <class... Parts>
Status fail(Code code, const Parts&... parts) {
    return Status(code, require(false, parts...).text());
}

struct File {
    std::ifstream stream;
    std::string name;

    Status open(const std::string& path) {
        name = std::filesystem::path(path).filename().string();
        std::error_code error;
        if (std::filesystem::is_directory(path, error)) {
            return fail(Code::not_an_artefact, path, " is a folder, not a .gdet file");
        }
        stream.open(path, std::ios::binary);
        return stream ? Status() : fail(Code::missing_file, "no such file, or no right to read it: ", path);
    }

    // The number of bytes read, which is less than `size` only at the end of the file.
    std::size_t read(char* to, std::size_t size) {
        stream.read(to, static_cast<std::streamsize>(size));
        return static_cast<std::size_t>(stream.gcount());
    }

    // Appends `size` bytes to `to`, a piece at a time.
    bool append(std::string& to, std::uint64_t size) {
        while (size > 0) {
            const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(size, kPiece));
            const std::size_t before = to.size();
            to.resize(before + part);
            if (read(to.data() + before, part) != part) return false;
            size -= part;
        }
        return true;
    }

    std::uint64_t size() {
        const auto here = stream.tellg();
        stream.seekg(0, std::ios::end);
        const auto end = stream.tellg();
        stream.seekg(here);
        return static_cast<std::uint64_t>(end);
    }
};

struct Prefix {
    std::uint64_t length = 0;
    Digest digest = {};
};

Status read_prefix(File& file, Prefix& prefix) {
    char bytes[kPrefix] = {};
    const std::size_t got = file.read(bytes, sizeof(bytes));
    if (std::memcmp(bytes, kMagic, std::min(got, sizeof(kMagic))) != 0) {
        return fail(Code::not_an_artefact, file.name, " is not a .gdet artefact");
    }
    if (got < kPrefix) return fail(Code::truncated_artefact, file.name, " ends inside its first fields");
    const auto version = little_endian<std::uint32_t>(bytes + 8);
    prefix.length = little_endian<std::uint64_t>(bytes + 12);
    std::memcpy(prefix.digest.data(), bytes + 20, prefix.digest.size());
    if (version > kFormat) {
        return fail(Code::future_artefact, file.name, " has format version ", version, ", this graphdet reads up to ",
                    kFormat);
    }
    if (version < 1 || prefix.length > kHeaderLimit) {
        return fail(Code::corrupt_artefact, file.name, ": format version ", version, ", header of ", prefix.length,
                    " bytes");
    }
    return Status();
}

Status read_text(File& file, const Prefix& prefix, std::string& text) {
    if (!file.append(text, prefix.length)) {
        return fail(Code::truncated_artefact, file.name, " ends inside its header");
    }
    if (sha256(text.data(), text.size()) != prefix.digest) {
        return fail(Code::corrupt_artefact, file.name, ": the checksum of the header is wrong");
    }
    return Status();
}

// Each blob starts where the one before it ends, rounded up, and the last one ends the file.
Status check_layout(const Header& header, std::uint64_t end, std::uint64_t size, const std::string& name) {
    const std::uint64_t start = align(end);
    std::uint64_t offset = 0;
    for (const BlobRow& blob : header.blobs) {
        if (blob.offset != offset) {
            return fail(Code::corrupt_artefact, name, ": blob '", blob.name, "' is said to start at ", blob.offset,
                        ", expected ", offset);
        }
        end = start + blob.offset + blob.size;  // all at most 2^62: the sum does not wrap
        offset = align(blob.offset + blob.size);
    }
    if (size < end) return fail(Code::truncated_artefact, name, " has ", size, " bytes, its header says ", end);
    if (size > end) return fail(Code::corrupt_artefact, name, " has ", size - end, " bytes after its last blob");
    return Status();
}

Status check_gaps(File& file, const Header& header, std::uint64_t end) {
    const std::uint64_t start = align(end);
    for (const BlobRow& blob : header.blobs) {
        char gap[kAlign];
        const auto size = static_cast<std::size_t>(start + blob.offset - end);
        file.stream.seekg(static_cast<std::streamoff>(end));
        if (file.read(gap, size) != size) {
            return fail(Code::truncated_artefact, file.name, " ends before blob '", blob.name, "'");
        }
        if (!std::all_of(gap, gap + size, [](char byte) { return byte == 0; })) {
            return fail(Code::corrupt_artefact, file.name, ": data in the space before blob '", blob.name, "'");
        }
        end = start + blob.offset + blob.size;
    }
    return Status();
}

}  // namespace

Result<Artefact> Artefact::read(const std::string& path) {
    Artefact artefact;
    File file;
    Prefix prefix;
    std::string text;
    GD_CHECK(file.open(path));
    GD_CHECK(read_prefix(file, prefix));
    const std::uint64_t size = file.size(), end = kPrefix + prefix.length;
    GD_CHECK(read_text(file, prefix, text));
    GD_CHECK(read_header(std::move(text), artefact.header_));
    GD_CHECK(check_layout(artefact.header_, end, size, file.name));
    GD_CHECK(check_gaps(file, artefact.header_, end));
    artefact.path_ = path;
    artefact.name_ = file.name;
    artefact.start_ = align(end);
    return artefact;
}

Result<Artefact> Artefact::of(std::string header, std::map<std::string, std::string> blobs) {
    Artefact artefact;
    GD_CHECK(read_header(std::move(header), artefact.header_));
    artefact.header_.blobs.clear();
    artefact.held_ = std::move(blobs);
    return artefact;
}

const BlobRow* Artefact::find(const std::string& name) const {
    for (const BlobRow& blob : header_.blobs) {
        if (blob.name == name) return &blob;
    }
    return nullptr;
}

Result<std::string> Artefact::blob(const std::string& name) const {
    if (const auto held = held_.find(name); held != held_.end()) return held->second;
    const BlobRow* row = find(name);
    if (row == nullptr) return fail(Code::corrupt_artefact, "the artefact has no blob '", name, "'");
    File file;
    std::string data;
    GD_CHECK(file.open(path_));
    file.stream.seekg(static_cast<std::streamoff>(start_ + row->offset));
    if (!file.append(data, row->size)) {
        return fail(Code::truncated_artefact, name_, " ends inside blob '", name, "'");
    }
    if (hex(sha256(data.data(), data.size())) != row->sha256) {
        return fail(Code::corrupt_artefact, name_, ": the checksum of blob '", name, "' is wrong");
    }
    return data;
}

Status Artefact::verify() const {
    for (const BlobRow& row : header_.blobs) {
        if (const auto content = blob(row.name); !content.ok()) return content.status();
    }
    return Status();
}

}  // namespace graphdet
