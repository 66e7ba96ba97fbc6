"""LVIS's rules, one by one, and on its own annotations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphdet.data import CocoDetection
from graphdet.errors import BadDataset
from graphdet.eval import evaluate_results
from graphdet.eval.lvis import lvis_figures
from graphdet.eval.score import score

CATEGORIES = [{"id": i, "name": n, "frequency": f} for i, n, f in ((1, "a", "r"), (2, "b", "c"), (3, "c", "f"))]
BOX, OTHER = [10.0, 10, 20, 20], [50.0, 50, 20, 20]


def truth(*objects: tuple[int, int, list[float]], absent: Any = (), open_: Any = (), images: int = 2) -> dict[str, Any]:
    """Objects (image, category, box); per image the classes known to be absent, and those not annotated in full."""
    records = [
        {"id": i, "height": 100, "width": 100, "file_name": f"{i}.jpg",
         "neg_category_ids": [c for at, c in absent if at == i],
         "not_exhaustive_category_ids": [c for at, c in open_ if at == i]}
        for i in range(1, images + 1)
    ]  # fmt: skip
    notes = [
        {"id": n, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3]}
        for n, (i, c, b) in enumerate(objects, 1)
    ]
    return {"images": records, "annotations": notes, "categories": CATEGORIES}


def row(image: int, category: int, box: list[float], value: float = 0.9) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": value}


def figures(content: dict[str, Any], *rows: dict[str, Any], kind: str = "bbox") -> dict[str, float]:
    return lvis_figures(content, rows, kind, [i["id"] for i in content["images"]], "pycocotools")


def outlined(entry: dict[str, Any]) -> dict[str, Any]:
    """An annotation with its box as a polygon, or a detection with it as run lengths, and a box that is elsewhere."""
    from pycocotools import mask

    x, y, w, h = entry["bbox"]
    outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    shape = mask.frPyObjects(outline, 100, 100)[0] if "score" in entry else outline
    return entry | {"segmentation": shape, "bbox": [0.0, 0, 5, 5]}


RIGHT = row(1, 1, BOX, 0.5)


@pytest.mark.parametrize(
    ("content", "extra", "expected"),
    [
        (truth((1, 1, BOX)), row(2, 1, BOX), 1.0),  # nobody looked for it there
        (truth((1, 1, BOX), absent=[(2, 1)]), row(2, 1, BOX), 0.5),  # known to be absent
        (truth((1, 1, BOX)), row(1, 1, OTHER), 0.5),  # all of the image's are annotated
        (truth((1, 1, BOX), open_=[(1, 1)]), row(1, 1, OTHER), 1.0),  # not all are
        (truth((1, 1, BOX), absent=[(2, 1)], open_=[(1, 1)]), row(2, 1, OTHER), 0.5),
        (truth((1, 1, BOX), open_=[(1, 2)]), row(1, 1, OTHER), 0.5),  # of another class
    ],
)
def test_what_counts(content: dict[str, Any], extra: dict[str, Any], expected: float) -> None:
    found = figures(content, RIGHT, extra)
    assert [found[k] for k in ("AP", "AP50", "APr")] == pytest.approx([expected] * 3)
    assert found["AR"] == pytest.approx(1)
    assert (found["APc"], found["APf"]) == (-1, -1)


def test_masks_by_the_same_rules() -> None:
    """Masks that fill the boxes of `test_what_counts` give its figures."""
    for content, extra, expected in (
        (truth((1, 1, BOX)), row(2, 1, BOX), 1.0),
        (truth((1, 1, BOX), absent=[(2, 1)]), row(2, 1, BOX), 0.5),
        (truth((1, 1, BOX)), row(1, 1, OTHER), 0.5),
        (truth((1, 1, BOX), open_=[(1, 1)]), row(1, 1, OTHER), 1.0),
    ):
        content["annotations"] = [outlined(n) for n in content["annotations"]]
        found = figures(content, outlined(RIGHT), outlined(extra), kind="segm")
        assert [found[k] for k in ("AP", "AP50", "APr")] == pytest.approx([expected] * 3)


def test_an_open_class_still_finds_its_objects() -> None:
    content = truth((1, 1, BOX), (1, 1, OTHER), open_=[(1, 1)])
    assert figures(content, RIGHT)["AR"] == pytest.approx(0.5)
    assert figures(content, RIGHT, row(1, 1, OTHER, 0.4))["AP"] == pytest.approx(1)


def test_frequencies_and_sizes() -> None:
    content = truth((1, 1, BOX), (1, 2, OTHER), (2, 3, [0, 0, 50, 50]))
    found = figures(content, RIGHT, row(2, 3, [0, 0, 50, 50]))
    assert [found[k] for k in ("AP", "APr", "APc", "APf")] == pytest.approx([2 / 3, 1, 0, 1])
    assert [found[k] for k in ("APs", "APm", "APl")] == pytest.approx([0.5, 1, -1])
    assert [found[k] for k in ("AR", "ARs", "ARm", "ARl")] == pytest.approx([2 / 3, 0.5, 1, -1])


def test_three_hundred_an_image() -> None:
    """Better ones of a class that was not looked for take places, too."""
    content = truth((1, 1, BOX))
    others = [row(1, 2, OTHER, 0.9)] * 300
    assert figures(content, *others[:299], RIGHT)["AP"] == pytest.approx(1)
    assert figures(content, *others, RIGHT)["AP"] == 0


def test_annotations_of_another_kind_are_refused() -> None:
    content = truth((1, 1, BOX))
    del content["images"][0]["neg_category_ids"]
    with pytest.raises(BadDataset, match="neg_category_ids"):
        figures(content, RIGHT)
    assert figures(truth(images=0))["AP"] == -1


def test_images_are_named_by_their_address(tmp_path: Path) -> None:
    content = truth((1, 1, BOX))
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image.pop('file_name')}"
    (tmp_path / "lvis.json").write_text(json.dumps(content))
    assert CocoDetection(tmp_path, tmp_path / "lvis.json").sample(0).image == tmp_path / "val2017/1.jpg"


def moved(box: list[float], rng: np.random.Generator) -> list[float]:
    """A box whose place and sides are off by up to a tenth of its sides."""
    off: list[float] = (np.asarray(box) + np.tile(box[2:], 2) * rng.uniform(-0.1, 0.1, 4)).tolist()
    return off


@pytest.mark.data
@pytest.mark.slow
def test_its_own_annotations(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """Detections that miss and err: with classes looked for everywhere, the figures are COCO's."""
    content = json.loads((shared("data/lvis-val100") / "lvis_val_100.json").read_text())
    rng = np.random.default_rng(0)
    rows = [
        row(n["image_id"], n["category_id"], moved(n["bbox"], rng), float(s))
        for n, s in zip(content["annotations"], rng.random(len(content["annotations"])), strict=True)
        if s > 0.2
    ]
    ids = sorted(i["id"] for i in content["images"])
    (tmp_path / "found.json").write_text(json.dumps(rows))
    (tmp_path / "truth.json").write_text(json.dumps(content))
    result = evaluate_results(tmp_path / "truth.json", tmp_path / "found.json", "lvis")
    usual = score(content, rows, "bbox", ids, "pycocotools")
    found = result.also["lvis"]
    assert 0.1 < found["AP"] < 0.9
    assert found["AP"] >= usual.AP, "LVIS's rules only forgive"
    for image in content["images"]:
        image["not_exhaustive_category_ids"] = []
    plain = lvis_figures(content, rows, "bbox", ids, "pycocotools")
    assert [plain[k] for k in ("AP", "AP50", "AP75", "APs", "APm", "APl")] == pytest.approx(
        [usual.AP, usual.AP50, usual.AP75, usual.APs, usual.APm, usual.APl]
    )
    groups = [plain[k] for k in ("APr", "APc", "APf")]
    assert min(g for g in groups if g >= 0) <= plain["AP"] <= max(groups)
