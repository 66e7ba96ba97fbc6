"""Each native kernel against its usual counterpart: NMS, RoIAlign, masks, RLE, pre-processing.

The two take turns, so that other work on the machine slows both; what counts is the ratio, peer time / our time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from _common import ROOT, common, finish, watched

sys.path.insert(0, str(ROOT))  # a checkout needs no installation

from _case import Case, boxes_of, close, measure
from _sampling import sampling_cases

from graphdet.runtime.kernels import kernels


def _peer(vision: Any, target: float) -> tuple[str, float | None]:
    """The peer's name, and the target where it holds: plain PyTorch is no measure."""
    return ("torchvision", target) if vision else ("plain torch", None)


def nms_cases(vision: Any) -> list[Case]:
    """4000 boxes, in 80 classes and as one."""
    import torch

    from graphdet.ops import nms

    native, rng = kernels(), np.random.default_rng(0)
    made = boxes_of(rng, 4000, 800, 1333, 20, 200)[None]
    scores, labels = rng.permutation(4000).astype(np.float32)[None] / 4000, rng.integers(0, 80, (1, 4000))
    b, s, c = (torch.from_numpy(x) for x in (made, scores, labels))

    def case(name: str, agnostic: bool, target: float) -> Case:
        def ours() -> Any:
            return native.nms(made, scores, labels, -1.0, 0.5, keep=0, agnostic=agnostic)

        def peer() -> Any:
            if vision is None:
                return nms.rules["torch"](
                    torch, b, s, c, torch.tensor(-1.0), torch.tensor(0.5), keep=0, agnostic=agnostic
                )[1][0]
            kept = vision.nms(b[0], s[0], 0.5) if agnostic else vision.batched_nms(b[0], s[0], c[0], 0.5)
            return s[0][kept]

        def check(mine: Any, theirs: Any) -> bool:
            count = int(mine[3][0])
            return np.array_equal(mine[1][0, :count], theirs.numpy()[:count])

        return Case(name, *_peer(vision, target), ours, peer, check)

    return [case("NMS 4000 boxes, 80 classes", False, 5), case("NMS 4000 boxes, class-agnostic", True, 8)]


def roi_cases(vision: Any) -> list[Case]:
    """1000 RoIs of 7x7 bins on 256 channels of 200x336."""
    import torch

    from graphdet.ops import roi_align

    native, rng = kernels(), np.random.default_rng(1)
    features = rng.standard_normal((1, 256, 200, 336), dtype=np.float32)
    rois = np.concatenate([np.zeros((1000, 1), np.float32), boxes_of(rng, 1000, 800, 1344, 16, 250)], 1)
    f, r = torch.from_numpy(features), torch.from_numpy(rois)
    gradient = rng.standard_normal((1000, 256, 7, 7), dtype=np.float32)

    def case(name: str, samples: int) -> Case:
        def ours() -> Any:
            return native.roi_align(features, rois, size=(7, 7), scale=0.25, samples=samples)

        def peer() -> Any:
            if vision is None:
                return roi_align.rules["torch"](torch, f, r, size=(7, 7), scale=0.25, samples=samples, aligned=True)
            return vision.roi_align(f, r, (7, 7), 0.25, samples, True)

        return Case(name, *_peer(vision, 5), ours, peer, close)

    def backward() -> Case:
        leaf = torch.from_numpy(features).requires_grad_()
        out, g = vision.roi_align(leaf, r, (7, 7), 0.25, 2, True), torch.from_numpy(gradient)

        def ours() -> Any:
            return native.roi_align_backward(gradient, rois, map=(1, 200, 336), size=(7, 7), scale=0.25, samples=2)

        def peer() -> Any:
            return torch.autograd.grad(out, leaf, g, retain_graph=True)[0]

        return Case("RoIAlign backward, 2x2 samples", "torchvision", None, ours, peer, close)

    cases = [case("RoIAlign 1000 RoIs, 2x2 samples", 2), case("RoIAlign 1000 RoIs, adaptive", 0)]
    return [*cases, backward()] if vision else cases


