"""Figures on corrupted images, with changes made up here; their names and means."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from graphdet.cli.main import main
from graphdet.data import Sample, Scenes, write_coco
from graphdet.data.transforms import Corrupt
from graphdet.data.transforms.policy import _corruptions
from graphdet.errors import BadInput, UnknownName
from graphdet.eval import evaluate_corrupted
from graphdet.eval.robust import BENCHMARK, NAMES, Robustness, parse_corruptions
from graphdet.records import Array, Detections
from graphdet.runtime import write_artefact
from tests.runtime import tiny

SCENES = Scenes(4, 2, size=(64, 64))


@dataclass(frozen=True)
class Darker:
    """Every pixel is multiplied; `blink` by chance alone."""

    name: str
    severity: int

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The changed sample."""
        factor = rng.uniform(0.2, 1) if self.name == "blink" else 1 - self.severity / 10
        return replace(sample, image=np.asarray(sample.pixels() * factor, np.uint8))


class Finder:
    """Knows the truth, and finds in images that are as bright as the original, an image at a time."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def __call__(self, images: list[Path | Array], /) -> list[Detections]:
        """All objects of an image whose brightness is at least 75 percent of its original's, else none."""
        found = []
        for image in images:
            sample = SCENES.sample(len(self.seen) % len(SCENES))
            assert isinstance(image, np.ndarray)
            self.seen.append(float(image.mean() / sample.pixels().mean()))
            keep = len(sample.truth) if self.seen[-1] > 0.75 else 0
            truth = sample.truth.take(np.arange(keep))
            found.append(Detections(truth.boxes, np.ones(keep, np.float32), truth.labels, SCENES.classes, sample.size))
        return found


def run(*names: str, severities: tuple[int, ...] = (1, 4)) -> tuple[Robustness, Finder]:
    engine = Finder()
    return evaluate_corrupted(engine, SCENES, names, severities, corrupt=Darker, progress=False), engine


def test_means_over_corruptions_and_severities() -> None:
    found, engine = run("a", "b")
    assert pytest.approx(1) == found.clean.AP
    assert [found.corrupted["a"][s].AP for s in (1, 4)] == pytest.approx([1, 0])
    assert found.figures("a")["AP"] == found.mean()["AP50"] == found.relative()["AP"] == pytest.approx(0.5)
    assert len(engine.seen) == 4 * 5
    assert found.complete
    record = found.as_dict()
    assert record["bbox"]["mPC"]["AP"] == pytest.approx(0.5)
    assert record["corrupted"]["b"]["4"]["AP"] == 0


def test_chance_depends_on_the_image_alone() -> None:
    (_, one), (_, two) = run("blink", severities=(1, 2)), run("blink", severities=(1, 2))
    assert one.seen == two.seen
    assert one.seen[4:8] == one.seen[8:12]
    assert len(set(one.seen[4:8])) == 4


def test_nothing_to_relate_to() -> None:
    nothing = evaluate_corrupted(
        lambda images: [Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), SCENES.classes)] * len(images),
        SCENES, ["a"], [1], corrupt=Darker, progress=False,
    )  # fmt: skip
    assert nothing.mean()["AP"] == 0
    assert nothing.relative()["AP"] == -1


@pytest.mark.parametrize(("names", "severities"), [((), (1,)), (("a",), ()), (("a",), (0,)), (("a",), (6,))])
def test_bad_requests(names: tuple[str, ...], severities: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match="severities are 1 to 5"):
        run(*names, severities=severities)


def test_an_interrupt_keeps_what_is_done() -> None:
    class Tired(Finder):
        def __call__(self, images: list[Path | Array], /) -> list[Detections]:
            if len(self.seen) == 10:
                raise KeyboardInterrupt
            return super().__call__(images)

    found = evaluate_corrupted(Tired(), SCENES, ["a", "b"], [1], corrupt=Darker, progress=False)
    assert not found.complete
    assert found.clean.complete
    assert found.corrupted["b"][1].images == 2


def test_names() -> None:
    assert len(BENCHMARK) == 15
    assert len(NAMES) == 19
    assert parse_corruptions("benchmark") == BENCHMARK
    assert parse_corruptions("fog, weather,fog") == ("fog", "snow", "frost", "brightness")
    with pytest.raises(UnknownName, match="'fogg'"):
        parse_corruptions("fogg")


def test_every_corruption_of_the_package() -> None:
    """Changes an image, and the same way again from the same seed."""
    package: Any = pytest.importorskip("imagecorruptions")
    assert set(NAMES) == set(package.get_corruption_names("all"))
    sample = SCENES.sample(0)
    for name in NAMES:
        one, two = (Corrupt(name, 3)(sample, np.random.default_rng(1)).pixels() for _ in range(2))
        assert one.shape == sample.pixels().shape
        assert not np.array_equal(one, sample.pixels()), name
        np.testing.assert_array_equal(one, two, name)


@pytest.fixture
def darkening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package whose one corruption takes a fifth of the light away by severity, in the place of the real one."""
    fake, inner = ModuleType("imagecorruptions"), ModuleType("imagecorruptions.corruptions")

    def corrupt(image: Array, corruption_name: str, severity: int) -> Array:
        assert corruption_name == "fog"
        return image * (1 - severity / 5)

    vars(fake).update(corrupt=corrupt, get_corruption_names=lambda subset: ["fog"], corruptions=inner)
    image = ModuleType("skimage")
    vars(image).update(color=None, filters=None, util=None)
    for name, module in (("imagecorruptions", fake), ("imagecorruptions.corruptions", inner), ("skimage", image)):
        monkeypatch.setitem(sys.modules, name, module)
    _corruptions.cache_clear()
    yield
    _corruptions.cache_clear()


@pytest.mark.usefixtures("darkening")
def test_the_option_of_the_command_line(tmp_path: Path) -> None:
    write_artefact(tmp_path / "tiny.gdet", tiny.artefact())
    notes = write_coco(tmp_path, 2, seed=1, size=(64, 64))
    notes.write_text(notes.read_text().replace('"circle"', '"part"'))
    data = f"coco:{tmp_path / 'images'}:{notes}"
    words = ["test", str(tmp_path / "tiny.gdet"), "--data", data, "--corruptions", "fog"]
    done = CliRunner().invoke(main, [*words, "--severities", "1,5", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found["corrupted"]["fog"]) == ["1", "5"]
    assert found["corrupted"]["fog"]["5"]["detections"] == 0 < found["clean"]["detections"], "nothing in black images"
    lines = CliRunner().invoke(main, [*words, "--severities", "1"]).stdout
    assert all(word in lines for word in ("clean", "fog", "mPC", "rPC"))
    assert CliRunner().invoke(main, [*words, "--severities", "a"]).exit_code == 2
    assert CliRunner().invoke(main, [*words[:-1], "snow"]).exit_code == 2
