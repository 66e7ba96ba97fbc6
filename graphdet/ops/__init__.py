"""Every op, declared once: signature, meaning, type rule, cost, lowerings."""

from graphdet.ops.assign import boxes_inside, match_iou, match_simota
from graphdet.ops.assign_dense import match_atss, match_grid, match_points
from graphdet.ops.attention import attention, layer_norm, running_total, sine_encoding
from graphdet.ops.box import (
    anchor_grid,
    as_boxes,
    clip_boxes,
    decode_deltas,
    decode_points,
    encode_deltas,
    encode_points,
    iou,
    point_grid,
    to_image,
    to_net,
)
from graphdet.ops.deform import deform_attention, deform_conv2d
from graphdet.ops.dense import batch_norm, batch_norm_train, conv2d, conv_transpose2d, linear, max_pool, upsample
from graphdet.ops.distance import centreness, decode_distances, encode_distances
from graphdet.ops.dropout import dropout
from graphdet.ops.dynamic import dynamic_dice, mask_bounds, match_instances, matrix_decay
from graphdet.ops.heatmap import draw_centres, peak_focal_loss
from graphdet.ops.loss import balanced_l1, bce, cross_entropy, focal_loss, smooth_l1, soft_cross_entropy
from graphdet.ops.mask import as_masks, crop_masks, paste_masks
from graphdet.ops.matching import class_columns, match_one_to_one
from graphdet.ops.math import (
    absolute,
    add,
    cast,
    div,
    exp,
    greater,
    leaky_relu,
    less,
    log,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    mul,
    relu,
    relu6,
    sigmoid,
    silu,
    sqrt,
    square,
    sub,
    where,
)
from graphdet.ops.mirror import mirror, mirror_boxes
from graphdet.ops.normalise import group_norm
from graphdet.ops.overlap import aspect_gap, distance_iou, largest_overlap, pairwise_iou
from graphdet.ops.padding import cells_inside, cut_padding, map_size
from graphdet.ops.points import point_losses, random_points, read_points
from graphdet.ops.reduce import as_scores, best, best_index, mean_over_processes, one_hot, softmax, total
from graphdet.ops.resize import matmul, resize
from graphdet.ops.roi import roi_align, roi_align_levels, roi_pool
from graphdet.ops.sample import exists, hardest, pick_rows, sample_hardest, sample_mask, sample_spread, stop_gradient
from graphdet.ops.select import nms, select_top, select_top_logits
from graphdet.ops.shape import concat, expand, gather, gather_rows, index, reshape, transpose
from graphdet.ops.suppress import fast_nms, matrix_nms, soft_nms
from graphdet.ops.window import carafe, corner_pool, masked_conv2d

__all__ = [
    "absolute", "add", "anchor_grid", "as_boxes", "as_masks", "as_scores", "aspect_gap", "attention", "balanced_l1",
    "batch_norm", "batch_norm_train", "bce", "best", "best_index", "boxes_inside", "carafe", "cast", "cells_inside",
    "centreness", "class_columns", "clip_boxes", "concat", "conv2d", "conv_transpose2d", "corner_pool", "crop_masks",
    "cross_entropy", "cut_padding", "decode_deltas", "decode_distances", "decode_points", "deform_attention",
    "deform_conv2d", "distance_iou", "div", "draw_centres", "dropout", "dynamic_dice", "encode_deltas",
    "encode_distances", "encode_points", "exists", "exp", "expand", "fast_nms", "focal_loss", "gather", "gather_rows",
    "greater", "group_norm", "hardest", "index", "iou", "largest_overlap", "layer_norm", "leaky_relu", "less",
    "linear", "log", "logical_and", "logical_not", "logical_or", "map_size", "mask_bounds", "masked_conv2d",
    "match_atss", "match_grid", "match_instances", "match_iou", "match_one_to_one", "match_points", "match_simota",
    "matmul", "matrix_decay", "matrix_nms", "max_pool", "maximum", "mean_over_processes", "minimum", "mirror",
    "mirror_boxes", "mul", "nms", "one_hot", "pairwise_iou", "paste_masks", "peak_focal_loss", "pick_rows",
    "point_grid", "point_losses", "random_points", "read_points", "relu", "relu6", "reshape", "resize", "roi_align",
    "roi_align_levels", "roi_pool", "running_total", "sample_hardest", "sample_mask", "sample_spread", "select_top",
    "select_top_logits", "sigmoid", "silu", "sine_encoding", "smooth_l1", "soft_cross_entropy", "soft_nms", "softmax",
    "sqrt", "square", "stop_gradient", "sub", "to_image", "to_net", "total", "transpose", "upsample", "where",
]  # fmt: skip
