"""The twelve COCO figures, computed by pycocotools or by faster-coco-eval."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Any

import numpy as np

from graphdet.errors import BackendMissing, UnknownName, nearest

BACKENDS = ("auto", "pycocotools", "faster")
METRICS = ("bbox", "segm", "proposal", "lvis", "lvis-segm")
PROPOSALS = (100, 300, 1000)
Json = dict[str, Any]


@dataclass(frozen=True)
class CocoResult:
    """COCO's twelve figures in its order, 0..1, or -1 where nothing was annotated.

    AP: mean over IoU .50:.05:.95 and classes · s, m, l: objects of area below 32², up to 96², above (square pixels) ·
    AR1, AR10, AR100: best recall with so many detections per image · per_class: AP of each class ·
    images, detections: how many were evaluated · complete: False when evaluation was interrupted · also: figures of
    other measures by their name, `segm` (those of masks), `proposal` (see `recalls`), `lvis`
    and `lvis-segm` (see `lvis_figures`) · parts: of data that is joined to be scored apart too (`Concat`), the result
    of each part.
    """

    AP: float
    AP50: float
    AP75: float
    APs: float
    APm: float
    APl: float
    AR1: float
    AR10: float
    AR100: float
    ARs: float
    ARm: float
    ARl: float
    per_class: dict[str, float] = field(default_factory=dict)
    images: int = 0
    detections: int = 0
    complete: bool = True
    also: dict[str, dict[str, float]] = field(default_factory=dict)
    parts: tuple[CocoResult, ...] = ()

    @classmethod
    def of(cls, figures: list[float], per_class: dict[str, float], images: int, detections: int) -> CocoResult:
        """The result with these twelve figures."""
        ap, ap50, ap75, aps, apm, apl, ar1, ar10, ar100, ars, arm, arl = figures
        ar = (ar1, ar10, ar100, ars, arm, arl)
        return cls(ap, ap50, ap75, aps, apm, apl, *ar, per_class, images, detections)

    def figures(self) -> dict[str, float]:
        """The twelve figures by name, in COCO's order."""
        return {f.name: getattr(self, f.name) for f in fields(self)[:12]}

    def named(self) -> dict[str, float]:
        """The twelve figures, and those of the parts by their number: `AP`, ..., `0_AP`, ..., `1_AP`, ..."""
        parts = {f"{i}_{name}": v for i, part in enumerate(self.parts) for name, v in part.named().items()}
        return self.figures() | parts

    def as_dict(self) -> Json:
        """JSON-ready form, figures rounded to six digits."""
        counts = {"images": self.images, "detections": self.detections, "complete": self.complete}
        classes = _rounded(self.per_class)
        also = {name: _rounded(figures) for name, figures in self.also.items()}
        parts = {"parts": [part.as_dict() for part in self.parts]} if self.parts else {}
        return _rounded(self.named()) | {"per_class": classes} | counts | also | parts

    def table(self) -> str:
        """The figures of `named` as aligned text, in percent; a dash where nothing was annotated."""
        found = self.named()
        values, names = ["-" if v < 0 else f"{100 * v:.1f}" for v in found.values()], list(found)
        rows = [(names[i : i + 6], values[i : i + 6]) for i in range(0, len(names), 6)]
        width = max(map(len, names)) + 2
        return "\n".join("".join(f"{cell:>{width}}" for cell in line) for row in rows for line in row)


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in figures.items()}


def choose_backend(name: str) -> str:
    """`pycocotools` or `faster`, from a name of `BACKENDS`."""
    if name not in BACKENDS:
        raise UnknownName(
            f"backend {name!r} is unknown", help=nearest(name, BACKENDS) or "one of " + ", ".join(BACKENDS)
        )
    found = importlib.util.find_spec("faster_coco_eval") is not None
    if name == "faster" and not found:
        raise BackendMissing("backend 'faster' needs faster-coco-eval", help="pip install faster-coco-eval")
    return name if name != "auto" else "faster" if found else "pycocotools"


