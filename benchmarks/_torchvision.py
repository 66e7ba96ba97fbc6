"""torchvision's CPU operators beside a PyTorch without CUDA.

Its wheels are built for CUDA, whose libraries their CPU code never calls but the loader wants: libraries with the same
names and symbols, whose functions abort, take their place.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

RELEASE = "torchvision==0.28.0"
_DATA = ("allocatorE",)  # symbols that are variables


def load(folder: Path) -> Any:
    """The module `torchvision.ops`, from a wheel that is installed into `folder`. Needs pip, nm and gcc."""
    import_module("torch")
    site = folder / "site"
    if not (site / "torchvision").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), RELEASE]
        subprocess.run(command, check=True)
    library = site / "torchvision" / "_C.so"
    for name, symbols in _missing(library).items():
        ctypes.CDLL(str(_build(folder, name, symbols)), ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(site))
    return import_module("torchvision.ops")


def _missing(library: Path) -> dict[str, list[str]]:
    """The CUDA symbols that the library wants, by the stub that shall have them."""
    listing = subprocess.run(["nm", "-D", "--undefined-only", str(library)], capture_output=True, text=True, check=True)
    names = [line.split()[-1] for line in listing.stdout.splitlines() if "cuda" in line.lower()]
    runtime = [n for n in names if "@libcudart" in n]
    version = runtime[0].rpartition("@")[2] if runtime else "libcudart.so"
    own = [n for n in names if "@" not in n]
    return {version: [n.partition("@")[0] for n in runtime], "libc10_cuda.so": own, "libtorch_cuda.so": []}


def _build(folder: Path, name: str, symbols: list[str]) -> Path:
    lines = ["#include <stdlib.h>"]
    for symbol in symbols:
        if symbol.endswith(_DATA):
            lines.append(f"void *{symbol}[64];")
        elif symbol.startswith("__cuda") or "device_count" in symbol:
            lines.append(f"long {symbol}(void) {{ return 0; }}")  # called while the library is loaded
        else:
            lines.append(f"void {symbol}(void) {{ abort(); }}")
    source, script, out = (folder / f"{name}{end}" for end in (".c", ".map", ""))
    source.write_text("\n".join(lines) + "\n", encoding="ascii")
    script.write_text(
        f"{name} {{ global: *; }};\n" if name.startswith("libcudart") else "{ global: *; };\n", encoding="ascii"
    )
    command = ["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{name}", f"-Wl,--version-script={script}"]
    subprocess.run([*command, "-o", str(out), str(source)], check=True)
    return out
