"""What running code holds, and the collector does not see: functions that threads are in, locals."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from types import FrameType, FunctionType

from hotload_tui.core.frames import stacks, traced_now, variables_of

_OWN = f"{__name__.partition('.')[0]}."
_RETIRED = re.compile(r"@g\d+$")


def place(file: str, line: int) -> str:
    """Return a line as a user reads it; the code of retired modules has ``@g<N>`` behind its file."""
    return f"{os.path.basename(_RETIRED.sub('', file))}:{line}"  # noqa: PTH119 - only the name


def running_in(root: str, target: object = None) -> str:
    """Return which thread runs ``target`` (``None``: any code of the modules ``root``), and where it is."""
    code = target.__code__ if type(target) is FunctionType else None
    if target is not None and code is None:
        return ""
    for thread, stack in _threads(stacks()):
        own = [frame for frame in stack if _is_within(frame.f_globals.get("__name__"), root)]
        if own and (code is None or any(frame.f_code is code for frame in own)):
            first, now = own[-1].f_code, own[0]
            start = place(first.co_filename, first.co_firstlineno)
            at = f":{now.f_lineno}"
            if now.f_code.co_filename != first.co_filename:
                at = place(now.f_code.co_filename, now.f_lineno)
            return f"thread '{thread}' running {first.co_qualname} ({start}), now at {at}"
    return ""


def local_among(things: Mapping[int, object]) -> tuple[str, object, str] | None:
    """Return a local variable that is one of ``things``, which, and where it is; ``None`` for none."""
    return _local_among(things, stacks())


def _local_among(
    things: Mapping[int, object], running: Mapping[int, list[FrameType]]
) -> tuple[str, object, str] | None:
    """Look at the stacks that a caller gives: with this frame among them they would be a cycle."""
    traced = traced_now(running)
    for thread, stack in _threads(running):
        for frame in stack:
            for name, value in variables_of(frame, traced).items():
                if things.get(id(value), things) is value:
                    code = frame.f_code
                    at = place(code.co_filename, frame.f_lineno)
                    return f"local '{name}'", value, f" of {code.co_qualname} ({at}) in thread '{thread}'"
    return None


def _threads(running: Mapping[int, list[FrameType]]) -> list[tuple[str, list[FrameType]]]:
    """Return the name of each thread of these ``stacks``, and its frames, the newest first.

    This package's are left out: one that kept itself among its variables would be a cycle.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return [
        (names.get(thread, str(thread)), [frame for frame in stack if not _is_ours(frame)])
        for thread, stack in running.items()
    ]


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith(_OWN)


def _is_within(name: object, root: str) -> bool:
    return type(name) is str and (name == root or name.startswith(f"{root}."))
