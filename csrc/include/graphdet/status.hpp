// What a call of the library reports: nothing, or what went wrong and under which code. The library never throws.
#pragma once

#include <optional>
#include <string>
#include <utility>

namespace graphdet {

// The codes of graphdet's errors; Python prints them as GD403 and the like.
enum class Code {
    ok = 0,
    precision_mismatch = 321,  // the backend does not compute in the precision that the file was certified in
    backend_missing = 330,     // this build of the library has no backend for the file's target
    not_an_artefact = 400,     // another kind of file
    truncated_artefact = 401,  // the file is shorter than its header says
    future_artefact = 402,     // written by a newer version
    corrupt_artefact = 403,    // a checksum, size, offset or field is wrong
    bad_image = 410,           // no pixels, or an unknown number of channels
    bad_input = 411,           // a threshold or an option lies outside its range
    engine_closed = 412,       // submitted work was not begun before the engine was closed
    missing_file = 520,        // there is no such file, or it cannot be opened
    internal = 900,            // a step of the plan failed
    out_of_memory = 901,       // the request needs more memory than there is
};

// A failure's `text` says what was found and what was expected; of a success it is empty.
class [[nodiscard]] Status {
  public:
    Status() = default;
    explicit Status(std::string text) : Status(Code::internal, std::move(text)) {}
    Status(Code code, std::string text) : code_(code), text_(std::move(text)) {}

    [[nodiscard]] bool ok() const { return code_ == Code::ok; }
    [[nodiscard]] Code code() const { return code_; }
    [[nodiscard]] const std::string& text() const { return text_; }

    // "GD403: ..."; empty when all is well.
    [[nodiscard]] std::string message() const {
        return ok() ? std::string() : "GD" + std::to_string(static_cast<int>(code_)) + ": " + text_;
    }

  private:
    Code code_ = Code::ok;
    std::string text_;
};

// A value, or the reason why there is none. Reading the value of a failure is a programming error.
template <class T>
class [[nodiscard]] Result {
  public:
    Result(Status failure) : status_(std::move(failure)) {}
    Result(T value) : value_(std::move(value)) {}

    [[nodiscard]] bool ok() const { return value_.has_value(); }
    explicit operator bool() const { return ok(); }
    [[nodiscard]] const Status& status() const { return status_; }

    [[nodiscard]] T& operator*() & { return *value_; }
    [[nodiscard]] const T& operator*() const& { return *value_; }
    [[nodiscard]] T operator*() && { return *std::move(value_); }
    [[nodiscard]] T* operator->() { return &*value_; }
    [[nodiscard]] const T* operator->() const { return &*value_; }

  private:
    Status status_;
    std::optional<T> value_;
};

}  // namespace graphdet
