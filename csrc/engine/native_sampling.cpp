#include "engine/native_call.h"
#include "ops/carafe/carafe.h"
#include "ops/corner_pool/corner_pool.h"
#include "ops/deform_attention/deform_attention.h"
#include "ops/deform_conv/deform_conv.h"
#include "ops/masked_conv/masked_conv.h"

namespace graphdet {

namespace {

// An operand that may be left out.
TensorView given(const Operands& in, std::size_t i) {
    return i < in.size() && in[i] != nullptr ? *in[i] : TensorView();
}

Made make_carafe(Attributes& attributes) {
    Carafe args;
    attributes.read_if_given("size", args.size);
    attributes.read_if_given("groups", args.groups);
    attributes.read_if_given("scale", args.scale);
    return call<Carafe>(args, [](const Operands& in, Carafe& to) {
        to.x = *in[0], to.kernels = *in[1];
        return Status();
    });
}

Made make_corner_pool(Attributes& attributes) {
    CornerPool args;
    std::string side;
    attributes.read("side", side);
    args.across = side == "left" || side == "right", args.back = side == "top" || side == "left";
    if (!args.across && !args.back && side != "bottom") attributes.wrong("side", "top, bottom, left or right");
    return call<CornerPool>(args, [](const Operands& in, CornerPool& to) {
        to.x = *in[0];
        return Status();
    });
}

Made make_masked_conv2d(Attributes& attributes) {
    MaskedConv args;
    attributes.read_if_given("stride", args.stride);
    attributes.read_if_given("padding", args.padding);
    return call<MaskedConv>(args, [](const Operands& in, MaskedConv& to) {
        to.x = *in[0], to.weight = *in[1], to.mask = *in[2], to.bias = given(in, 3);
        return Status();
    });
}

Made make_deform_conv2d(Attributes& attributes) {
    DeformConv args;
    attributes.read_if_given("stride", args.stride);
    attributes.read_if_given("padding", args.padding);
    attributes.read_if_given("dilation", args.dilation);
    attributes.read_if_given("groups", args.groups);
    attributes.read_if_given("offset_groups", args.offset_groups);
    return call<DeformConv>(args, [](const Operands& in, DeformConv& to) {
        to.x = *in[0], to.weight = *in[1], to.offset = *in[2], to.mask = given(in, 3), to.bias = given(in, 4);
        return Status();
    });
}

Made make_deform_attention(Attributes&) {
    return call<DeformAttention>({}, [](const Operands& in, DeformAttention& to) {
        to.value = *in[0], to.locations = *in[1], to.weights = *in[2], to.level_count = 0;
        for (std::size_t i = 3; i < in.size(); ++i) {
            const bool fits = in[i] != nullptr && in[i]->dims.rank == 4 && to.level_count < DeformAttention::kMaxLevels;
            GD_CHECK(require(fits, "level ", i - 3, " is no map, or one of too many"));
            to.levels[static_cast<std::size_t>(to.level_count++)] = {in[i]->dims[2], in[i]->dims[3]};
        }
        return Status();
    });
}

}  // namespace

const std::vector<OpRow>& sampling_ops() {
    static const std::vector<OpRow> ops = {
        {"carafe", 2, 2, make_carafe},
        {"corner_pool", 1, 1, make_corner_pool},
        {"deform_attention", 4, OpRow::kAny, make_deform_attention},
        {"deform_conv2d", 3, 5, make_deform_conv2d},
        {"masked_conv2d", 3, 4, make_masked_conv2d},
    };
    return ops;
}

}  // namespace graphdet
