"""``hotload run app.py``: a program in the process of a host, as ``python app.py`` runs it."""

from __future__ import annotations

import builtins
import io
import runpy
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Final, NamedTuple

from hotload_tui.core.errors import UsageError

_OWN_FILES: Final = frozenset({__file__, runpy.run_module.__code__.co_filename})
"""The files of the frames above a program."""


class Program(NamedTuple):
    """A program and its arguments."""

    name: str
    """The path of the file, or the name of the module."""
    arguments: tuple[str, ...] = ()
    is_module: bool = False
    """Whether ``name`` is the name of a module, as after ``python -m``."""

    def check(self) -> None:
        """Raise ``UsageError`` if there is no such file."""
        if not self.is_module and not Path(self.name).is_file():
            raise UsageError(f"no program {self.name}: name a Python file, or a module with -m MODULE")

    def run(self) -> int:
        """Run the program on this thread until it and its non-daemon threads end; return its exit code.

        An error that the program does not catch is printed as the interpreter prints it.
        """
        try:
            self._execute()
        except SystemExit as end:
            return _code(end.code)
        except Exception as error:  # foreign code: the program, whose errors are its own
            trace = _below(error.__traceback__)
            sys.excepthook(type(error), error.with_traceback(trace), trace)
            return 1
        finally:
            _join(threading.enumerate())
        return 0

    def _execute(self) -> None:
        sys.argv = [self.name, *self.arguments]
        if self.is_module:
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_module(self.name, run_name="__main__", alter_sys=True)
            return
        path = str(Path(self.name).absolute())
        sys.path.insert(0, str(Path(path).parent))
        # Not runpy: it removes the module at the end, but threads and exit functions may still need it.
        main = ModuleType("__main__")
        loader = SourceFileLoader("__main__", path)
        main.__dict__.update(__builtins__=builtins, __file__=path, __loader__=loader, __cached__=None)
        sys.modules["__main__"] = main
        with io.open_code(path) as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
        exec(code, main.__dict__)  # noqa: S102 - the program is to run


def _code(value: object) -> int:
    """Return the exit code for the argument of ``sys.exit``, as the interpreter does."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    sys.stderr.write(f"{value}\n")
    return 1


def _below(trace: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback below the frames of this file and of ``runpy``."""
    inner = trace
    while inner is not None and inner.tb_frame.f_code.co_filename in _OWN_FILES:
        inner = inner.tb_next
    return inner


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait for the threads for which the interpreter would wait."""
    for thread in threads:
        if not thread.daemon and thread not in (threading.main_thread(), threading.current_thread()):
            thread.join()
