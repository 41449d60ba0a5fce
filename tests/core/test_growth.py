import gc
import linecache
import logging
import sys
import threading
from collections.abc import Callable

from hotload_tui import Config
from hotload_tui.core.events import PluginRetired
from tests.conftest import Running, Workspace
from tests.counts import RELOADS

Run = Callable[[Config], Running]

_PART = """import dataclasses, enum, functools, logging, typing

logger = logging.getLogger(__name__)
below = logging.getLogger(__name__ + ".some.where")


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Part:
    colour: "Colour" = Colour.RED
    others: "typing.List[Part]" = dataclasses.field(default_factory=list)


@functools.lru_cache
def make():
    part = Part()
    part.others.append(part)
    return part


kept = typing.Optional[Part], typing.Dict[str, Colour]
"""


def counted() -> dict[str, int]:
    """Return the number of objects of each kind that a reload could leave behind."""
    gc.collect()
    prefixes = ("hotload_tui.", "hotplug.")
    objects = [type(thing).__module__ for thing in gc.get_objects()]
    return {
        "modules": len(sys.modules),
        "lines": len(linecache.cache),
        "loggers": len(logging.Logger.manager.loggerDict),
        "threads": threading.active_count(),
        "finders": len(sys.meta_path),
        "objects": sum(1 for module in objects if type(module) is str and module.startswith(prefixes)),
    }


def test_reloads_leave_nothing_behind(workspace: Workspace, run: Run) -> None:
    """Many reloads of a plugin with 20 files leave as many objects as a few reloads do."""
    names = [f"part_{number}" for number in range(19)]
    for name in names:
        workspace[f"greet/{name}.py"] = _PART
    imports = "".join(f"import {name}\n" for name in names)
    register = "\n\ndef register(ctx):\n    part_1.make()\n    ctx.hook('greet', lambda: {})\n"
    workspace["greet"] = imports + register.format(0)
    running = run(workspace.config(keep_generations=2))
    before: dict[str, int] = {}
    for number in range(1, RELOADS + 1):
        workspace["greet"] = imports + register.format(number)
        running.manager.rebuild("greet")
        assert running.wait_for(lambda: bool(running.told(PluginRetired)))
        assert running.told(PluginRetired)[0].memory == "freed"
        assert running.host.call("greet") == [number]
        running.events.clear()
        if number == 10:
            before = counted()
    after = counted()
    grown = after.pop("objects") - before.pop("objects")
    assert grown <= 3 * (RELOADS - 10)  # log lines, of which a host keeps 5,000
    assert after == before
