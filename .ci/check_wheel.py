"""A wheel holds every room and one extension, and works without the checkout: `check_wheel.py graphdet-*.whl`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOMS = ("graphdet", "graphdet/compiler", "graphdet/runtime", "graphdet/zoo")


def faults(names: list[str]) -> list[str]:
    """What is wrong with the list of files in a wheel."""
    found = [f"{room} is missing" for room in ROOMS if f"{room}/__init__.py" not in names]
    extensions = [name for name in names if Path(name).name.startswith("_C.") and name.endswith(".so")]
    if len(extensions) != 1 or not extensions[0].startswith("graphdet/runtime/"):
        found.append(f"expected one graphdet/runtime/_C*.so, found {extensions}")
    tops = {name.split("/")[0] for name in names}
    found += [f"unexpected top-level {top}" for top in sorted(tops) if top != "graphdet" and ".dist-info" not in top]
    found += [f"{name} is missing" for name in ("graphdet/py.typed", "graphdet/runtime/_C.pyi") if name not in names]
    return found


def main(wheel: str) -> int:
    """0 when the wheel is sound; otherwise prints the faults."""
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        wrong = faults(archive.namelist())
        archive.extractall(folder)
        probe = f"import sys; sys.path.insert(0, {folder!r}); import graphdet.runtime._C as c; print(c.__file__)"
        answer = subprocess.run([sys.executable, "-c", probe], cwd=folder, capture_output=True, text=True)
        if not answer.stdout.startswith(folder):
            wrong.append(f"the extension does not load from the wheel: {answer.stdout}{answer.stderr}")
    for fault in wrong:
        print(f"{wheel}: {fault}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
