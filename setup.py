"""Builds the native extension with CMake. All metadata is in pyproject.toml.

`graphdet/compiler`, `graphdet/runtime` and `graphdet/zoo` are symlinks to top-level folders. `find_packages` follows
them, so every package is named, and shipped, once: below `graphdet`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def build_tools() -> list[str]:
    """The tools of the native build that this machine lacks; pip fetches them into the build environment."""
    needed = {"cmake": "cmake>=3.18", "ninja": "ninja"}
    return [package for tool, package in needed.items() if shutil.which(tool) is None]


class CMakeBuild(build_ext):
    """Configure, compile, and leave `_C` where setuptools expects it: `runtime/` for an editable install."""

    def build_extension(self, ext: Extension) -> None:
        """Build one extension; `ext` has no sources, CMakeLists.txt knows them."""
        import pybind11

        out = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        work = Path(self.build_temp).resolve()
        # The cache of an earlier build names tools of a build environment that pip has deleted since.
        (work / "CMakeCache.txt").unlink(missing_ok=True)
        configure = ["cmake", "-S", str(ROOT), "-B", str(work), "-DCMAKE_BUILD_TYPE=Release"]
        configure += [f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
        configure += [f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={out}"]
        if ninja := shutil.which("ninja"):
            configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(work), "--parallel", "2"], check=True)


setup(
    packages=find_packages(include=["graphdet", "graphdet.*"]),
    ext_modules=[Extension("graphdet.runtime._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
    setup_requires=build_tools(),
    zip_safe=False,
)
