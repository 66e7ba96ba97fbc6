#include "engine/native_call.h"
#include "ops/boxes/boxes.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gather_rows/gather_rows.h"
#include "ops/select_top/select_top.h"

namespace graphdet {

namespace {

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

Made make_gather(Attributes&) {
    return call<Gather>({}, [](const Operands& in, Gather& to) {
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

Made make_decode_distances(Attributes&) {
    return call<DecodeDistances>({}, [](const Operands& in, DecodeDistances& to) {
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
        to.xs.clear();
        for (const TensorView* x : in) {
            GD_CHECK(require(x != nullptr, "an operand is absent"));
            to.xs.push_back(*x);
        }
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

}  // namespace

const std::vector<OpRow>& dense_ops() {
    static const std::vector<OpRow> ops = {
        {"clip_boxes", 2, 2, make_clip_boxes},       {"concat", 1, OpRow::kAny, make_concat},
        {"decode_deltas", 2, 2, make_decode_deltas}, {"decode_distances", 2, 2, make_decode_distances},
        {"decode_points", 2, 2, make_decode_points}, {"gather", 2, 2, make_gather},
        {"gather_rows", 2, 2, make_gather_rows},     {"mul", 2, 2, make_mul},
        {"select_top", 2, 2, make_select_top},       {"sigmoid", 1, 1, make_sigmoid},
        {"to_image", 2, 2, make_to_image},
    };
    return ops;
}

}  // namespace graphdet
