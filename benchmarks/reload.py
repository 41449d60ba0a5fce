"""From a changed file to the new result, in one process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from hotload_tui import Config, HookHost, HotloadManager
from hotload_tui.core.events import PluginRetired
from hotload_tui.core.hooks.inflight import Version
from hotload_tui.core.hooks.point import Handler

_FILLER = "".join(f"def step_{n}(x):\n    return x + {n}\n\n" for n in range(16))
_APART = 0.05  # seconds between two saves of a fast typist


class TimedHost(HookHost):
    """A host that records the time of its last swap."""

    swapped = 0.0

    def swap(self, changes: Mapping[str, Sequence[Handler]], versions: Sequence[Version] = ()) -> None:
        """Swap, and record the time."""
        super().swap(changes, versions)
        self.swapped = time.perf_counter()


class Sample:
    """A running manager with one plugin of about 50 lines."""

    def __init__(self, *, watched: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.entry = Path(self._folder.name, "plugins", "sample", "plugin.py")
        self.entry.parent.mkdir(parents=True)
        self.answer = 0
        self.edit()
        self.host = TimedHost()
        config = Config(
            runtime_dir=str(self.entry.parent.parent),
            compiled_dir=str(Path(self._folder.name, "compiled")),
            enable_watch=watched,
        )
        self.manager = HotloadManager(self.host, config)
        self.retired = SimpleQueue[PluginRetired]()
        self.manager.subscribe(
            lambda event: self.retired.put(event) if isinstance(event, PluginRetired) else None
        )

    def __enter__(self) -> Self:
        self.manager.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.manager.stop()
        self._folder.cleanup()

    def edit(self) -> None:
        """Save the plugin with another answer."""
        self.answer += 1
        tail = f"def register(ctx):\n    ctx.hook('answer', lambda: {self.answer})\n"
        self.entry.write_text(_FILLER + tail)


def read_compile_execute(sample: Sample, rounds: int) -> list[float]:
    """Measure the minimum of any reload: read, compile, execute."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        code = compile(sample.entry.read_bytes(), str(sample.entry), "exec")
        exec(code, {"__name__": "floor"})
        seconds.append(time.perf_counter() - started)
    return seconds


def reload_alone(sample: Sample, rounds: int, *, to_the_end: bool = False) -> list[float]:
    """Measure a rebuild of a changed plugin until it is live, or until the command returns."""
    seconds = []
    for _ in range(rounds):
        sample.edit()
        started = time.perf_counter()
        sample.manager.rebuild("sample")
        ended = time.perf_counter() if to_the_end else sample.host.swapped
        seconds.append(ended - started)
        sample.retired.get()  # saves are further apart than a retirement takes
    return seconds


def save_to_result(sample: Sample, rounds: int) -> list[float]:
    """Measure from just before a save until a call returns the new result."""
    seconds = []
    for _ in range(rounds):
        time.sleep(_APART)
        started = time.perf_counter()
        sample.edit()
        while sample.host.call("answer") != [sample.answer]:
            time.sleep(0.0002)
        seconds.append(time.perf_counter() - started)
    return seconds


def hook_call(sample: Sample, rounds: int) -> list[float]:
    """Measure a call of a hook point with one handler."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        sample.host.call("answer")
        seconds.append(time.perf_counter() - started)
    return seconds
