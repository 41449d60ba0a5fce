"""Build one native module, in a process of its own: run by ``native_build``, never imported by the engine.

The standard input is the job as JSON. The working directory is a scratch folder with the sources. The
compiler's messages go to the standard output and error; the exit code is 0 if ``output`` was written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TypedDict


class Job(TypedDict):
    """What to build; paths are relative to the working directory."""

    module: str
    sources: Sequence[str]
    include: Sequence[str]
    flags: Sequence[str]
    output: str
    is_cython: bool
    cargo: str
    """The path of cargo, for a crate of Rust; else empty."""
    path: list[str]
    """Where the host finds modules, in addition to this process."""


def main() -> int:
    """Build the module of the job; return the exit code."""
    job: Job = json.load(sys.stdin)
    if hasattr(os, "nice"):
        os.nice(10)
    if job["cargo"]:
        return _crate(job)
    sys.path += [place for place in job["path"] if place not in sys.path]
    # First: on Python 3.12 and later it provides distutils, with the errors below.
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext
    from setuptools.errors import BaseError, CCompilerError

    folder = os.path.dirname(job["sources"][0]) or "."  # noqa: PTH120 - only a text
    extension = Extension(
        job["module"],
        [*job["sources"]],
        include_dirs=[*job["include"], folder, "."],
        extra_link_args=[*job["flags"]],
    )
    if job["is_cython"]:
        from Cython.Build import cythonize
        from Cython.Compiler.Errors import CompileError

        try:
            [extension] = cythonize([extension], build_dir="generated", quiet=True, force=True)
        except CompileError:
            return 1  # it has printed its messages
    if os.name == "posix":
        # A tab counts as one column. Nobody reads warnings about generated code.
        quiet = ["-w"] if job["is_cython"] else []
        extension.extra_compile_args = ["-g0", "-ftabstop=1", *quiet, *job["flags"]]
    command = build_ext(Distribution({"name": "native", "ext_modules": [extension]}))
    command.build_lib, command.build_temp, command.force = "built", "temporary", True
    command.ensure_finalized()
    try:
        command.run()
    except (BaseError, CCompilerError) as error:
        print(error)  # noqa: T201 - the host reads it
        return 1
    os.replace(command.get_ext_fullpath(extension.name), job["output"])  # noqa: PTH105 - only texts
    return 0


def _crate(job: Job) -> int:
    """Build a crate of Rust without dependencies; return the exit code."""
    name = job["module"].rpartition(".")[2]
    command = [job["cargo"], "build", "--release", "--offline", "--message-format=short"]
    command += ["--target-dir", "target", "--manifest-path", job["sources"][0]]
    if subprocess.run(command, check=False).returncode:  # noqa: S603 - cargo
        return 1
    for library in (f"lib{name}.so", f"lib{name}.dylib", f"{name}.dll"):
        path = f"target/release/{library}"
        if os.path.exists(path):  # noqa: PTH110 - only texts
            os.replace(path, job["output"])  # noqa: PTH105 - only texts
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
