"""Hook point calls: ``calls.py WHO HANDLERS`` reads numbers and prints the seconds of that many calls."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def handlers(count: int) -> list[Callable[[int], int]]:
    """Return this many functions that return their argument."""

    def handler() -> Callable[[int], int]:
        def work(x: int) -> int:
            return x

        return work

    return [handler() for _ in range(count)]


def by_floor(count: int) -> Callable[[], object]:
    """Call functions in a loop, without fault handling, counts or order."""
    functions = handlers(count)
    return lambda: [function(1) for function in functions]


def by_hotload(count: int) -> Callable[[], object]:
    """Call handlers as a host does."""
    from hotload_tui import HookHost
    from hotload_tui.core.hooks.point import Handler

    host = HookHost()
    for number, function in enumerate(handlers(count)):
        name = f"p{number:02}"
        host.swap({name: [Handler("work", function, plugin=name, generation=1, priority=100)]})  # type: ignore[arg-type]
    return lambda: host.call("work", 1)


def by_pluggy(count: int) -> Callable[[], object]:
    """Call handlers as in pluggy's README."""
    import pluggy

    class Specification:
        @pluggy.HookspecMarker("bench")
        def work(self, x: int) -> int:
            """Return a number."""
            raise NotImplementedError

    class Plugin:
        @pluggy.HookimplMarker("bench")
        def work(self, x: int) -> int:
            """Return the argument."""
            return x

    manager = pluggy.PluginManager("bench")
    manager.add_hookspecs(Specification)
    for _ in range(count):
        manager.register(Plugin())
    return lambda: manager.hook.work(x=1)


def by_blinker(count: int) -> Callable[[], object]:
    """Call handlers as in blinker's documentation."""
    import blinker

    signal = blinker.Signal("work")
    for function in handlers(count):
        signal.connect(function, weak=False)
    return lambda: signal.send(1)


if __name__ == "__main__":
    call = globals()[f"by_{sys.argv[1]}"](int(sys.argv[2]))
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(line)):
            call()
        print(time.perf_counter() - started, flush=True)