def score(truth: Json, rows: list[Json], iou_type: str, image_ids: list[int], backend: str) -> CocoResult:
    """Score result rows on some images of an instances object; nothing is printed and no argument is changed."""
    names = [str(c["name"]) for c in truth["categories"]]
    if not image_ids or not names:  # nothing to average, and the libraries fail on it
        return CocoResult.of([-1.0] * 12, dict.fromkeys(names, -1.0), len(image_ids), len(rows))
    evaluation = evaluated(truth, rows, iou_type, image_ids, backend)
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]  # [IoU, recall, class], all areas, 100 each
    per_class = {}
    rank = {c: index for index, c in enumerate(sorted(c["id"] for c in truth["categories"]))}  # the libraries' order
    for category, name in zip(truth["categories"], names, strict=True):
        curve = precision[:, :, rank[category["id"]]]
        valid = curve[curve > -1]
        per_class[name] = float(valid.mean()) if valid.size else -1.0
    return CocoResult.of([float(v) for v in evaluation.stats[:12]], per_class, len(image_ids), len(rows))


def recalls(truth: Json, rows: list[Json], image_ids: list[int], backend: str) -> dict[str, float]:
    """Average recall of boxes whatever their class, over IoU .50:.05:.95: how good proposals are.

    AR100, AR300, AR1000: with so many an image · ARs, ARm, ARl: with 1000, of small, medium and large objects.
    """
    names = [f"AR{count}" for count in PROPOSALS] + ["ARs", "ARm", "ARl"]
    if not image_ids or not truth["categories"]:
        return dict.fromkeys(names, -1.0)
    recall = np.asarray(evaluated(truth, rows, "bbox", image_ids, backend, classless=True).eval["recall"])
    kept = [recall[:, 0, 0, i] for i in range(len(PROPOSALS))] + [recall[:, 0, area, -1] for area in (1, 2, 3)]
    return {n: float(r[r > -1].mean()) if (r > -1).any() else -1.0 for n, r in zip(names, kept, strict=True)}


def evaluated(
    truth: Json, rows: list[Json], iou_type: str, image_ids: list[int], backend: str, *, classless: bool = False,
    overlaps: Sequence[float] = (), most: int = 0,
) -> Any:  # fmt: skip
    """The library's finished evaluation: of boxes whatever their class, at other IoUs, or of so many boxes an image."""
    package = "faster_coco_eval.core" if backend == "faster" else "pycocotools"
    library = importlib.import_module(f"{package}.coco")
    masks = importlib.import_module(f"{package}.mask")
    with contextlib.redirect_stdout(io.StringIO()):  # both libraries report their progress there
        # Matches are marked by annotation id with 0 for "none", so ids are counted anew from 1.
        expected = _index(library, truth, [_complete(a, i) for i, a in enumerate(truth["annotations"], 1)])
        found = _index(library, truth, [_result(r, i, iou_type, masks) for i, r in enumerate(rows, 1)])
        evaluation = _evaluation(backend)(expected, found, iou_type)
        evaluation.params.imgIds = image_ids
        evaluation.params.catIds = [c["id"] for c in truth["categories"]]
        if overlaps:
            evaluation.params.iouThrs = np.asarray(overlaps)
        if most:
            evaluation.params.maxDets = [most]
        if classless:
            evaluation.params.useCats, evaluation.params.maxDets = 0, list(PROPOSALS)
        evaluation.evaluate()
        evaluation.accumulate()
        if not (classless or overlaps or most):
            evaluation.summarize()
    return evaluation


def _evaluation(backend: str) -> Callable[..., Any]:
    if backend == "faster":
        fast: Callable[..., Any] = importlib.import_module("faster_coco_eval").COCOeval_faster
        return fast
    plain: Callable[..., Any] = importlib.import_module("pycocotools.cocoeval").COCOeval
    return plain


def _index(library: ModuleType, truth: Json, annotations: list[Json]) -> object:
    images = [{"id": i["id"], "height": i["height"], "width": i["width"]} for i in truth["images"]]
    coco = library.COCO()
    coco.dataset = {"images": images, "categories": truth["categories"], "annotations": annotations}
    coco.createIndex()
    return coco


def _complete(note: Json, number: int) -> Json:
    area = note["bbox"][2] * note["bbox"][3]
    return {"area": area, "iscrowd": 0, "ignore": 0} | note | {"id": number}


def _result(row: Json, number: int, iou_type: str, masks: ModuleType) -> Json:
    box = row.get("bbox", (0, 0, 0, 0))
    area = box[2] * box[3] if iou_type == "bbox" else float(masks.area(row["segmentation"]))
    return row | {"id": number, "area": area, "iscrowd": 0}
