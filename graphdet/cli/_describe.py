"""What `show` tells about a variant, an engine file, a weights file, panoptic segments: a document, printed or JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import click

from graphdet.cli._build import certificate_lines, summary
from graphdet.cli._images import find_images, image_ids, write_picture
from graphdet.cli._output import billion, bytes_text, facts, make_folder, million, table


@dataclass(frozen=True)
class Described:
    """document: JSON-ready · print: the same for people."""

    document: dict[str, Any]
    print: Callable[[], None]


def is_engine(path: Path) -> bool:
    """Whether a file starts as engine files do."""
    from graphdet.runtime.artefact import MAGIC

    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


# --- a variant --------------------------------------------------------------------------------------------------------


def variant(name: str, phase: str, *, summary: bool) -> Described:
    """A variant's graph as text, or its figures. Raises UnknownName."""
    from graphdet import zoo
    from graphdet.ir import to_text, trace

    found = zoo.get(name)
    if summary:
        return _figures(name, phase)
    text = to_text(trace(found, phase))
    return Described({"name": name, "phase": phase, "graph": text}, lambda: click.echo(text, nl=False))


def _figures(name: str, phase: str) -> Described:
    from graphdet import zoo
    from graphdet.cli._variants import facts_of
    from graphdet.compiler.cost import by_scope, cost, critical_path, total
    from graphdet.ir import trace

    found = zoo.get(name)
    known = facts_of(found)
    graph = trace(found, phase)
    ops = Counter(node.name for node in graph.nodes if node.name not in ("input", "param", "const"))
    document: dict[str, Any] = {
        **known.as_dict(),
        "phase": phase,
        "nodes": dict(ops.most_common()),
        "taps": list(graph.taps),
    }
    if phase == "infer":
        height, width = known.size
        costs = cost(graph, {"N": 1, "H": height, "W": width})
        document["multiply_adds_by_scope"] = by_scope(costs)
        document["critical_path"] = total(critical_path(costs))
        document["multiply_adds_by_op"] = _by_op((c.node.name, c.multiply_adds) for c in costs)
    return Described(document, lambda: _print_figures(document))


def _by_op(pairs: Any) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for name, count in pairs:
        sums[name] += count
    return {name: count for name, count in sums.most_common() if count}


def _print_figures(d: dict[str, Any]) -> None:
    height, width = d["size"]
    pairs = [
        ("paper", d["paper"]),
        ("parameters", f"{million(d['parameters'])} M"),
        ("cost", f"{billion(d['multiply_adds'])} G multiply-adds for one image of {height}x{width}"),
        ("critical path", f"{billion(d['critical_path'])} G" if "critical_path" in d else None),
        ("AP", d["ap"]),
        ("classes", d["classes"]),
        ("targets", " ".join(d["targets"])),
        ("by_phase", f"{d['by_phase']} nodes"),
        ("taps", " ".join(d["taps"]) or None),
    ]
    facts(pairs, title=f"{d['name']} ({d['phase']})")
    if "multiply_adds_by_scope" in d:
        rows = [(k or "(none)", billion(v)) for k, v in d["multiply_adds_by_scope"].items()]
        table(("scope", ">G multiply-adds"), rows)
    costs = d.get("multiply_adds_by_op", {})
    table(
        ("op", ">nodes", ">G multiply-adds"),
        [(k, n, billion(costs[k]) if k in costs else None) for k, n in d["nodes"].items()],
    )


# --- an engine file ---------------------------------------------------------------------------------------------------


