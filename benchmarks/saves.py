"""From a save to the first call with the new result, and the stalls of the host meanwhile."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from benchmarks.environment import PEERS, hmr_python, peers_python
from benchmarks.figures import FLOOR, OURS, Contest, take_turns
from benchmarks.process import Contestant
from benchmarks.work import Work

_START = 60.0  # seconds that a host with 1,000 plugins may take to compile them
_APART = 0.2  # seconds between two saves of a fast typist


class Shape(NamedTuple):
    """The plugins that are saved."""

    key: str
    work: str
    plugins: int = 1
    lines: int = 50
    parts: bool = False
    only: int | None = None
    """The number of plugins that a save changes; ``None``: all."""


class _Saver(Protocol):
    def save(self) -> tuple[float, float]:
        """Save; return the seconds until the result was seen, and the longest stall."""
        ...


class _Asked:
    """A peer that reports when it saw the awaited result."""

    def __init__(self, process: Contestant, work: Work, only: int | None) -> None:
        self._process, self._work, self._only = process, work, only
        process.hear(_START)

    def save(self) -> tuple[float, float]:
        """Save; return the seconds until the result was seen, and the longest stall."""
        time.sleep(_APART)
        self._process.tell(str(self._work.number + 1))
        self._process.hear()
        begun = time.monotonic()
        self._work.save(self._only)
        seen, stall = map(float, self._process.hear().split())
        return seen - begun, stall


class _Cell(_Asked):
    """IPython: a user saves and then runs a cell (a check during the save would miss later changes)."""

    def save(self) -> tuple[float, float]:
        """Save; return the seconds until the result was seen, and the longest stall."""
        time.sleep(_APART)
        begun = time.monotonic()
        self._process.tell(str(self._work.save(self._only)))
        self._process.hear()
        seen, stall = map(float, self._process.hear().split())
        return seen - begun, stall


class _Telling:
    """A peer that runs the entry script again, which prints its answer."""

    def __init__(self, process: Contestant, work: Work) -> None:
        self._process, self._work = process, work
        self._seen(work.number)
        time.sleep(1)  # the peer begins to watch

    def save(self) -> tuple[float, float]:
        """Save; return the seconds until the result was seen."""
        time.sleep(_APART)
        begun = time.monotonic()
        return self._seen(self._work.save()) - begun, 0.0

    def _seen(self, awaited: int) -> float:
        while True:
            word, *rest = self._process.hear().split() or [""]
            if word == "answer" and int(rest[0]) >= awaited:
                return float(rest[1])


def save_to_live(shape: Shape, rounds: int, peers: tuple[str, ...]) -> Contest:
    """Measure the time from a save to the first call with the new result."""
    with ExitStack() as stack:
        savers = {who: stack.enter_context(_started(who, shape)) for who in _available(peers)}
        samples = take_turns({who: _until_seen(saver) for who, saver in savers.items()}, rounds)
    return Contest(shape.key, shape.work, "ms", samples)


def stall(shape: Shape, rounds: int, peers: tuple[str, ...], objects: int) -> Contest:
    """Measure the longest stall of a 1 ms ticker, from a save to half a second after its result."""
    with ExitStack() as stack:
        savers = {
            who: stack.enter_context(_started(who, shape, objects=objects, linger=0.5))
            for who in _available(peers)
        }
        samples = take_turns({who: _stalled(saver) for who, saver in savers.items()}, rounds)
    return Contest(shape.key, shape.work, "ms", samples)


def grown(sizes: Mapping[int, Shape], rounds: int) -> Contest:
    """Measure a save of one plugin among growing numbers of plugins."""
    with ExitStack() as stack:
        savers = {
            f"{OURS}, {size:,} plugins": stack.enter_context(_started(OURS, shape))
            for size, shape in sizes.items()
        }
        samples = take_turns({who: _until_seen(saver) for who, saver in savers.items()}, rounds)
    return Contest("one-of", "save → live, one of many plugins", "ms", samples)


def _until_seen(saver: _Saver) -> Callable[[], float]:
    return lambda: saver.save()[0]


def _stalled(saver: _Saver) -> Callable[[], float]:
    return lambda: saver.save()[1]


def _available(peers: tuple[str, ...]) -> list[str]:
    everyone = [OURS, *([FLOOR] if sys.platform == "linux" else []), *peers]
    return [who for who in everyone if who != "hmr" or hmr_python() is not None]


@contextmanager
def _started(who: str, shape: Shape, *, objects: int = 0, linger: float = 0.0) -> Iterator[_Saver]:
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder), plugins=shape.plugins, lines=shape.lines, parts=shape.parts)
        watched = work.names[: shape.only]
        arguments = [folder, ",".join(watched), str(objects), str(linger)]
        if who == "hmr":
            command = [str(Path(str(hmr_python())).with_name("hmr")), str(PEERS / "entry.py"), *arguments]
        else:
            python = sys.executable if who in {OURS, FLOOR} else peers_python()
            command = [python, str(PEERS / f"save_{who}.py"), *arguments]
        with Contestant(command, cwd=Path(folder)) as process:
            if who in {"hmr", "restart"}:
                yield _Telling(process, work)
            else:
                yield (_Cell if who == "autoreload" else _Asked)(process, work, shape.only)
