from collections.abc import Callable

import pluggy
import pytest

from hotload_tui import Config, HookHost
from hotload_tui.core.errors import RefusedError
from hotload_tui.integrations.pluggy import serve_hooks
from tests.conftest import Running, Workspace, answering

spec = pluggy.HookspecMarker("app")
impl = pluggy.HookimplMarker("app")

MARKED = """
import pluggy
from hotload_tui.integrations.pluggy import register_marked

hookimpl = pluggy.HookimplMarker("app")

{}

def register(ctx):
    register_marked(ctx, globals(), "app")
"""


class Hooks:
    """The program's hooks."""

    @spec
    def greet(self, name: str, language: str) -> None:
        """Greet a person."""

    @spec(firstresult=True)
    def find(self, name: str) -> None:
        """Find something."""


class Settled:
    """A plain pluggy plugin."""

    @impl
    def greet(self, name: str) -> str:
        """Greet in the usual way."""
        return f"Good day, {name}"

    @impl
    def find(self, name: str) -> str | None:
        """Return an answer for one name."""
        return "settled" if name == "old" else None


def manager_of_hooks() -> pluggy.PluginManager:
    """Return a pluggy manager with the program's hooks."""
    hooks = pluggy.PluginManager("app")
    hooks.add_hookspecs(Hooks)
    return hooks


def test_hot_plugins_answer_beside_those_of_pluggy(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """A call through pluggy returns the answers of its own plugins, then those of the live hot plugins."""
    workspace["hot"] = MARKED.format("@hookimpl\ndef greet(name):\n    return f'Hi, {name}'")
    running = run(workspace.config())
    hooks = manager_of_hooks()
    hooks.register(Settled())
    serve_hooks(hooks, running.host)
    assert hooks.hook.greet(name="Ada", language="en") == ["Good day, Ada", "Hi, Ada"]
    workspace["hot"] = MARKED.format(
        "@hookimpl\ndef greet(name, language):\n    return f'{language}: {name}'"
    )
    running.manager.rebuild()
    assert hooks.hook.greet(name="Ada", language="en") == ["Good day, Ada", "en: Ada"]


def test_the_first_result_is_pluggys_then_that_of_hot_plugins(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """A first-result hook calls hot plugins only if no pluggy plugin has answered."""
    workspace["hot"] = MARKED.format("@hookimpl(specname='find')\ndef look(name):\n    return 'hot'")
    hooks = manager_of_hooks()
    hooks.register(Settled())
    serve_hooks(hooks, run(workspace.config()).host)
    assert (hooks.hook.find(name="old"), hooks.hook.find(name="new")) == ("settled", "hot")


def test_order_follows_tryfirst_and_trylast(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """``tryfirst`` and ``trylast`` set the order among hot plugins."""
    for name, options in {"a": "trylast=True", "b": "", "c": "tryfirst=True"}.items():
        workspace[name] = MARKED.format(f"@hookimpl({options})\ndef greet():\n    return {name!r}")
    hooks = manager_of_hooks()
    serve_hooks(hooks, run(workspace.config()).host)
    assert hooks.hook.greet(name="", language="") == ["c", "b", "a"]


def test_a_hot_plugin_that_raises_is_fenced(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """An exception of a hot plugin is its fault, and does not reach the program."""
    workspace["bad"] = MARKED.format("@hookimpl\ndef greet():\n    raise ValueError('no')")
    workspace["good"] = MARKED.format("@hookimpl\ndef greet(**everything):\n    return sorted(everything)")
    running = run(workspace.config())
    hooks = manager_of_hooks()
    serve_hooks(hooks, running.host)
    assert hooks.hook.greet(name="", language="") == [["language", "name"]]
    assert running.fault("bad").message == "no"


def test_the_undo_ends_it(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """After the undo, hot plugins do not answer; a second registration of the host is refused."""
    workspace["hot"] = MARKED.format("@hookimpl\ndef greet():\n    return 1")
    host = run(workspace.config()).host
    hooks = manager_of_hooks()
    stop = serve_hooks(hooks, host)
    with pytest.raises(RefusedError, match="registered with pluggy already"):
        serve_hooks(hooks, host)
    stop()
    stop()
    assert hooks.hook.greet(name="", language="") == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "@hookimpl(wrapper=True)\ndef greet():\n    return (yield)",
            "greet: a wrapper around other plugins",
        ),
        ("def greet():\n    return 1", 'no function is marked with pluggy.HookimplMarker("app")'),
    ],
)
def test_what_cannot_be_hot_is_a_fault(
    workspace: Workspace, run: Callable[[Config], Running], source: str, said: str
) -> None:
    """A wrapper, or a plugin without a marked function, is refused with the reason."""
    workspace["hot"] = MARKED.format(source)
    assert said in run(workspace.config()).fault("hot").message


def test_a_historic_hook_is_refused() -> None:
    """A historic hook is refused, because hot plugins come and go."""

    class Historic:
        @spec(historic=True)
        def began(self) -> None:
            """Report a past event."""

    hooks = pluggy.PluginManager("app")
    hooks.add_hookspecs(Historic)
    with pytest.raises(RefusedError, match="the hook began is historic"):
        serve_hooks(hooks, HookHost())


def test_plain_hot_plugins_answer_too(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """A hot plugin without pluggy marks answers by the name of its hook point."""
    workspace["plain"] = answering("x", "find").replace("def answer()", "def answer(name)")
    hooks = manager_of_hooks()
    serve_hooks(hooks, run(workspace.config()).host)
    assert hooks.hook.find(name="n") == "x"


def test_an_argument_called_strict_reaches_the_plugins(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """A pluggy hook may have an argument ``strict``, also if no hot plugin takes it."""

    class Checks:
        @spec
        def check(self, text: str, strict: bool) -> None:  # noqa: FBT001 - the name is the point
            """Check a text."""

    hooks = pluggy.PluginManager("app")
    hooks.add_hookspecs(Checks)
    workspace["one"] = MARKED.format("@hookimpl\ndef check(text): raise ValueError(text)\n")
    running = run(workspace.config())
    serve_hooks(hooks, running.host)
    assert hooks.hook.check(text="a", strict=True) == []
    workspace["two"] = MARKED.format("@hookimpl\ndef check(strict): return strict\n")
    running.manager.scan_and_load_all()
    assert hooks.hook.check(text="a", strict=True) == [True]
