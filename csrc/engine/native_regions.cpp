#include "engine/native_call.h"
#include "ops/cut_padding/cut_padding.h"
#include "ops/iou/iou.h"
#include "ops/mask/mask.h"
#include "ops/nms/nms.h"
#include "ops/nms_family/nms_family.h"
#include "ops/roi/roi.h"

namespace graphdet {

namespace {

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

// What the relatives of NMS share.
void read_candidates(Attributes& attributes, Candidates& args) {
    attributes.read_if_given("keep", args.keep);
    attributes.read_if_given("agnostic", args.agnostic);
}

Status bind_candidates(const Operands& in, Candidates& to) {
    to.boxes = *in[0], to.scores = *in[1], to.labels = *in[2];
    return scalar("score_threshold", *in[3], to.score_threshold);
}

void read_decay(Attributes& attributes, Decay& decay, float& sigma) {
    std::string name = decay == Decay::linear ? "linear" : "gaussian";
    attributes.read_if_given("decay", name);
    attributes.read_if_given("sigma", sigma);
    if (name != "linear" && name != "gaussian") attributes.wrong("decay", "'linear' or 'gaussian'");
    decay = name == "linear" ? Decay::linear : Decay::gaussian;
}

Made make_soft_nms(Attributes& attributes) {
    SoftNms args;
    read_candidates(attributes, args);
    read_decay(attributes, args.decay, args.sigma);
    return call<SoftNms>(args, [](const Operands& in, SoftNms& to) {
        GD_CHECK(bind_candidates(in, to));
        return scalar("iou_threshold", *in[4], to.iou_threshold);
    });
}

Made make_matrix_nms(Attributes& attributes) {
    MatrixNms args;
    read_candidates(attributes, args);
    read_decay(attributes, args.decay, args.sigma);
    return call<MatrixNms>(args, [](const Operands& in, MatrixNms& to) { return bind_candidates(in, to); });
}

Made make_fast_nms(Attributes& attributes) {
    FastNms args;
    read_candidates(attributes, args);
    return call<FastNms>(args, [](const Operands& in, FastNms& to) {
        GD_CHECK(bind_candidates(in, to));
        return scalar("iou_threshold", *in[4], to.iou_threshold);
    });
}

RoiGrid read_grid(Attributes& attributes) {
    RoiGrid grid;
    std::array<std::int64_t, 2> size = {};
    attributes.read("size", size);
    attributes.read_if_given("samples", grid.samples);
    attributes.read_if_given("aligned", grid.aligned);
    grid.height = size[0], grid.width = size[1];
    return grid;
}

Made make_roi_align(Attributes& attributes) {
    RoiAlign args;
    args.grid = read_grid(attributes);
    attributes.read("scale", args.scale);
    return call<RoiAlign>(args, [](const Operands& in, RoiAlign& to) {
        to.features = *in[0], to.rois = *in[1];
        return Status();
    });
}

Made make_roi_pool(Attributes& attributes) {
    RoiPool args;
    std::array<std::int64_t, 2> size = {};
    attributes.read("size", size);
    attributes.read("scale", args.scale);
    args.grid.height = size[0], args.grid.width = size[1];
    return call<RoiPool>(args, [](const Operands& in, RoiPool& to) {
        to.features = *in[0], to.rois = *in[1];
        return Status();
    });
}

Made make_roi_align_levels(Attributes& attributes) {
    RoiAlignLevels args;
    std::vector<float> strides;
    args.grid = read_grid(attributes);
    attributes.read("strides", strides);
    attributes.read_if_given("canonical", args.canonical);
    attributes.read_if_given("finest", args.finest);
    if (strides.size() > args.strides.size()) attributes.wrong("strides", "as short as the levels that there can be");
    args.level_count = static_cast<int>(std::min(strides.size(), args.strides.size()));
    std::copy_n(strides.begin(), args.level_count, args.strides.begin());
    return call<RoiAlignLevels>(args, [](const Operands& in, RoiAlignLevels& to) {
        to.boxes = *in[0], to.count = *in[1];
        int levels = 0;
        for (std::size_t i = 2; i < in.size(); ++i) {
            if (in[i] == nullptr) continue;
            if (levels < to.level_count) to.levels[static_cast<std::size_t>(levels)] = *in[i];
            ++levels;
        }
        return require(levels == to.level_count, "found ", levels, " levels and ", to.level_count, " strides");
    });
}

Made make_cut_padding(Attributes& attributes) {
    CutPadding args;
    attributes.read("steps", args.steps);
    return call<CutPadding>(args, [](const Operands& in, CutPadding& to) {
        to.boxes = *in[0], to.labels = *in[1], to.count = *in[2];
        return Status();
    });
}

Made make_paste_masks(Attributes& attributes) {
    PasteMasks args;
    attributes.read("height", args.height);
    attributes.read("width", args.width);
    attributes.read_if_given("threshold", args.threshold);
    return call<PasteMasks>(args, [](const Operands& in, PasteMasks& to) {
        to.masks = *in[0], to.boxes = *in[1], to.count = *in[2];
        return Status();
    });
}

Made make_pairwise_iou(Attributes& attributes) {
    PairwiseIou args;
    attributes.read_if_given("generalised", args.generalised);
    return call<PairwiseIou>(args, [](const Operands& in, PairwiseIou& to) {
        to.a = *in[0], to.b = *in[1];
        return Status();
    });
}

}  // namespace

const std::vector<OpRow>& region_ops() {
    static const std::vector<OpRow> ops = {
        {"cut_padding", 3, 3, make_cut_padding},   {"fast_nms", 5, 5, make_fast_nms},
        {"matrix_nms", 4, 4, make_matrix_nms},     {"nms", 5, 5, make_nms},
        {"pairwise_iou", 2, 2, make_pairwise_iou}, {"paste_masks", 3, 3, make_paste_masks},
        {"roi_align", 2, 2, make_roi_align},       {"roi_align_levels", 2, OpRow::kAny, make_roi_align_levels},
        {"roi_pool", 2, 2, make_roi_pool},         {"soft_nms", 5, 5, make_soft_nms},
    };
    return ops;
}

}  // namespace graphdet
