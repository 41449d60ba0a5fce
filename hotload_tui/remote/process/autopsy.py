"""Of what a process died that was loading a plugin: its exit status and faulthandler's dump as a fault."""

from __future__ import annotations

import contextlib
import linecache
import re
import signal
import sys
import time
from pathlib import Path
from typing import Final

from hotload_tui.core.plugin import Fault, Frame, Owner, Phase, PluginStatus

CUT_OFF: Final = 97
"""Exit status of a process that can no longer report."""

_FRAME: Final = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_THREAD: Final = re.compile(r"^(?:Current thread|Thread) .*$", re.MULTILINE)
_TIMEOUT: Final = "Timeout ("  # how a dump begins that was written because time was up


def fault_of_death(
    plugin: PluginStatus, phase: Phase, *, returncode: int | None, limit: float, trace: str
) -> Fault:
    """Describe the end of a process that was compiling or loading ``plugin``.

    ``returncode`` is as subprocess has it, ``None`` if the process had to be killed because it had not ended
    after ``limit`` seconds; ``trace`` is faulthandler's dump, or empty.
    """
    if returncode is None or trace.startswith(_TIMEOUT):
        kind, message = "TimeoutError", f"the plugin did not {phase} within {limit:g} s"
    elif returncode == CUT_OFF:
        kind, message = "ProcessDied", "the plugin closed file descriptors that are not its own"
    elif returncode < 0:
        kind = _signal_name(-returncode)
        message = f"the plugin crashed the process: {signal.strsignal(-returncode)}"
    else:
        kind = "ProcessDied"
        message = f"the plugin ended the process with exit status {returncode}, past all handlers (os._exit?)"
    return Fault(phase, plugin.name, kind, message, time.time(), frames=_frames(trace, plugin.path))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _frames(trace: str, plugin_dir: str) -> tuple[Frame, ...]:
    """Return the stack of the thread that executes the plugin, from the plugin's first frame on."""
    stacks = [_stack(part, plugin_dir) for part in _THREAD.split(trace)[1:]]
    own = [stack for stack in stacks if any(frame.owner == "plugin" for frame in stack)]
    if not own:
        return ()
    stack = own[-1]  # faulthandler writes the newest thread first, the main one last
    first = next(index for index, frame in enumerate(stack) if frame.owner == "plugin")
    return tuple(stack[first:])


def _stack(dump: str, plugin_dir: str) -> list[Frame]:
    frames = [_frame(file, int(line), function, plugin_dir) for file, line, function in _FRAME.findall(dump)]
    return frames[::-1]


def _frame(file: str, line: int, function: str, plugin_dir: str) -> Frame:
    source = linecache.getline(file, line).rstrip("\n")
    return Frame(
        file=file,
        line=line,
        function=function,
        owner=_owner(file, plugin_dir),
        lines=(source,) if source else (),
        first_line=line,
    )


def _owner(file: str, plugin_dir: str) -> Owner:
    if Path(file).is_relative_to(plugin_dir) or Path(file).is_relative_to(Path(plugin_dir).resolve()):
        return "plugin"
    import sysconfig  # not for the start of a console

    libraries = (*sysconfig.get_paths().values(), sys.prefix)
    return "library" if any(Path(file).is_relative_to(path) for path in libraries) else "host"


def fault_of_hang(plugin: PluginStatus, phase: Phase, trace: str) -> Fault:
    """Describe how a plugin kept its host from going on; ``trace`` is faulthandler's dump."""
    return Fault(
        phase,
        plugin.name,
        "TimeoutError",
        "the plugin kept the host from going on, so the host was started anew",
        time.time(),
        frames=_frames(trace, plugin.path),
    )


def plugin_in(trace: str, runtime_dir: Path) -> str:
    """Return in whose code the thread was that crashed or held the interpreter; empty: nobody's."""
    _, _, rest = trace.partition("Current thread ")
    current = _THREAD.split(rest)[0]
    for file, _, _ in _FRAME.findall(current):
        with contextlib.suppress(ValueError):
            return Path(file).relative_to(runtime_dir).parts[0]
    return ""
