"""Check this installation: packages, the native extension, targets."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from graphdet.cli._output import emit, facts, json_option, table

PACKAGES = {  # module -> (distribution, command that installs it)
    "numpy": ("numpy", "pip install numpy"),
    "cv2": ("opencv-python-headless", "pip install 'opencv-python-headless<5'"),
    "onnx": ("onnx", "pip install onnx"),
    "onnxruntime": ("onnxruntime", "pip install onnxruntime"),
    "openvino": ("openvino", "pip install openvino"),
    "pycocotools": ("pycocotools", "pip install pycocotools"),
    "torch": ("torch", "pip install 'graphdet[train]'"),
}
TARGETS = {  # target -> modules that building and running need
    "openvino": ("onnx", "openvino"),
    "onnxruntime": ("onnx", "onnxruntime"),
    "onnx": ("onnx", "onnxruntime"),
    "torch": ("torch",),
}
EXTENSION = "graphdet.runtime._C"
NO_HEADERS = "C++ needs ONNX Runtime's headers, which its wheel lacks (CMake's ONNXRUNTIME_INCLUDE_DIR)"
NO_TENSORRT = "C++ needs TensorRT's headers and library, which no wheel has (CMake's TENSORRT_INCLUDE_DIR)"
NO_ADAPTER = "C++ has no adapter"
CPP = {  # target -> what the C++ library needs to run its files, of those whose wheel does not bring it
    "onnxruntime": NO_HEADERS,
    "onnx": NO_HEADERS,
    "tensorrt": NO_TENSORRT,
    "tensorrt-rtx": NO_TENSORRT,
}
CPP_TARGETS = ("tensorrt", "tensorrt-rtx")  # the runtime has them too, but cannot be imported without NumPy


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Import every package, say which targets are available, from C++ too, and how to install what is missing.

    Exits with 1 when the native extension or every target is missing.

    \b
    Example:
      graphdet doctor
    """  # noqa: D301
    packages = {module: probe(module, name, install) for module, (name, install) in PACKAGES.items()}
    extension = probe(EXTENSION, "graphdet", "pip install --force-reinstall graphdet (in a checkout: make native)")
    targets = {
        target: [packages[m]["install"] for m in needed if not packages[m]["loads"]]
        for target, needed in TARGETS.items()
    }
    if as_json:
        available = {
            target: {"available": not missing, "install": missing, "cpp": cpp(target)}
            for target, missing in targets.items()
        }
        available |= {target: {"available": False, "install": [], "cpp": cpp(target)} for target in CPP_TARGETS}
        emit({"packages": packages, "extension": extension, "targets": available})
    else:
        rows = [
            (m, p["version"], "yes" if p["loads"] else "NO", "" if p["loads"] else p["install"])
            for m, p in packages.items()
        ]
        table(("package", "version", "loads", "to mend"), rows)
        facts([("native extension", "loads" if extension["loads"] else f"MISSING: {extension['install']}")])
        verdicts = {t: "available" if not missing else "needs: " + "; ".join(missing) for t, missing in targets.items()}
        verdicts |= dict.fromkeys(CPP_TARGETS, "not from Python")
        facts([(f"target {t}", f"{verdict}; {cpp(t)}") for t, verdict in verdicts.items()])
    if not extension["loads"] or all(targets.values()):
        click.get_current_context().exit(1)


def cpp(target: str) -> str:
    """Whether the C++ library, built here, would run files of a target."""
    if target != "openvino":
        return CPP.get(target, NO_ADAPTER)
    try:
        from openvino.utils import get_cmake_path
    except ImportError:
        return "C++ needs: pip install openvino"
    found = (Path(get_cmake_path()) / "OpenVINOConfig.cmake").exists()
    return "C++ can be built" if found else "C++ needs a package of openvino with its CMake files"


def probe(module: str, distribution: str, install: str) -> dict[str, Any]:
    """Version, whether the module can be imported, why not, and the command that mends it."""
    try:
        found: str | None = version(distribution)
    except PackageNotFoundError:
        found = None
    try:
        loaded = import_module(module)
    except Exception as fault:  # a broken package may raise anything while it is imported
        return {"version": found, "loads": False, "error": str(fault), "install": install}
    return {"version": found or getattr(loaded, "__version__", None), "loads": True, "error": "", "install": install}
