#include "engine/native.h"

#include <algorithm>

#include "ops/boxes/boxes.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gather_rows/gather_rows.h"
#include "ops/nms/nms.h"
#include "ops/select_top/select_top.h"

namespace graphdet {

namespace {

using json::Kind;
using json::Value;

// Attributes of a step, read by name. The first failure stays.
class Attributes {
  public:
    explicit Attributes(const StepRow& step) : step_(step) {}

    void read(const char* name, std::int64_t& out) {
        if (const Value* value = find(name)) {
            const auto number = value->is(Kind::integer) ? value->integer() : std::nullopt;
            number ? static_cast<void>(out = *number) : wrong(name, "an integer");
        }
    }
    void read(const char* name, double& out) {
        if (const Value* value = find(name)) {
            value->is(Kind::integer) || value->is(Kind::real) ? static_cast<void>(out = value->number())
                                                              : wrong(name, "a number");
        }
    }
    void read(const char* name, bool& out) {
        if (const Value* value = find(name)) {
            value->is(Kind::boolean) ? static_cast<void>(out = value->boolean()) : wrong(name, "true or false");
        }
    }
    void read(const char* name, std::string& out) {
        if (const Value* value = find(name)) {
            value->is(Kind::string) ? static_cast<void>(out = value->string()) : wrong(name, "a string");
        }
    }
    template <std::size_t n>
    void read(const char* name, std::array<float, n>& out) {
        const Value* value = find(name);
        if (value == nullptr) return;
        const std::vector<Value> items = value->is(Kind::array) ? value->items() : std::vector<Value>();
        const auto numeric = [](const Value& item) { return item.is(Kind::integer) || item.is(Kind::real); };
        if (items.size() != n || !std::all_of(items.begin(), items.end(), numeric)) return wrong(name, "numbers");
        for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<float>(items[i].number());
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
    template <class... Parts>
    void fail(const Parts&... parts) {
        if (!failure_.ok()) return;
        failure_ = Status(Code::corrupt_artefact, require(false, "native step ", step_.name, ": ", parts...).text());
    }
    const Value* find(const char* name) {
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

Status scalar(const char* name, const TensorView& view, float& out) {
    const bool one = view.dtype == DType::f32 && view.dims.count() == 1;
    GD_CHECK(require(one, name, " is ", text_of(view.dtype, view.dims), ", expected one f32"));
    out = *view.f32();
    return Status();
}

template <class Args>
class Call final : public NativeCall {
  public:
    // Puts operands, none of them absent, into the arguments.
    using Bind = Status (*)(const Operands& operands, Args& args);

    Call(Args args, Bind bind) : args_(std::move(args)), bind_(bind) {}

    Status plan(const Operands& operands, Plan& plan) override {
        for (const TensorView* operand : operands) GD_CHECK(require(operand != nullptr, "an operand is absent"));
        GD_CHECK(bind_(operands, args_));
        return ::graphdet::plan(args_, plan);
    }
    Status launch(const TensorView* outputs, Workspace workspace) override {
        return ::graphdet::launch(args_, outputs, workspace);
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

Made make_select_top(Attributes& attributes) {
    SelectTop args;
    std::string activation;
    attributes.read("k", args.k);
    attributes.read_if_given("activation", activation);
    if (activation == "sigmoid") {
        args.activation = SelectTop::Activation::sigmoid;
    } else if (!activation.empty()) {
        attributes.wrong("activation", "'' or 'sigmoid'");
    }
    return call<SelectTop>(args, [](const Operands& in, SelectTop& to) {
        to.scores = *in[0];
        return scalar("threshold", *in[1], to.threshold);
    });
}

Made make_gather_rows(Attributes&) {
    return call<GatherRows>({}, [](const Operands& in, GatherRows& to) {
        to = {*in[0], *in[1]};
        return Status();
    });
}

Made make_decode_deltas(Attributes& attributes) {
    DecodeDeltas args;
    attributes.read("means", args.means);
    attributes.read("stds", args.stds);
    attributes.read_if_given("max_ratio", args.max_ratio);
    return call<DecodeDeltas>(args, [](const Operands& in, DecodeDeltas& to) {
        to.anchors = *in[0], to.deltas = *in[1];
        return Status();
    });
}

Made make_decode_points(Attributes&) {
    return call<DecodePoints>({}, [](const Operands& in, DecodePoints& to) {
        to = {*in[0], *in[1]};
        return Status();
    });
}

Made make_clip_boxes(Attributes&) {
    return call<ClipBoxes>({}, [](const Operands& in, ClipBoxes& to) {
        to = {*in[0], *in[1]};
        return Status();
    });
}

Made make_to_image(Attributes&) {
    return call<ToImage>({}, [](const Operands& in, ToImage& to) {
        to = {*in[0], *in[1]};
        return Status();
    });
}

Made make_concat(Attributes& attributes) {
    Concat args;
    std::int64_t axis = 0;
    attributes.read("axis", axis);
    if (axis < -Dims::kMaxRank || axis >= Dims::kMaxRank) attributes.wrong("axis", "a dimension");
    args.axis = static_cast<int>(axis);
    return call<Concat>(args, [](const Operands& in, Concat& to) {
        to.xs.resize(in.size());
        std::transform(in.begin(), in.end(), to.xs.begin(), [](const TensorView* x) { return *x; });
        return Status();
    });
}

Made make_sigmoid(Attributes&) {
    return call<Sigmoid>({}, [](const Operands& in, Sigmoid& to) {
        to = {*in[0]};
        return Status();
    });
}

Made make_mul(Attributes&) {
    return call<Mul>({}, [](const Operands& in, Mul& to) {
        to = {*in[0], *in[1]};
        return Status();
    });
}

Made make_nms(Attributes& attributes) {
    Nms args;
    attributes.read("keep", args.keep);
    attributes.read("agnostic", args.agnostic);
    return call<Nms>(args, [](const Operands& in, Nms& to) {
        to.boxes = *in[0], to.scores = *in[1], to.labels = *in[2];
        GD_CHECK(scalar("score_threshold", *in[3], to.score_threshold));
        return scalar("iou_threshold", *in[4], to.iou_threshold);
    });
}

struct OpRow {
    const char* name;
    std::size_t operands;  // 0: any number
    Made (*make)(Attributes&);
};

// The ops of `graphdet.runtime._C` that plans use: one line each.
constexpr OpRow kOps[] = {
    {"clip_boxes", 2, make_clip_boxes},       {"concat", 0, make_concat},
    {"decode_deltas", 2, make_decode_deltas}, {"decode_points", 2, make_decode_points},
    {"gather_rows", 2, make_gather_rows},     {"mul", 2, make_mul},
    {"nms", 5, make_nms},                     {"select_top", 2, make_select_top},
    {"sigmoid", 1, make_sigmoid},             {"to_image", 2, make_to_image},
};

}  // namespace

Result<std::unique_ptr<NativeCall>> make_native(const StepRow& step) {
    const auto* row = std::find_if(std::begin(kOps), std::end(kOps), [&](const OpRow& op) { return op.name == step.name; });
    if (row == std::end(kOps)) {
        return Status(Code::future_artefact, "the plan uses native op '" + step.name + "', which this graphdet does not have");
    }
    if (row->operands != 0 && step.inputs.size() != row->operands) {
        return Status(Code::corrupt_artefact, require(false, "native step ", step.name, " has ", step.inputs.size(),
                                                      " operands, expected ", row->operands)
                                                  .text());
    }
    Attributes attributes(step);
    Made made = row->make(attributes);
    GD_CHECK(attributes.finish());
    return made;
}

}  // namespace graphdet
