"""Build one native module, in a process of its own: run by ``native_build``, never imported by the engine.

The standard input is the job as JSON. The working directory is a scratch folder with the sources. The
compiler's messages go to the standard output and error; the exit code is 0 if ``output`` was written.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TypedDict


class Job(TypedDict):
    """What to build; paths are relative to the working directory."""

    module: str
    source: str
    output: str
    is_cython: bool
    path: list[str]
    """Where the host finds modules, in addition to this process."""


def main() -> int:
    """Build the module of the job; return the exit code."""
    job: Job = json.load(sys.stdin)
    if hasattr(os, "nice"):
        os.nice(10)
    sys.path += [place for place in job["path"] if place not in sys.path]
    # First: on Python 3.12 and later it provides distutils, with the errors below.
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext
    from setuptools.errors import BaseError, CCompilerError

    folder = os.path.dirname(job["source"])  # noqa: PTH120 - only a text
    extension = Extension(job["module"], [job["source"]], include_dirs=[folder or ".", "."])
    if job["is_cython"]:
        from Cython.Build import cythonize
        from Cython.Compiler.Errors import CompileError

        try:
            [extension] = cythonize([extension], build_dir="generated", quiet=True, force=True)
        except CompileError:
            return 1  # it has printed its messages
    if os.name == "posix":
        # A tab counts as one column. Nobody reads warnings about generated code.
        extension.extra_compile_args = ["-g0", "-ftabstop=1", *(["-w"] if job["is_cython"] else [])]
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


if __name__ == "__main__":
    sys.exit(main())
