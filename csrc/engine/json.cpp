#include "engine/json.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "engine/utf8.h"

namespace graphdet::json {

namespace {

constexpr std::int64_t kFar = std::int64_t{1} << 40;  // a power of ten that no count of digits makes up for

bool is_digit(char c) { return c >= '0' && c <= '9'; }

int hex_digit(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// The number in four hexadecimal digits, or -1.
int hex4(std::string_view text, std::size_t at) {
    if (at + 4 > text.size()) return -1;
    int value = 0;
    for (std::size_t i = at; i < at + 4; ++i) {
        const int digit = hex_digit(text[i]);
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

bool is_high(int unit) { return unit >= 0xD800 && unit < 0xDC00; }
bool is_low(int unit) { return unit >= 0xDC00 && unit < 0xE000; }

// A number that is too large or too small for a double: infinity or 0, as its power of ten says.
double beyond_double(std::string_view text) {
    const std::size_t mark = std::min(text.find_first_of("eE"), text.size());
    const std::string_view mantissa = text.substr(0, mark);
    const std::size_t first = mantissa.find_first_of("123456789"), dot = std::min(mantissa.find('.'), mark);
    if (first == std::string_view::npos) return 0.0;
    std::string_view exponent = text.substr(std::min(mark + 1, text.size()));
    if (!exponent.empty() && exponent[0] == '+') exponent.remove_prefix(1);
    std::int64_t power = 0;
    const auto result = std::from_chars(exponent.data(), exponent.data() + exponent.size(), power);
    if (result.ec == std::errc::result_out_of_range) power = exponent[0] == '-' ? -kFar : kFar;
    power += static_cast<std::int64_t>(dot) - static_cast<std::int64_t>(first);
    return power > 0 ? std::numeric_limits<double>::infinity() : 0.0;
}

}  // namespace

std::string quoted(std::string_view text) {
    constexpr const char* digits = "0123456789abcdef";
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<std::uint8_t>(c);
        if (c == '"' || c == '\\') {
            out += {'\\', c};
        } else if (byte < 0x20) {
            out += std::string("\\u00") + digits[byte >> 4] + digits[byte & 15];
        } else {
            out += c;
        }
    }
    return out + '"';
}

// Recursive descent; the depth of the text bounds the stack.
class Reader {
  public:
    explicit Reader(Document& document) : text_(document.text_), document_(document) {}

    Status read() {
        GD_CHECK(value(0));
        skip_space();
        return require(at_ == text_.size(), "text after the end, at byte ", at_);
    }

  private:
    using Node = Document::Node;

    [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool take(char c) {
        if (at_ >= text_.size() || text_[at_] != c) return false;
        ++at_;
        return true;
    }
    void skip_space() {
        while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') ++at_;
    }
    [[nodiscard]] Status wrong(const char* expected) const {
        return require(false, "expected ", expected, " at byte ", at_);
    }

    std::size_t open(Kind kind) {
        document_.nodes_.push_back({kind, static_cast<std::uint32_t>(at_), 0, 0});
        return document_.nodes_.size() - 1;
    }
    void close(std::size_t node, std::size_t end) {
        document_.nodes_[node].end = static_cast<std::uint32_t>(end);
        document_.nodes_[node].next = static_cast<std::uint32_t>(document_.nodes_.size());
    }

    Status value(int depth) {
        skip_space();
        switch (peek()) {
            case '{': return object(depth + 1);
            case '[': return array(depth + 1);
            case '"': return string();
            case 't': return word("true", Kind::boolean);
            case 'f': return word("false", Kind::boolean);
            case 'n': return word("null", Kind::null);
            default: return number();
        }
    }

    Status word(std::string_view word, Kind kind) {
        if (text_.compare(at_, word.size(), word) != 0) return wrong("a value");
        const std::size_t node = open(kind);
        at_ += word.size();
        close(node, at_);
        return Status();
    }

    Status array(int depth) {
        if (depth > kMaxDepth) return wrong("fewer levels");
        const std::size_t node = open(Kind::array);
        ++at_;
        skip_space();
        if (!take(']')) {
            do GD_CHECK(value(depth));
            while (skip_space(), take(','));
            if (!take(']')) return wrong("',' or ']'");
        }
        close(node, at_);
        return Status();
    }

    Status object(int depth) {
        if (depth > kMaxDepth) return wrong("fewer levels");
        const std::size_t node = open(Kind::object);
        ++at_;
        skip_space();
        if (!take('}')) {
            do {
                skip_space();
                if (peek() != '"') return wrong("a key");
                GD_CHECK(string());
                skip_space();
                if (!take(':')) return wrong("':'");
                GD_CHECK(value(depth));
            } while (skip_space(), take(','));
            if (!take('}')) return wrong("',' or '}'");
        }
        close(node, at_);
        return distinct_keys(node);
    }

    Status distinct_keys(std::size_t object) {
        std::vector<std::string> keys;
        const auto& nodes = document_.nodes_;
        for (std::size_t key = object + 1; key < nodes.size(); key = nodes[key + 1].next) {
            keys.push_back(document_.decoded(nodes[key]));
        }
        std::sort(keys.begin(), keys.end());
        return require(std::adjacent_find(keys.begin(), keys.end()) == keys.end(), "a key is used twice before byte ",
                       at_);
    }

    Status string() {
        ++at_;
        const std::size_t node = open(Kind::string);
        while (peek() != '"' || at_ >= text_.size()) {
            if (at_ >= text_.size() || static_cast<std::uint8_t>(peek()) < 0x20) return wrong("the end of a string");
            if (take('\\')) {
                GD_CHECK(escape());
            } else {
                ++at_;  // the text is known to be UTF-8
            }
        }
        close(node, at_);
        ++at_;
        return Status();
    }

    Status escape() {
        if (at_ < text_.size() && std::string_view("\"\\/bfnrt").find(peek()) != std::string_view::npos) {
            ++at_;
            return Status();
        }
        if (!take('u')) return wrong("an escape");
        const int unit = hex4(text_, at_);
        if (unit < 0 || is_low(unit)) return wrong("a character's number");
        at_ += 4;
        if (!is_high(unit)) return Status();
        if (text_.compare(at_, 2, "\\u") != 0 || !is_low(hex4(text_, at_ + 2))) return wrong("a low surrogate");
        at_ += 6;
        return Status();
    }

    std::size_t digits() {
        const std::size_t begin = at_;
        while (is_digit(peek())) ++at_;
        return at_ - begin;
    }

    Status number() {
        const std::size_t node = open(Kind::integer);
        take('-');
        const bool zero = peek() == '0';
        const std::size_t whole = zero ? static_cast<std::size_t>(take('0')) : digits();
        if (whole == 0) return wrong("a value");
        bool real = false;
        if (peek() == '.') {
            ++at_, real = true;
            if (digits() == 0) return wrong("a digit");
        }
        if (peek() == 'e' || peek() == 'E') {
            ++at_, real = true;
            if (peek() == '+' || peek() == '-') ++at_;
            if (digits() == 0) return wrong("a digit");
        }
        if (!real && whole > kMaxDigits) return wrong("a shorter number before this");
        if (real) document_.nodes_[node].kind = Kind::real;
        close(node, at_);
        return Status();
    }

    const std::string& text_;
    Document& document_;
    std::size_t at_ = 0;
};

Status Document::read(std::string text) {
    text_ = std::move(text);
    nodes_.clear();
    GD_CHECK(require(text_.size() < std::numeric_limits<std::uint32_t>::max(), "the text is too long"));
    GD_CHECK(require(is_utf8(text_), "the text is not UTF-8"));
    return Reader(*this).read();
}

std::string Document::decoded(const Node& node) const {
    const std::string_view raw = std::string_view(text_).substr(node.begin, node.end - node.begin);
    std::string out;
    out.reserve(raw.size());
    for (std::size_t i = 0; i < raw.size(); ++i) {
        if (raw[i] != '\\') {
            out += raw[i];
            continue;
        }
        const char kind = raw[++i];
        const std::size_t plain = std::string_view("\"\\/bfnrt").find(kind);
        if (plain != std::string_view::npos) {
            out += "\"\\/\b\f\n\r\t"[plain];
            continue;
        }
        int point = hex4(raw, i + 1);
        i += 4;
        if (is_high(point)) {
            point = 0x10000 + ((point - 0xD800) << 10) + (hex4(raw, i + 3) - 0xDC00);
            i += 6;
        }
        append_utf8(out, point);
    }
    return out;
}

Kind Value::kind() const { return document_->nodes_[node_].kind; }

bool Value::boolean() const { return source() == "true"; }

std::optional<std::int64_t> Value::integer() const {
    const std::string_view text = source();
    std::int64_t value = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) return std::nullopt;
    return value;
}

double Value::number() const {
    const std::string_view text = source();
    double value = 0.0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    return result.ec == std::errc() ? value : beyond_double(text);
}

std::string Value::string() const { return document_->decoded(document_->nodes_[node_]); }

std::string_view Value::source() const {
    const auto& node = document_->nodes_[node_];
    return std::string_view(document_->text_).substr(node.begin, node.end - node.begin);
}

std::vector<Value> Value::items() const {
    std::vector<Value> items;
    const auto& nodes = document_->nodes_;
    const bool object = kind() == Kind::object;
    for (std::uint32_t i = node_ + 1; i < nodes[node_].next; i = nodes[i].next) {
        if (object) ++i;  // past the key
        items.push_back({document_, i});
    }
    return items;
}

std::vector<std::pair<std::string, Value>> Value::members() const {
    std::vector<std::pair<std::string, Value>> members;
    const auto& nodes = document_->nodes_;
    for (std::uint32_t i = node_ + 1; i < nodes[node_].next; i = nodes[i + 1].next) {
        members.emplace_back(document_->decoded(nodes[i]), Value(document_, i + 1));
    }
    return members;
}

Value Value::operator[](std::string_view key) const {
    const auto& nodes = document_->nodes_;
    for (std::uint32_t i = node_ + 1; i < nodes[node_].next; i = nodes[i + 1].next) {
        if (document_->decoded(nodes[i]) == key) return {document_, i + 1};
    }
    return {};
}

}  // namespace graphdet::json
