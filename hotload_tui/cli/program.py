"""``hotload run app.py``: a program in the process of a host, as ``python app.py`` runs it."""

from __future__ import annotations

import builtins
import io
import runpy
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import NamedTuple

from hotload_tui.core.errors import UsageError


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
        if self.is_module:
            sys.argv = [self.name, *self.arguments]
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_module(self.name, run_name="__main__", alter_sys=True)
            return
        sys.argv = [self.name, *self.arguments]
        sys.path.insert(0, str(Path(self.name).absolute().parent))
        # Not runpy: it removes the module at the end, but threads and exit functions may still need it.
        main = ModuleType("__main__")
        main.__dict__.update(__builtins__=builtins, __file__=self.name)
        sys.modules["__main__"] = main
        with io.open_code(str(Path(self.name).absolute())) as file:
            code = compile(file.read(), self.name, "exec", dont_inherit=True)
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
    while inner is not None and inner.tb_frame.f_code.co_filename in (__file__, runpy.__file__):
        inner = inner.tb_next
    return inner


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait for the threads for which the interpreter would wait."""
    for thread in threads:
        if not thread.daemon and thread not in (threading.main_thread(), threading.current_thread()):
            thread.join()
