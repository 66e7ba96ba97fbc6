// Text as UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace graphdet {

// Is `text` well-formed (no overlong forms, no surrogates, nothing beyond U+10FFFF)?
[[nodiscard]] bool is_utf8(std::string_view text);

// Writes one character by its number, at most U+10FFFF.
void append_utf8(std::string& out, int point);

}  // namespace graphdet
