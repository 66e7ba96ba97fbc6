"""Which room may import which: data flows one way, and a deployment needs neither torch nor the compiler."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_budget import ROOT, files, name

BASE = {"errors", "records", "_version"}
ALLOWED = {
    "errors": set(),
    "records": {"errors"},
    "_version": set(),
    "ir": BASE | {"ir"},
    "ops": BASE | {"ir", "ops"},
    "blocks": BASE | {"ir", "ops", "blocks"},
    "zoo": BASE | {"ir", "ops", "blocks", "zoo"},
    "runtime": BASE | {"runtime"},
    "compiler": BASE | {"ir", "ops", "runtime", "compiler"},
    "data": BASE | {"data"},
    "draw": BASE | {"draw", "ir"},
    "eval": BASE | {"data", "eval", "runtime"},
    "importers": BASE | {"ir", "ops", "blocks", "zoo", "importers"},
    "train": BASE | {"ir", "zoo", "data", "eval", "compiler", "train", "draw", "runtime", "importers"},
}
SINGLE = {  # one module of a room, where the whole room would be too much
    ("ir", "graphdet.ops"),  # reading a graph's text needs the table of ops filled
    ("compiler", "graphdet.importers.weights"),  # weights come from a file
    ("compiler", "graphdet.eval.parity"),  # the certificate compares detections
}
ANYTHING = {"cli", "__main__", "", "benchmarks", ".ci"}  # what a user drives
HEAVY = {  # packages that stay inside their backend, and the places beside it that may load them
    "torch": ("compiler/backends/torch/", "graphdet/train/"),
    "onnx": ("compiler/backends/onnx/", "graphdet/importers/onnx"),
    "onnxruntime": ("compiler/backends/onnxruntime/", "runtime/adapters/"),
    "openvino": ("compiler/backends/openvino/", "runtime/adapters/"),
    "tensorrt": ("compiler/backends/tensorrt/", "runtime/adapters/"),
    "pycocotools": ("graphdet/eval/", "graphdet/data/"),
}
FREE = ("benchmarks/", ".ci/", "graphdet/cli/")


def room(path: Path) -> str:
    """The room a file belongs to: `ir`, `zoo`, `runtime`, ...; the package's own `__init__` has none."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    inside = parts[1:] if parts[0] == "graphdet" else parts
    return "" if inside == ("__init__",) else inside[0]


def imports(tree: ast.AST) -> Iterator[str]:
    """Modules that a file imports anywhere, but not those for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (f"graphdet.{alias.name}" for alias in names) if module == "graphdet" else (module,)
        yield from imports(node)


@pytest.mark.parametrize("path", files(), ids=name)
def test_imports(path: Path) -> None:
    mine = room(path)
    assert mine in ALLOWED or mine in ANYTHING, (
        f"{mine!r} is a new room: say in {Path(__file__).name} what it may import"
    )
    for module in imports(ast.parse(path.read_text(encoding="utf-8"))):
        top, _, rest = module.partition(".")
        target = rest.split(".")[0]
        if top == "graphdet" and mine in ALLOWED:
            assert target in ALLOWED[mine] or (mine, module) in SINGLE, f"{mine} imports {module}"
        if top in HEAVY:
            assert name(path).startswith((*HEAVY[top], *FREE)), f"{name(path)} imports {module}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import graphdet", ("numpy", "torch", "onnx", "cv2")),
        (
            "import graphdet.zoo; graphdet.zoo.variants()",
            ("torch", "onnx", "onnxruntime", "openvino", "cv2", "graphdet.compiler", "graphdet.runtime"),
        ),
        ("import graphdet.runtime", ("torch", "onnx", "graphdet.ir", "graphdet.compiler")),
        ("import graphdet.cli.main", ("torch", "onnx", "onnxruntime", "openvino", "cv2", "pycocotools")),
    ],
)
def test_what_an_import_loads(statement: str, absent: tuple[str, ...]) -> None:
    code = f"{statement}\nimport sys\nprint([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
