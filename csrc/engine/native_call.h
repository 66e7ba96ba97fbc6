// What a native step is made of: attributes read by name, and a kernel's arguments behind one interface.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/native.h"

namespace graphdet {

// Attributes of a step, read by name. The first failure stays.
class Attributes {
  public:
    explicit Attributes(const StepRow& step) : step_(step) {}

    void read(const char* name, std::int64_t& out) {
        const json::Value* value = find(name);
        if (value == nullptr) return;
        const std::optional<std::int64_t> number = integer(*value);
        if (!number) return wrong(name, "an integer");
        out = *number;
    }
    void read(const char* name, double& out) {
        const json::Value* value = find(name);
        if (value == nullptr) return;
        if (!is_number(*value)) return wrong(name, "a number");
        out = value->number();
    }
    void read(const char* name, bool& out) {
        const json::Value* value = find(name);
        if (value == nullptr) return;
        if (!value->is(json::Kind::boolean)) return wrong(name, "true or false");
        out = value->boolean();
    }
    void read(const char* name, std::string& out) {
        const json::Value* value = find(name);
        if (value == nullptr) return;
        if (!value->is(json::Kind::string)) return wrong(name, "a string");
        out = value->string();
    }
    void read(const char* name, float& out) {
        double number = out;
        read(name, number);
        out = static_cast<float>(number);
    }
    template <std::size_t n>
    void read(const char* name, std::array<float, n>& out) {
        std::vector<float> numbers(n);
        read(name, numbers);
        if (numbers.size() != n) return wrong(name, "an array of as many numbers as it takes");
        std::copy(numbers.begin(), numbers.end(), out.begin());
    }
    template <std::size_t n>
    void read(const char* name, std::array<std::int64_t, n>& out) {
        std::vector<std::int64_t> numbers;
        read(name, numbers);
        if (failure_.ok() && numbers.size() != n) return wrong(name, "an array of as many integers as it takes");
        if (failure_.ok()) std::copy(numbers.begin(), numbers.end(), out.begin());
    }
    void read(const char* name, std::vector<std::int64_t>& out) {
        const json::Value* value = find(name);
        if (value == nullptr) return;
        out.clear();
        for (const json::Value& item : items_of(*value)) {
            const std::optional<std::int64_t> number = integer(item);
            if (!number) return wrong(name, "an array of integers");
            out.push_back(*number);
        }
    }
    void read(const char* name, std::vector<float>& out) {
        const json::Value* value = find(name);
        if (value == nullptr) return;
        const std::vector<json::Value> items = items_of(*value);
        if (!value->is(json::Kind::array) || !std::all_of(items.begin(), items.end(), is_number)) {
            return wrong(name, "an array of numbers");
        }
        out.clear();
        for (const json::Value& item : items) out.push_back(static_cast<float>(item.number()));
    }

    // One that keeps its kernel's default where the step does not have it.
    template <class T>
    void read_if_given(const char* name, T& out) {
        const auto same = [&](const auto& pair) { return pair.first == name; };
        if (std::any_of(step_.attrs.begin(), step_.attrs.end(), same)) read(name, out);
    }

    void wrong(const char* name, const char* expected) { fail("attribute ", name, " is not ", expected); }

    // The first failure, or one for an attribute that nobody has read.
    Status finish() {
        for (const auto& [name, value] : step_.attrs) {
            if (std::find(known_.begin(), known_.end(), name) == known_.end()) fail("unknown attribute ", name);
        }
        return failure_;
    }

  private:
    static bool is_number(const json::Value& value) {
        return value.is(json::Kind::integer) || value.is(json::Kind::real);
    }
    static std::optional<std::int64_t> integer(const json::Value& value) {
        return value.is(json::Kind::integer) ? value.integer() : std::nullopt;
    }
    static std::vector<json::Value> items_of(const json::Value& value) {
        return value.is(json::Kind::array) ? value.items() : std::vector<json::Value>();
    }

    template <class... Parts>
    void fail(const Parts&... parts) {
        if (!failure_.ok()) return;
        failure_ = Status(Code::corrupt_artefact, require(false, "native step ", step_.name, ": ", parts...).text());
    }
    const json::Value* find(const char* name) {
        known_.emplace_back(name);
        for (const auto& [key, value] : step_.attrs) {
            if (key == name) return &value;
        }
        fail("attribute ", name, " is missing");
        return nullptr;
    }

    const StepRow& step_;
    std::vector<std::string> known_;
    Status failure_;
};

inline Status scalar(const char* name, const TensorView& view, float& out) {
    const bool one = view.dtype == DType::f32 && view.dims.count() == 1;
    GD_CHECK(require(one, name, " is ", text_of(view.dtype, view.dims), ", expected one f32"));
    out = *view.f32();
    return Status();
}

// By these names, as the members of `Call` hide those of the kernels.
template <class Args>
Status plan_kernel(const Args& args, Plan& needed) {
    return plan(args, needed);
}
template <class Args>
Status launch_kernel(const Args& args, const TensorView* outputs, Workspace workspace) {
    return launch(args, outputs, workspace);
}

template <class Args>
class Call final : public NativeCall {
  public:
    // Puts operands into the arguments; those beyond the row's `least` may be absent.
    using Bind = Status (*)(const Operands& operands, Args& args);

    Call(Args args, Bind bind) : args_(std::move(args)), bind_(bind) {}

    Status plan(const Operands& operands, Plan& plan) override {
        GD_CHECK(bind_(operands, args_));
        return plan_kernel(args_, plan);
    }
    Status launch(const TensorView* outputs, Workspace workspace) override {
        return launch_kernel(args_, outputs, workspace);
    }
    [[nodiscard]] std::unique_ptr<NativeCall> clone() const override { return std::make_unique<Call>(*this); }

  private:
    Args args_;
    Bind bind_;
};

using Made = std::unique_ptr<NativeCall>;

template <class Args>
Made call(Args args, typename Call<Args>::Bind bind) {
    return std::make_unique<Call<Args>>(std::move(args), bind);
}

// An op of `graphdet.runtime._C` that plans use.
struct OpRow {
    static constexpr std::size_t kAny = std::numeric_limits<std::size_t>::max();

    const char* name;
    std::size_t least, most;  // operands; the first `least` are present, later ones may be absent
    Made (*make)(Attributes&);
};

[[nodiscard]] const std::vector<OpRow>& dense_ops();
[[nodiscard]] const std::vector<OpRow>& region_ops();
[[nodiscard]] const std::vector<OpRow>& sampling_ops();

}  // namespace graphdet