def mask_cases() -> list[Case]:
    """100 masks of 28x28 into an image, against sampling the whole image for each; and their encoding."""
    import torch
    from pycocotools import mask as coco

    native, rng = kernels(), np.random.default_rng(2)
    height, width, count = 800, 1333, 100
    y, x = np.mgrid[:28, :28]
    blobs = 1 / (1 + np.exp(np.hypot((y - 13.5) / 12, (x - 13.5) / 10) * 8 - 8 + rng.normal(0, 0.3, (count, 28, 28))))
    masks, made = blobs.astype(np.float32), boxes_of(rng, count, height, width, 30, 400)
    total = np.asarray([count])
    m, b = torch.from_numpy(masks)[:, None], torch.from_numpy(made)

    def ours() -> Any:
        return native.paste_masks(masks[None], made[None], total, height=height, width=width)[0]

    def peer() -> Any:
        ys, xs = (torch.arange(0, n, dtype=torch.float32) + 0.5 for n in (height, width))
        down = (ys[None] - b[:, 1:2]) / (b[:, 3:] - b[:, 1:2]) * 2 - 1
        across = (xs[None] - b[:, :1]) / (b[:, 2:3] - b[:, :1]) * 2 - 1
        grid = torch.stack(
            [across[:, None].expand(count, height, width), down[:, :, None].expand(count, height, width)], 3
        )
        return torch.nn.functional.grid_sample(m, grid, align_corners=False)[:, 0] >= 0.5

    def pasted(mine: Any, theirs: Any) -> bool:
        return bool((mine != theirs.numpy()).mean() < 1e-5)

    def straight() -> Any:
        return native.paste_runs(masks[None], made[None], total, height=height, width=width)[0]

    def two_steps() -> Any:
        return coco.encode(np.asfortranarray(peer().numpy().astype(np.uint8).transpose(1, 2, 0)))

    def close_areas(mine: Any, theirs: Any) -> bool:
        areas = native.rle_area(mine, height=height, width=width)
        return bool(np.abs(areas - coco.area(theirs)).max() < 9)

    bitmaps = ours()
    columns = np.asfortranarray(bitmaps.transpose(1, 2, 0))
    coco_layout = columns.transpose(2, 0, 1)

    def same(mine: Any, theirs: Any) -> bool:
        return bool(mine == [e["counts"] for e in theirs])

    return [
        Case("paste 100 masks into 1333x800", "torch grid_sample", 8, ours, peer, pasted),
        Case("paste 100 masks as RLE", "grid_sample, pycocotools", None, straight, two_steps, close_areas),
        Case("RLE encode 100 masks", "pycocotools", 3, lambda: native.rle_encode(coco_layout),
             lambda: coco.encode(columns), same),
        Case("RLE encode 100 row-major masks", "asfortranarray, pycocotools", None, lambda: native.rle_encode(bitmaps),
             lambda: coco.encode(np.asfortranarray(bitmaps.transpose(1, 2, 0))), same),
    ]  # fmt: skip


def preprocess_case() -> Case:
    """A full-HD image into 800x1344, normalised."""
    import cv2

    native = kernels()
    image = np.random.default_rng(3).integers(0, 256, (1080, 1920, 3), np.uint8)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

    def ours() -> Any:
        out = np.empty((3, 800, 1344), np.float32)
        native.preprocess(image, out, height=750, width=1333, mean=mean, std=std, reverse=True)
        return out

    def peer() -> Any:
        out = np.zeros((3, 800, 1344), np.float32)
        resized = cv2.resize(image, (1333, 750), interpolation=cv2.INTER_LINEAR)
        for channel, plane in enumerate(cv2.split(resized)[::-1]):
            view = out[channel, :750, :1333]
            np.subtract(plane, np.float32(mean[channel]), out=view, dtype=np.float32)
            np.divide(view, np.float32(std[channel]), out=view)
        return out

    return Case("pre-process 1920x1080 to 800x1344", "OpenCV, NumPy", 2, ours, peer, np.array_equal)


def iou_case() -> Case:
    """4000 boxes against 100."""
    import torch

    from graphdet.ops import pairwise_iou

    native, rng = kernels(), np.random.default_rng(4)
    a, b = (boxes_of(rng, n, 800, 1333, 20, 200)[None] for n in (20000, 100))
    ta, tb = torch.from_numpy(a), torch.from_numpy(b)

    def peer() -> Any:
        return pairwise_iou.rules["torch"](torch, ta, tb, generalised=False)

    return Case("pairwise IoU 20000 x 100", "plain torch", None, lambda: native.pairwise_iou(a, b), peer, close)


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A row of the table."""
    target = row["target"]
    return {
        "kernel": row["name"],
        "peer": row["peer"],
        "ours ms": f"{row['ours_ms']:.2f}",
        "peer ms": f"{row['peer_ms']:.2f}",
        "ratio": f"{row['ratio']:.1f}",
        "target": "" if target is None else f">= {target:g}" + ("" if row["ratio"] >= target else ", missed"),
        "same": "yes" if row["same_result"] else "NO",
    }


@click.command(help=__doc__)
@click.option(
    "--torchvision", type=click.Path(path_type=Path), help="Compare with torchvision, installed into this folder."
)
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=9, show_default=True)
@click.option("--only", default="", help="Cases whose name contains this.")
@common
def main(torchvision: Path | None, threads: int, rounds: int, only: str, as_json: bool, out: Path | None) -> None:
    """Measure and report."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    kernels().set_threads(threads)
    vision = None
    if torchvision:
        from _torchvision import load

        torchvision.mkdir(parents=True, exist_ok=True)
        vision = load(torchvision)
    makers: list[Callable[[], list[Case]]] = [
        lambda: nms_cases(vision),
        lambda: roi_cases(vision),
        mask_cases,
        lambda: [preprocess_case(), iou_case()],
        lambda: sampling_cases(vision),
    ]
    noise: dict[str, Any] = {}
    with watched(noise):
        rows = [measure(case, rounds) for maker in makers for case in maker() if only in case.name]
    protocol = f"one image, {threads} threads, {rounds} turns of each, medians"
    document = {"protocol": protocol, "noise": noise, "rows": rows}
    finish("ops", document, [cells(row) for row in rows], as_json=as_json, out=out)


if __name__ == "__main__":
    main()
