"""Large files are compiled by another process: ``compile`` keeps the interpreter from all other threads."""

from __future__ import annotations

import contextlib
import marshal
import os
import re
import subprocess
import sys
from types import CodeType
from typing import NamedTuple

LARGE = 32 << 10
"""Bytes from which on compiling costs about as much as starting a process; see ``benchmarks/NOTES.md``."""

_PATIENCE = 30.0  # seconds
_PYTHON = re.compile(r"(python|pypy)[\d.]*(\.exe)?")
_SCRIPT = """
import marshal, sys, warnings
name, optimize = sys.argv[1:]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    code = compile(sys.stdin.buffer.read(), name, "exec", dont_inherit=True, optimize=int(optimize))
said = [(w.lineno, w.category.__name__, str(w.message)) for w in caught]
sys.stdout.buffer.write(marshal.dumps((sys.hexversion, marshal.dumps(code), said)))
"""


class Compiled(NamedTuple):
    """What the compiler made of a file."""

    code: CodeType
    marshalled: bytes
    warnings: tuple[tuple[int, str, str], ...]
    """Line, category and text of each."""


def compiled_outside(content: bytes, file_name: str) -> Compiled | None:
    """Return the code of a file, or ``None``: it does not compile, or there is nobody who could.

    Then it is to be compiled here, which tells what is wrong.
    """
    # In a program that embeds Python the executable is that program: it must not be started once more.
    if not _PYTHON.fullmatch(os.path.basename(sys.executable or "")):  # noqa: PTH119 - a name only
        return None
    command = [sys.executable, "-I", "-S", "-c", _SCRIPT, file_name, str(sys.flags.optimize)]
    with contextlib.suppress(OSError, ValueError, EOFError, TypeError, subprocess.SubprocessError):
        done = subprocess.run(command, input=content, capture_output=True, timeout=_PATIENCE, check=True)  # noqa: S603 - this very interpreter
        version, marshalled, said = marshal.loads(done.stdout)  # noqa: S302 - of the process just started
        if version == sys.hexversion:
            code = marshal.loads(marshalled)  # noqa: S302 - as above
            if type(code) is CodeType and code.co_filename == file_name:
                return Compiled(code, marshalled, tuple(said))
    return None