def engine(path: Path, *, as_graph: bool) -> Described:
    """Header, plan, certificate and blobs of a .gdet file, every checksum verified; or its graph's text."""
    from graphdet.runtime import read_artefact

    artefact = read_artefact(path)
    if as_graph:
        text = artefact.blob("graph").decode("utf-8", "replace")
        return Described({"file": str(path), "graph": text}, lambda: click.echo(text, nl=False))
    artefact.verify()
    header = artefact.header.as_dict()
    pairs = summary(artefact)

    def show() -> None:
        facts(pairs, title=f"{path} ({bytes_text(path.stat().st_size)}), all checksums are right")
        facts([(k, v) for k, v in header["preprocess"].items()], title="pre-processing")
        rows = [
            (i, _step(s), _names(s["inputs"]), _names(s["outputs"]), s.get("line") or None)
            for i, s in enumerate(header["plan"]["steps"])
        ]
        table((">step", "runs", "inputs", "outputs", "declared at"), rows)
        facts(certificate_lines(header["certificate"]) or [("certificate", "none")], title="certificate")
        facts(certificate_lines(header["provenance"]) or [("provenance", "none")], title="provenance")
        table(("blob", ">size", "sha256"), [(b["name"], bytes_text(b["size"]), b["sha256"]) for b in header["blobs"]])

    return Described({"file": str(path), **header}, show)


def _step(step: dict[str, Any]) -> str:
    return f"segment {step['segment']}" if step["kind"] == "segment" else str(step["op"])


def _names(names: list[str | None]) -> str:
    return " ".join("_" if name is None else name for name in names)


# --- a weights file ---------------------------------------------------------------------------------------------------


def weights(path: Path) -> Described:
    """Metadata and the name, dtype and shape of every tensor. Raises MissingFile, BadWeights, HostilePickle."""
    from graphdet.importers import read_weights

    found = read_weights(path)
    tensors = {name: {"dtype": str(a.dtype), "shape": list(a.shape)} for name, a in found.tensors.items()}
    numbers = sum(a.size for a in found.tensors.values())
    meta = {k: v for k, v in found.meta.items() if k != "config"}

    def show() -> None:
        facts([(k, v if len(v) <= 120 else f"{v[:117]}...") for k, v in meta.items()], title=str(path))
        facts([("tensors", len(tensors)), ("numbers", numbers)])
        table(
            ("name", "dtype", "shape"),
            [(n, t["dtype"], "x".join(map(str, t["shape"])) or "scalar") for n, t in tensors.items()],
        )

    return Described({"file": str(path), "meta": meta, "numbers": numbers, "tensors": tensors}, show)


# --- panoptic segments ------------------------------------------------------------------------------------------------


def segments(path: Path, photos: Path | None, out: Path | None) -> Described:
    """Segments of every image of a panoptic json, drawn into `out` where it is given: on the photos, or on grey.

    Raises MissingFile, BadDataset, BadImage.
    """
    import numpy as np

    from graphdet.data import PanopticFile
    from graphdet.data.dataset import read_image
    from graphdet.draw import draw_panoptic
    from graphdet.runtime.preprocess import load_image

    file = PanopticFile(path)
    files = find_images((photos,)) if photos else []
    by_id = dict(zip(image_ids(files), files, strict=True))
    folder = make_folder(out) if out else None
    found: list[dict[str, Any]] = []
    for image in file.images:
        one = file.panoptic(image["id"])
        record = {"id": image["id"], **one.as_dict()}
        if folder:
            if photos and "file_name" in image:  # annotations do not heed the orientation flag, engines do
                ground = read_image(photos / image["file_name"])
            elif image["id"] in by_id:
                ground = load_image(by_id[image["id"]])
            else:
                ground = np.full((*one.map.shape, 3), 127, np.uint8)
            record["picture"] = f"{image['id']}.png"
            write_picture(folder / record["picture"], draw_panoptic(ground, one))
        found.append(record)
    counts = Counter(s["class"] for record in found for s in record["segments"])
    pixels: Counter[str] = Counter()
    for s in chain.from_iterable(record["segments"] for record in found):
        pixels[s["class"]] += s["area"]

    def show() -> None:
        facts([("images", len(found)), ("segments", counts.total()), ("pictures", out)], title=str(path))
        table(("class", ">segments", ">pixels"), [(name, n, pixels[name]) for name, n in counts.most_common()])

    return Described({"file": str(path), "images": found}, show)
