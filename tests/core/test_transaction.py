import importlib
import linecache
import sys
import threading
from collections.abc import Callable

import pytest

from hotload_tui import Config, HookHost
from hotload_tui.core.compiler import Compiler
from hotload_tui.core.errors import LoadError, PluginError, RegisterError
from hotload_tui.core.events import PluginFailed
from hotload_tui.core.faults import fault_of
from hotload_tui.core.runtime.loader import Loader
from tests.conftest import Running, Workspace
from tests.counts import HOOKS

SERVING = (
    "def register(ctx):\n    ctx.state['n'] = ['old']\n    ctx.hook('greet', lambda: ctx.state['n'][0])\n"
    "    ctx.hook('other', lambda: 'other')\n"
)

KINDS = {
    "ValueError": "raise ValueError('broken')",
    "StopIteration": "raise StopIteration",
    "SystemExit": "import sys; sys.exit(3)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "CancelledError": "import asyncio; raise asyncio.CancelledError",
    "RecursionError": "f = lambda: f(); f()",
    "MemoryError": "bytearray(1 << 62)",
    "ExceptionGroup": "raise ExceptionGroup('both', [ValueError(), KeyError()])",
    "Own": "raise type('Own', (BaseException,), {'__str__': lambda self: 1 / 0})",
}

# The files of the new version for each place; {} is the line that raises.
PLACES: dict[str, dict[str, str]] = {
    "at import": {"plugin.py": "{}\ndef register(ctx): ...\n"},
    "halfway through a module": {
        "plugin.py": "from . import part\nclass A: ...\nVALUE = 1\nwitness()\n{}\ndef register(ctx): ...\n",
        "part.py": "from . import deeper\n",
        "deeper.py": "",
    },
    "in a module that it imports": {
        "plugin.py": "from . import first, part\ndef register(ctx): ...\n",
        "first.py": "import atexit\n",
        "part.py": "VALUE = 1\nwitness()\n{}\n",
    },
    "in register": {"plugin.py": "def register(ctx):\n    witness()\n    {}\n"},
    "after three of five hooks": {
        "plugin.py": "def register(ctx):\n    from . import part\n    ctx.on_unload(lambda: witness())\n"
        "    ctx.state['n'] = ['new']\n    ctx.state['more'] = 1\n"
        "    ctx.hook('greet', lambda: 'new')\n    ctx.hook('other', lambda: 'new')\n"
        "    ctx.hook('third', lambda: 'new')\n    witness()\n    {}\n"
        "    ctx.hook('fourth', lambda: 'new')\n    ctx.hook('fifth', lambda: 'new')\n",
        "part.py": "import threading\n",
    },
}


def left_behind(host: HookHost, files: set[str]) -> dict[str, object]:
    """Return all process state that a load may change."""
    parent = sys.modules.get("hotplug.greet")
    return {
        "modules": {name for name in sys.modules if name.startswith("hotplug")},
        "attributes": set(vars(parent)) if parent else set(),
        "finders": list(sys.meta_path),
        "lines": {name: entry for name, entry in linecache.cache.items() if name in files},
        "threads": threading.active_count(),
        "handlers": {
            (point.point, handler.plugin, handler.generation)
            for point in host.points()
            for handler in point.handlers
        },
    }


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_left_of_a_load_that_fails(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A failed load leaves no hook, module or state behind, and the old version stays live throughout."""
    importlib.import_module("asyncio")  # a plugin's import of a standard module remains, as it should
    host = HookHost()
    loader = Loader(host, workspace.config())
    seen: list[object] = []
    monkeypatch.setattr("builtins.witness", lambda: seen.append(host.call("greet")), raising=False)

    def load(files: dict[str, str], line: str = "") -> None:
        for file, text in files.items():
            workspace[f"greet/{file}"] = text.replace("{}", line)
        loader.load("greet", Compiler(workspace.compiled).compile(workspace.plugins / "greet").artifact)

    load({"plugin.py": SERVING})
    files = {str(workspace.plugins / "greet" / name) for name in ("plugin.py", "part.py", "first.py")}
    before = left_behind(host, files)
    for kind, line in KINDS.items():
        with pytest.raises(PluginError) as caught:
            load(PLACES[place], line)
        assert type(caught.value) is (RegisterError if "register(ctx)" in str(caught.value) else LoadError)
        fault = fault_of(caught.value, phase="load", plugin="greet", module_path="hotplug")
        assert (fault.type, fault.place is not None) == (kind, True)
        del caught
        assert left_behind(host, files) == before, kind
        answers = [host.call(point) for point in ("greet", "other", "third")]
        assert answers == [["old"], ["other"], []], kind
    assert [value for value in seen if value != ["old"]] == []
    load({"plugin.py": SERVING.replace("['n'] = ['old']", "['seen'] = dict(ctx.state)")})
    assert [gone.generation for gone in loader.retire()] == [1]
    loader.unload("greet")
    loader.retire()


HANDLERS = [
    ("f = lambda: 1\n    ctx.hook('p', f); ctx.hook('p', f)", [1, 1]),
    ("ctx.hook('p', type('Point', (), {}))", ["Point"]),
    ("ctx.hook('p', lambda: 2)", [2]),
    ("ctx.hook('p', [].copy)", [[]]),
    ("ctx.hook('p', 3)", None),
    ("ctx.hook('p', None)", None),
    ("ctx.hook('p', 'name')", None),
    ("ctx.hook('p', Wild())", [4]),
    (f"for n in range({HOOKS}): ctx.hook('p', lambda n=n: n)", list(range(HOOKS))),
    (f"for n in range({HOOKS}): ctx.hook(f'p{{n}}', lambda n=n: n)", []),
]  # fmt: skip
WILD = (
    "class Wild:\n    def __call__(self): return 4\n    def __getattr__(self, name): raise ValueError\n"
    "    def __eq__(self, other): raise SystemExit\n    __hash__ = None\n"
)


@pytest.mark.parametrize(("line", "answer"), HANDLERS)
def test_whatever_is_hooked_works_or_is_a_clear_fault(
    workspace: Workspace, run: Callable[[Config], Running], line: str, answer: list[object] | None
) -> None:
    """Thousands of handlers, duplicates, classes and odd objects work; uncallable objects are faults."""
    workspace["greet"] = f"{WILD}def register(ctx):\n    {line}\n"
    workspace["before"] = "def register(ctx):\n    ctx.hook('q', lambda: 'q')\n"
    running = run(workspace.config())
    if answer is None:
        (event,) = running.told(PluginFailed)
        assert "the handler at hook point 'p' cannot be called: it is a" in event.fault.message
        assert event.fault.place is not None
    else:
        values = running.host.call("p")
        assert [type(value).__name__ if line.startswith("ctx.hook('p', type") else value
                for value in values] == answer  # fmt: skip
        running.manager.rebuild("greet")
        assert len(running.host.call("p")) == len(answer)
    assert running.host.call("q") == ["q"]
