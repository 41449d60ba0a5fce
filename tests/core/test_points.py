"""Typed hook points: used for calls and registrations, and compared with each handler."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from hotload_tui import Config, HookHost, HookPoint, PluginState
from hotload_tui.core.hooks.point import Handler
from tests.conftest import Running, Workspace

SHARED = """
from hotload_tui import HookPoint

@HookPoint
def greet(name: str, *, loud: bool = False) -> str:
    raise NotImplementedError

@HookPoint
def anything(*args: int, **kwargs: object) -> None:
    raise NotImplementedError

@HookPoint
def free(name: str, /) -> float:
    raise NotImplementedError
"""


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide a module with hook points that the program and its plugins import."""
    module = ModuleType("shared")
    exec(SHARED, vars(module))  # as an import would
    monkeypatch.setitem(sys.modules, "shared", module)


def _plugin(handler: str, point: str = "greet") -> str:
    return f"import shared\n\n{handler}\n\ndef register(ctx):\n    ctx.hook(shared.{point}, handler)\n"


FITTING = [
    "def handler(name, *, loud=False): return name",
    "def handler(name: str, *, loud: bool = False) -> str: return name",
    "def handler(name: object, more: int = 3, *, loud: object = None) -> str: return name",
    "def handler(*args, **kwargs): return args[0]",
    "handler = range",  # it has no readable signature
    "async def handler(name: str, *, loud: bool = False) -> str: return name",
    "from __future__ import annotations\ndef handler(name: Unknown, *, loud=False) -> Unknown: return name",
    "from typing import Any\ndef handler(name: Any, *, loud: Any = 0) -> Any: return name",
    "class Answer:\n    def __call__(self, name, *, loud=False): return name\nhandler = Answer()",
]

WRONG = [
    ("def handler(): return ''", "a call with (name, loud=…) gives 'too many positional arguments'", 3),
    ("def handler(who, *, loud=False): return ''", "gives 'missing a required argument: 'who''", 3),
    ("def handler(name): return ''", "gives 'got an unexpected keyword argument 'loud''", 3),
    ("def handler(name, *, loud): return ''", "a call with (name) gives 'missing a required", 3),
    ("\ndef handler(name: int, *, loud=False): return ''", "'name' is str, not int", 4),
    ("def handler(name, *, loud=False) -> int: return 1", "it is to return str, not int", 3),
    ("def handler(name, *, loud=False) -> None: ...", "it is to return str, not None", 3),
    ("async def handler(name, *, loud=False) -> bytes: ...", "it is to return str, not bytes", 3),
]


@pytest.mark.parametrize("handler", FITTING)
def test_a_handler_that_fits_is_live(
    workspace: Workspace, run: Callable[[Config], Running], handler: str
) -> None:
    """A handler that can be called as its hook point says is accepted, annotated or not."""
    future, _, rest = handler.rpartition("annotations\n")
    workspace["greet"] = f"{future}annotations\n{_plugin(rest)}" if future else _plugin(handler)
    running = run(workspace.config())
    assert running.status("greet").state is PluginState.OK, running.status("greet").fault
    assert [place.point for place in running.status("greet").points] == ["greet"]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_handler_that_does_not_fit_is_a_fault(
    workspace: Workspace,
    run: Callable[[Config], Running],
    wrong: tuple[str, str, int],
) -> None:
    """A handler that does not fit is refused; the fault names its line, the problem and the right form."""
    handler, reason, line = wrong
    workspace["greet"] = _plugin(handler)
    fault = run(workspace.config()).fault("greet")
    assert (fault.phase, fault.type) == ("register", "RegisterError")
    assert "does not fit hook point 'greet': " in fault.message
    assert reason in fault.message
    word = "async def" if "async" in handler else "def"
    assert fault.message.endswith(f"write: {word} handler(name: str, *, loud: bool = False) -> str:")
    assert fault.place is not None
    assert (fault.place.file.rpartition("/")[2], fault.place.line) == ("plugin.py", line)


@pytest.mark.parametrize(
    ("point", "handler", "fits"),
    [
        ("anything", "def handler(*numbers: int, **more: object) -> None: ...", True),
        ("anything", "def handler(**more: object) -> None: ...", False),
        ("anything", "def handler(*numbers: int) -> None: ...", False),
        ("free", "def handler(who: str) -> int: ...", True),
        ("free", "def handler(who: str, what: str) -> float: ...", False),
    ],
)
def test_each_kind_of_parameter(
    workspace: Workspace,
    run: Callable[[Config], Running],
    point: str,
    handler: str,
    *,
    fits: bool,
) -> None:
    """Variadic parameters, free names of positional parameters and int for float are understood."""
    workspace["greet"] = _plugin(handler, point)
    assert (run(workspace.config()).status("greet").state is PluginState.OK) is fits


def test_a_decorated_handler_is_compared_too(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """The decorator form also refuses a handler that does not fit."""
    workspace["greet"] = (
        "import shared\n\ndef register(ctx):\n    @ctx.hook(shared.greet)\n    def hello(): ...\n"
    )
    assert "hello() does not fit" in run(workspace.config()).fault("greet").message


def test_a_point_and_its_name_are_one_hook_point() -> None:
    """Calls by the point and by its name reach the same handlers and are counted together."""

    @HookPoint
    def greet(name: str) -> str:
        raise NotImplementedError

    def answer(*args: object, **_: object) -> object:
        return args[0]

    host = HookHost()
    host.swap({"p": [Handler("greet", answer, plugin="p", generation=1, priority=1)]})
    assert host.call(greet, "Ada") == host.call("greet", "Ada") == ["Ada"]
    assert [(type(point.point), point.calls) for point in host.points()] == [(str, 2)]
