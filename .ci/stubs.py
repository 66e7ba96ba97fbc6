"""Write runtime/_C.pyi from the extension itself: pybind11 keeps each function's signature in its docstring.

`python .ci/stubs.py` writes the file, `--check` only says whether it is as it should be.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

STUB = Path(__file__).resolve().parent.parent / "runtime" / "_C.pyi"
HEAD = '''"""Native kernels and the plan executor. Contracts (shapes, ties, NaN, empty input) are the headers in `csrc`.

Arrays of another element type or shape raise ValueError. Strided arrays are copied, images and bitmaps are read as they
lie. `make stubs` writes this file.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdet.records import Preprocess
from graphdet.runtime.adapters import Segment
'''
PLAIN = (  # what pybind11 writes -> what a reader wants to see
    (r"typing\.SupportsInt \| typing\.SupportsIndex", "int"),
    (r"typing\.SupportsFloat \| typing\.SupportsIndex", "float"),
    (r'typing\.Annotated\[(collections\.abc\.Sequence\[\w+\]), "FixedSize\(\d+\)"\]', r"\1"),
    (r"numpy\.typing\.NDArray\[numpy\.(\w+)\]", r"NDArray[np.\1]"),
    (r"typing\.Annotated\[numpy\.typing\.ArrayLike, numpy\.(\w+)\]", r"NDArray[np.\1]"),
    (r"\bcollections\.abc\.|\btyping\.|\bgraphdet\.runtime\._C\.", ""),
    (r"\bobject\b", "Any"),
)


def stub(module: ModuleType) -> str:
    """The text of the stub, in the house format."""
    blocks = [HEAD]
    for name, member in sorted(vars(module).items()):
        if inspect.isclass(member):
            methods = [
                _signature(key, vars(member)[key].__doc__ if key != "__init__" else member.__init__.__doc__, "    ")
                for key in sorted(vars(member))
                if callable(vars(member)[key]) and "(self: " in (getattr(member, key).__doc__ or "")
            ]
            blocks.append(f'class {name}:\n    """{inspect.getdoc(member)}"""\n\n' + "\n".join(methods))
        elif inspect.isroutine(member):
            blocks.append(_signature(name, member.__doc__, ""))
    formatter = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(STUB), "-"]
    return subprocess.run(formatter, input="\n".join(blocks), capture_output=True, text=True, check=True).stdout


def _signature(name: str, text: Any, indent: str) -> str:
    line, _, about = str(text).partition("\n")
    for found, wanted in PLAIN:
        line = re.sub(found, wanted, line)
    line = re.sub(r"\(self: \w+", "(self", line)
    about = " ".join(about.split())
    body = f'\n{indent}    """{about}"""\n' if about else " ..."
    return f"{indent}def {line}:{body}"


def main() -> None:
    """Write or check."""
    text = stub(import_module("graphdet.runtime._C"))
    if "--check" not in sys.argv:
        STUB.write_text(text, encoding="utf-8")
    elif STUB.read_text(encoding="utf-8") != text:
        sys.exit("runtime/_C.pyi is not what the extension says; `make stubs` writes it")


if __name__ == "__main__":
    main()
