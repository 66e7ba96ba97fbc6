// A JSON reader for text that is not trusted.
//
// RFC 8259, UTF-8, and stricter where readers disagree: no byte order mark, no key used twice in one object, no lone
// surrogate, at most `kMaxDepth` levels. Memory is 16 bytes a value, beside the text itself. Never throws for bad text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace graphdet::json {

constexpr int kMaxDepth = 64;
constexpr std::size_t kMaxDigits = 4300;  // of an integer; Python's limit

enum class Kind : std::uint8_t { null, boolean, integer, real, string, array, object };

class Document;

// One value of a document, which must outlive it. A default one stands for "absent".
class Value {
  public:
    Value() = default;

    [[nodiscard]] explicit operator bool() const { return document_ != nullptr; }
    [[nodiscard]] Kind kind() const;
    [[nodiscard]] bool is(Kind kind) const { return document_ != nullptr && this->kind() == kind; }

    [[nodiscard]] bool boolean() const;                         // of a boolean
    [[nodiscard]] std::optional<std::int64_t> integer() const;  // of an integer; empty when it needs more than 64 bits
    [[nodiscard]] double number() const;                        // of an integer or real; infinite when out of range
    [[nodiscard]] std::string string() const;                   // of a string
    [[nodiscard]] std::string_view source() const;              // the text as written

    // Array items, or the values of an object.
    [[nodiscard]] std::vector<Value> items() const;
    // Key and value pairs of an object, in the order of the text.
    [[nodiscard]] std::vector<std::pair<std::string, Value>> members() const;
    // The value of a key; absent when there is none.
    [[nodiscard]] Value operator[](std::string_view key) const;

  private:
    friend class Document;
    Value(const Document* document, std::uint32_t node) : document_(document), node_(node) {}

    const Document* document_ = nullptr;
    std::uint32_t node_ = 0;
};

class Document {
  public:
    // Reads `text` (less than 4 GiB), which the document keeps. The status says where the first mistake lies.
    Status read(std::string text);
    [[nodiscard]] Value root() const { return {this, 0}; }

  private:
    friend class Value;
    friend class Reader;

    // Values in reading order: the children of a container follow it, an object's as key, value, key, value.
    struct Node {
        Kind kind;
        std::uint32_t begin, end;  // in the text; of a string without its quotes
        std::uint32_t next;        // the node after this value and all inside it
    };

    [[nodiscard]] std::string decoded(const Node& node) const;

    std::string text_;
    std::vector<Node> nodes_;
};

// A string as a JSON string, with its quotes.
[[nodiscard]] std::string quoted(std::string_view text);

}  // namespace graphdet::json
