"""Hot plugins behind pluggy; ``PROBES`` compares each rule of pluggy with plain plugins of the same code."""

from __future__ import annotations

import re
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, cast

import pluggy
import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core.errors import RegisterError
from hotload_tui.integrations.pluggy import serve_hooks
from tests import counts
from tests.conftest import Running, Workspace, answering
from tests.integrations.conftest import Program

spec = pluggy.HookspecMarker("app")
impl = pluggy.HookimplMarker("app")

RECIPES = Path(__file__).parents[2] / "docs" / "recipes.md"
HEAD = 'import pluggy\n\nhookimpl = pluggy.HookimplMarker("app")\n\n'
MARKED = (
    "from hotload_tui.integrations.pluggy import register_marked\n\n{}\n\n"
    'def register(ctx):\n    register_marked(ctx, globals(), "app")\n'
)


def marked(body: str) -> str:
    """Return the source of a hot plugin with functions that are marked for pluggy."""
    return MARKED.format(HEAD + body)


def plain(name: str, body: str) -> ModuleType:
    """Return a plain plugin with the same functions."""
    module = ModuleType(name)
    exec(compile(HEAD + body, f"{name}.py", "exec"), vars(module))
    return module


class Hooks:
    """The program's hooks."""

    @spec
    def greet(self, name: str, language: str) -> None:
        """Greet a person."""

    @spec(firstresult=True)
    def find(self, name: str) -> None:
        """Find something."""

    @spec(historic=True)
    def began(self, number: int) -> None:
        """Report a past event."""

    @spec(warn_on_impl=DeprecationWarning("old"))
    def old(self) -> None:
        """Do nothing any more."""


def manager_of_hooks() -> pluggy.PluginManager:
    """Return a pluggy manager with the program's hooks."""
    hooks = pluggy.PluginManager("app")
    hooks.add_hookspecs(Hooks)
    return hooks


class Later:
    """Hooks that the program specifies later."""

    @spec(firstresult=True)
    def later(self, name: str) -> None:
        """Answer once."""


def greeting(value: str, options: str = "", body: str = "") -> str:
    """Return a function at the hook ``greet``."""
    return f"@hookimpl({options})\ndef greet(name):\n    {body or f'return {value!r}'}\n"


def finding(value: object) -> str:
    """Return a function at the hook ``find``."""
    return f"@hookimpl\ndef find(name):\n    return {value!r}\n"


def wrapping(value: str, options: str = "wrapper=True") -> str:
    """Return a wrapper at the hook ``greet``."""
    return greeting("", options, f"return [{value!r}, *(yield), {value!r}]")


OLD_STYLE = (
    "outcome = yield\n"
    "    try:\n        outcome.force_result([*outcome.get_result(), 'old'])\n"
    "    except ValueError as error:\n        outcome.force_result([str(error)])"
)
RESCUE = "try:\n        return (yield)\n    except ValueError as error:\n        return [str(error)]"
RAISE = "raise ValueError('no')"


def greet(hooks: pluggy.PluginManager) -> object:
    """Call the hook ``greet``."""
    return hooks.hook.greet(name="Ada", language="en")


def find(hooks: pluggy.PluginManager) -> object:
    """Call the hook ``find``."""
    return hooks.hook.find(name="Ada")


def attempt(function: Callable[[], object]) -> object:
    """Return what a function returns, or the type and text of what it raises."""
    try:
        return function()
    except BaseException as error:
        return type(error).__name__, str(error)


def impls(hooks: pluggy.PluginManager) -> object:
    """Return what pluggy tells of the implementations of ``greet``."""
    return [
        (
            each.plugin_name,
            each.function.__name__,
            each.argnames,
            each.kwargnames,
            each.opts,
            each.wrapper,
        )
        for each in hooks.hook.greet.get_hookimpls()
    ]


def names(hooks: pluggy.PluginManager) -> object:
    """Return what pluggy tells of the plugins and their names."""
    pairs = cast("list[tuple[str, ModuleType]]", hooks.list_name_plugin())
    return (
        [
            (name, plugin.__name__, hooks.get_canonical_name(plugin), hooks.get_name(plugin))
            for name, plugin in pairs
        ],
        sorted(plugin.__name__ for plugin in hooks.get_plugins()),
        [(hooks.has_plugin(name), hooks.is_registered(plugin)) for name, plugin in pairs],
    )


def callers(hooks: pluggy.PluginManager) -> object:
    """Return the hooks of each plugin."""
    found = [hooks.get_hookcallers(plugin) or [] for _, plugin in hooks.list_name_plugin()]
    return [sorted(each.name for each in callers) for callers in found]


def blocked(hooks: pluggy.PluginManager) -> object:
    """Block a plugin and the name of a later one."""
    hooks.set_blocked("b")
    state = hooks.is_blocked("b"), hooks.has_plugin("b"), greet(hooks)
    return state, hooks.unblock("b"), [name for name, _ in hooks.list_name_plugin()]


def unregistered(hooks: pluggy.PluginManager) -> object:
    """Unregister a plugin, and register it again."""
    plugin = hooks.unregister(name="a")
    before = greet(hooks)
    hooks.register(plugin, "a")
    return before, greet(hooks), hooks.list_name_plugin()[-1][0]


def subset(hooks: pluggy.PluginManager) -> object:
    """Call a hook without one of the plugins."""
    caller = hooks.subset_hook_caller("greet", [hooks.get_plugin("b")])
    return caller(name="Ada", language="en"), greet(hooks)


def extra(hooks: pluggy.PluginManager) -> object:
    """Call a hook with one function more."""
    return hooks.hook.greet.call_extra([lambda name: f"extra {name}"], {"name": "Ada", "language": "en"})


def later(hooks: pluggy.PluginManager) -> object:
    """Specify a hook after its plugins have registered."""
    before = hooks.hook.later(name="Ada")
    added = attempt(lambda: hooks.add_hookspecs(Later))
    return before, str(added).replace("\\n", "\n").split("\n")[0], hooks.hook.later(name="Ada")


def historic(hooks: pluggy.PluginManager) -> object:
    """Call a historic hook after its plugins have registered."""
    said: list[object] = []
    hooks.hook.began.call_historic(said.append, {"number": 2})
    return said, attempt(lambda: hooks.hook.began(number=1))


def monitored(hooks: pluggy.PluginManager) -> object:
    """Watch the calls of hooks."""
    seen: list[object] = []
    stop = hooks.add_hookcall_monitoring(
        lambda name, impls, kwargs: seen.append((name, [each.plugin_name for each in impls], kwargs)),
        lambda outcome, *_: seen.append(outcome.get_result()),
    )
    greet(hooks)
    stop()
    return seen, greet(hooks)


def nested(hooks: pluggy.PluginManager) -> object:
    """Call hooks from a hook."""
    return hooks.hook.outer(hooks=hooks)


def misuse(hooks: pluggy.PluginManager) -> object:
    """Return how pluggy names a wrapper that yields wrongly, without its file."""
    words = str(attempt(lambda: greet(hooks))).split()
    return words[:4], words[-2:]


class Probe(NamedTuple):
    """Plugins, in the order of their names; those named ``plain…`` stay plain. And what to ask pluggy."""

    plugins: dict[str, str]
    ask: Callable[[pluggy.PluginManager], object] = greet


THREE = {"a": greeting("a"), "b": greeting("b"), "c": greeting("c")}

OUTER = "@hookimpl\ndef outer(hooks): return hooks.hook.greet(name='', language='')\n"

PROBES = {
    "order of equals": Probe(THREE),
    "order of equals among plain plugins": Probe(
        {"a": greeting("a"), "plain": greeting("plain"), "z": greeting("z")}
    ),
    "tryfirst across plain plugins": Probe(
        {"a": greeting("a", "tryfirst=True"), "b": greeting("b", "tryfirst=True"), "plain": greeting("plain")}
    ),
    "trylast across plain plugins": Probe(
        {"plain": greeting("plain"), "y": greeting("y", "trylast=True"), "z": greeting("z", "trylast=True")}
    ),
    "firstresult is the last registered": Probe(
        {"a": finding("a"), "plain": finding("plain"), "z": finding("z")}, find
    ),
    "firstresult skips None": Probe({"a": finding("a"), "plain": finding(None), "z": finding(None)}, find),
    "firstresult ends the call": Probe({"a": f"@hookimpl()\ndef find(): {RAISE}\n", "z": finding(0)}, find),
    "firstresult of nobody": Probe({"a": finding(None)}, find),
    "None is no result": Probe({"a": greeting("a"), "z": greeting("", body="return None")}),
    "wrapper": Probe({"a": wrapping("w"), "plain": greeting("plain"), "z": greeting("z")}),
    "wrappers around wrappers": Probe(
        {"a": wrapping("a"), "b": greeting("b"), "plain": wrapping("p"), "z": wrapping("z")}
    ),
    "order of wrappers": Probe(
        {
            "a": wrapping("a", "wrapper=True, tryfirst=True"),
            "b": wrapping("b"),
            "z": wrapping("z", "wrapper=True, trylast=True"),
        }
    ),
    "hookwrapper": Probe({"a": greeting("", "hookwrapper=True", OLD_STYLE), "plain": greeting("plain")}),
    "wrapper around an exception": Probe(
        {"a": greeting("", body=RAISE), "z": greeting("", "wrapper=True", RESCUE)}
    ),
    "wrapper around a plain exception": Probe(
        {"a": greeting("", "wrapper=True", RESCUE), "plain": greeting("", body=RAISE)}
    ),
    "hookwrapper around an exception": Probe(
        {"a": greeting("", body=RAISE), "z": greeting("", "hookwrapper=True", OLD_STYLE)}
    ),
    "plain wrapper around an exception": Probe(
        {"a": greeting("", body=RAISE), "plain": greeting("", "wrapper=True", RESCUE)}
    ),
    "exception": Probe({"a": greeting("a"), "z": greeting("", body=RAISE)}),
    "exception in a wrapper": Probe(
        {"a": greeting("a"), "z": greeting("", "wrapper=True", f"yield\n    {RAISE}")}
    ),
    "StopIteration": Probe({"a": greeting("", body="raise StopIteration('stop')"), "z": wrapping("w")}),
    "Ctrl-C": Probe({"a": greeting("a"), "z": greeting("", body="raise KeyboardInterrupt('stop')")}),
    "two yields": Probe({"a": greeting("", "wrapper=True", "yield\n    yield")}, misuse),
    "no yield": Probe({"a": greeting("", "wrapper=True", "return 1\n    yield")}, misuse),
    "hookwrapper with two yields": Probe({"a": greeting("", "hookwrapper=True", "yield\n    yield")}, misuse),
    "fewer arguments": Probe(
        {
            "a": "@hookimpl()\ndef greet(): return 1\n",
            "z": "@hookimpl()\ndef greet(language, name): return language, name\n",
        }
    ),
    "default values": Probe({"a": "@hookimpl()\ndef greet(name, language='de'): return name, language\n"}),
    "** gets nothing": Probe({"a": "@hookimpl()\ndef greet(*, more=1, **rest): return more, rest\n"}),
    "missing argument": Probe(
        {"a": "@hookimpl()\ndef later(name, more): return name\n"},
        lambda hooks: attempt(lambda: hooks.hook.later(name="Ada")),
    ),
    "specname": Probe({"a": "@hookimpl(specname='greet')\ndef hello(name): return name\n"}),
    "functions at one hook": Probe(
        {"a": "".join(f"@hookimpl(specname='greet')\ndef {each}(): return {each!r}\n" for each in "yxz")}
    ),
    "method of a class": Probe(
        {"a": "class Kind:\n    @staticmethod\n    def say(name): return name\n\ngreet = hookimpl(Kind.say)"}
    ),
    "lambda": Probe({"a": "greet = hookimpl(lambda name: name)"}),
    "check_pending": Probe(
        {"a": "@hookimpl()\ndef later(): pass\n"}, lambda hooks: str(attempt(hooks.check_pending))[:60]
    ),
    "optionalhook": Probe(
        {"a": "@hookimpl(optionalhook=True)\ndef later(): pass\n"}, lambda hooks: attempt(hooks.check_pending)
    ),
    "later hookspecs": Probe(
        {name: f"@hookimpl()\ndef later(name): return {name!r}\n" for name in ("a", "plain", "z")}, later
    ),
    "later hookspecs that do not fit": Probe(
        {"a": "@hookimpl()\ndef later(): return 1\n", "b": "@hookimpl()\ndef later(name, x=1): return 2\n"},
        later,
    ),
    "set_blocked": Probe(THREE, blocked),
    "unregister": Probe(THREE, unregistered),
    "list_name_plugin": Probe({**THREE, "plain": ""}, names),
    "get_hookimpls": Probe(
        {
            "a": greeting("a", "trylast=True"),
            "b": wrapping("b"),
            "plain": greeting("p"),
            "z": "@hookimpl()\ndef greet(name, language=''): pass\n",
        },
        impls,
    ),
    "get_hookcallers": Probe({"a": greeting("a") + finding("a"), "b": finding("b")}, callers),
    "historic": Probe({"a": "@hookimpl()\ndef began(number): return number\n"}, historic),
    "call_extra": Probe({"a": greeting("a"), "b": greeting("b", "tryfirst=True"), "z": wrapping("z")}, extra),
    "subset_hook_caller": Probe(THREE, subset),
    "monitoring": Probe(THREE, monitored),
    "calls in calls": Probe(
        {"a": greeting("a"), "b": OUTER, "c": greeting("c")},
        nested,
    ),
    "hook without a specification": Probe(
        {"a": "@hookimpl()\ndef free(x): return x\n", "plain": "@hookimpl()\ndef free(y): return y\n"},
        lambda hooks: hooks.hook.free(x=1, y=2),
    ),
}


ADDED = "\n@hookimpl\ndef added():\n    return 1\n"


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_pluggys_rules_hold(workspace: Workspace, run: Callable[[Config], Running], probe: Probe) -> None:
    """Hot plugins give the same result as plain plugins of the same code: at once, and after reloads."""
    ordinary, hot, reloaded = manager_of_hooks(), manager_of_hooks(), manager_of_hooks()
    running = run(workspace.config())
    serve_hooks(hot, running.host)
    serve_hooks(reloaded, running.host)
    mine = [name for name in probe.plugins if not name.startswith("plain")]

    def save(name: str, body: str) -> None:
        workspace[name] = marked(body)
        running.manager.scan_and_load_all()
        assert running.status(name).state is PluginState.OK, running.status(name).fault

    for name, body in probe.plugins.items():
        ordinary.register(plain(name, body), name)
        if name in mine:
            save(name, body)
        else:
            hot.register(plain(name, body), name)
            reloaded.register(plain(name, body), name)
    expected = attempt(lambda: probe.ask(ordinary))
    assert attempt(lambda: probe.ask(hot)) == expected
    for more in (ADDED, "# changed\n"):
        for name in reversed(mine):
            save(name, probe.plugins[name] + more)
    assert attempt(lambda: probe.ask(reloaded)) == expected


REFUSED = {
    "unknown argument": greeting("x").replace("name", "nam"),
    "wrapper without yield": greeting("x", "wrapper=True"),
    "both kinds of wrapper": greeting("", "wrapper=True, hookwrapper=True", "yield"),
    "wrapper of a historic hook": "@hookimpl(wrapper=True)\ndef began():\n    return (yield)",
    "hook that warns": "@hookimpl\ndef old():\n    pass",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_what_pluggy_refuses_fails_to_load(
    workspace: Workspace, run: Callable[[Config], Running], body: str
) -> None:
    """A version that pluggy refuses fails to load with pluggy's words; the previous version stays."""
    if "old" in body:
        with pytest.warns(DeprecationWarning, match="old") as warned:
            manager_of_hooks().register(plain("hot", body), "hot")
        text = str(warned[0].message)
    else:
        with pytest.raises(pluggy.PluginValidationError) as refused:
            manager_of_hooks().register(plain("hot", body), "hot")
        text = str(refused.value)
    workspace["hot"] = marked(greeting("v1"))
    running, hooks = run(workspace.config()), manager_of_hooks()
    serve_hooks(hooks, running.host)
    workspace["hot"] = marked(body)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        running.manager.scan_and_load_all()
    assert running.fault("hot").message == text
    assert running.fault("hot").frames[-1].file.endswith("plugin.py")
    assert greet(hooks) == ["v1"]
    with pytest.raises(RegisterError):
        serve_hooks(refusing(), running.host)


def refusing() -> pluggy.PluginManager:
    """Return a manager whose hook ``greet`` has no argument ``name``."""

    class Other:
        @spec
        def greet(self) -> None:
            """Greet nobody."""

    hooks = pluggy.PluginManager("app")
    hooks.add_hookspecs(Other)
    return hooks


def test_a_plugin_follows_its_versions(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """A kept implementation runs the live version; hooks come and go; a failed load changes nothing."""
    running, hooks = run(workspace.config()), manager_of_hooks()
    serve_hooks(hooks, running.host)
    workspace["hot"] = marked(greeting("v1"))
    running.manager.scan_and_load_all()
    (kept,) = hooks.hook.greet.get_hookimpls()
    plugin = hooks.get_plugin("hot")
    assert plugin is not None
    workspace["hot"] = marked(greeting("v2"))
    running.manager.scan_and_load_all()
    assert (kept.function("Ada"), plugin.greet("Ada"), greet(hooks)) == ("v2", "v2", ["v2"])
    assert hooks.hook.greet.get_hookimpls() == [kept]  # nothing has changed in pluggy
    workspace["hot"] = marked(finding("v3"))
    running.manager.scan_and_load_all()
    assert (greet(hooks), find(hooks), hooks.get_plugin("hot"), hasattr(plugin, "greet")) == (
        [],
        "v3",
        plugin,
        False,
    )
    workspace["hot"] = marked(greeting("v4")) + "\nraise ValueError\n"
    running.manager.scan_and_load_all()
    assert (greet(hooks), find(hooks)) == ([], "v3")
    workspace["hot"] = answering("x", "unspecified")
    running.manager.scan_and_load_all()
    assert (hooks.list_name_plugin(), find(hooks)) == ([], None)
    workspace["hot"] = marked(greeting("v6"))
    running.manager.scan_and_load_all()
    running.manager.disable("hot")
    assert (hooks.list_name_plugin(), greet(hooks)) == ([], [])


HEARD = "from program import heard\n@hookimpl\ndef began(number):\n    {}\n"


REPORTER_CLASS = (
    HEAD
    + """
class Plugin:
    def __init__(self, word):
        self.word = word
    @property
    def trap(self):
        raise ValueError
    @hookimpl
    def greet(self, name):
        self.word += "!"
        return self.word, name
    @hookimpl(wrapper=True, specname="greet")
    def around(self):
        return [*(yield), self.word]
    @hookimpl(specname="greet")
    @classmethod
    def of_class(cls, name):
        return cls.__name__, name
    @hookimpl(specname="greet")
    @staticmethod
    def static(name):
        return name
"""
)


def test_an_object_is_a_plugin(program: Program) -> None:
    """The marked methods of an object answer as in plain pluggy; each version has an object of its own."""
    space: dict[str, Callable[[str], object]] = {}
    exec(REPORTER_CLASS, space)
    hooks, ordinary = manager_of_hooks(), manager_of_hooks()
    ordinary.register(space["Plugin"]("v1"))
    serve_hooks(hooks, program.running.host)
    register = "from hotload_tui.integrations.pluggy import register_marked\ndef register(ctx):\n"
    body = f"{REPORTER_CLASS}\n{register}    register_marked(ctx, Plugin('VERSION'), 'app')\n"
    program.save(body.replace("VERSION", "v1"))
    assert [greet(hooks), greet(hooks)] == [greet(ordinary), greet(ordinary)]
    program.save(body.replace("VERSION", "v2"))
    assert str(greet(hooks)) == str(greet(ordinary)).replace("v1!!!", "v2!")


def test_functions_without_a_name_of_their_own_take_part(program: Program) -> None:
    """Lambdas in ``register``, and several objects of a class, answer, and follow their versions."""
    hooks = manager_of_hooks()
    serve_hooks(hooks, program.running.host)
    register = "from hotload_tui.integrations.pluggy import register_marked\ndef register(ctx):\n"
    two = "    for each in 'ab':\n        register_marked(ctx, Plugin(each + VERSION), 'app')\n"
    lambdas = "    ctx.hook('find', lambda: None)\n    ctx.hook('find', lambda name: name + VERSION)\n"
    for version in ("1", "2"):
        program.save(f"VERSION = '{version}'\n{REPORTER_CLASS}\n{register}{two}{lambdas}")
        words = [each[0] for each in greet(hooks) if isinstance(each, tuple)]  # type: ignore[attr-defined]
        assert [each for each in words if "!" in each] == [f"b{version}!", f"a{version}!"]
        assert find(hooks) == f"Ada{version}"


def test_a_blocked_name_stays_out(program: Program) -> None:
    """A hot plugin with a blocked name is not registered; after that, it is when it is enabled again."""
    hooks = manager_of_hooks()
    hooks.set_blocked("it")
    serve_hooks(hooks, program.running.host)
    program.save(marked(greeting("x")))
    assert (greet(hooks), hooks.get_plugins()) == ([], set())
    hooks.unblock("it")
    program.save(marked(greeting("y")))
    assert greet(hooks) == []
    program.running.manager.disable("it")
    program.running.manager.enable("it")
    assert greet(hooks) == ["y"]


def test_pluggy_keeps_no_version(program: Program) -> None:
    """A replaced version and a failed one are freed, also if the plugin keeps its context."""
    hooks = manager_of_hooks()
    serve_hooks(hooks, program.running.host)
    keeps = "\n    global kept\n    kept = ctx\n"
    for body in (greeting("x"), greeting("y"), REFUSED["unknown argument"]):
        program.save(marked(body) + keeps)
    assert program.problem().startswith("Plugin 'it' for hook 'greet'")
    program.save(marked(finding("x")) + keeps)
    assert program.running.wait_for(lambda: program.running.status("it").memory == "freed")
    assert find(hooks) == "x"


def test_a_historic_hook_is_called_once(program: Program) -> None:
    """A hot plugin hears the past calls of a historic hook once, however often it reloads."""
    said: list[object] = []
    program.heard = []
    hooks = manager_of_hooks()
    hooks.hook.began.call_historic(said.append, {"number": 1})
    serve_hooks(hooks, program.running.host)
    for version in (1, 2):
        program.save(marked(HEARD.format(f"heard.append(number)\n    return {version}")))
    hooks.hook.began.call_historic(said.append, {"number": 2})
    assert (program.heard, said) == ([1, 2], [1, 2])
    program.save(answering(0, "no hook of pluggy"))
    program.save(marked(HEARD.format("raise ValueError(number)")))
    assert program.problem().startswith("1")


def test_an_exception_is_a_fault_and_reaches_the_program(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """An exception of a hot plugin is its fault; an exception of another plugin, or Ctrl-C, is none."""
    workspace["bad"] = marked(greeting("", body=RAISE))
    workspace["caller"] = marked(
        "@hookimpl\ndef outer(hooks):\n    return hooks.hook.greet(name='', language='')"
    )
    workspace["wrapper"] = marked(greeting("", "wrapper=True", "return (yield)"))
    running, hooks = run(workspace.config()), manager_of_hooks()
    serve_hooks(hooks, running.host)
    with pytest.raises(ValueError, match="no"):
        nested(hooks)
    assert running.fault("bad").call == "greet(name='', language='')"
    assert [running.status(name).fault for name in ("caller", "wrapper")] == [None, None]
    figures = {each.point: (each.calls, each.handlers) for each in running.host.points()}
    calls, (handler,) = figures["greet"]
    assert (calls, handler.calls, handler.faults, figures["greet (wrapper)"][0]) == (1, 1, 1, 1)


def test_one_call_sees_one_version(program: Program) -> None:
    """A call in which plugins reload goes on with the old versions; what plain plugins call is new."""
    hooks = manager_of_hooks()
    serve_hooks(hooks, program.running.host)

    def save(version: int) -> None:
        for name in ("a", "b"):
            program.workspace[name] = marked(
                "\n".join(
                    f"@hookimpl(specname='greet')\ndef f{place}(): return '{name}{version}'\n"
                    for place in range(version)
                )
                + wrapping(f"{name}{version}")
            )
        program.running.manager.scan_and_load_all()

    class Between:
        now: object = None

        @impl(tryfirst=True)
        def greet(self) -> str:
            """Reload all plugins, once, and call the hook again."""
            if self.now is None:
                self.now = ()
                save(2)
                self.now = greet(hooks)
            return "plain"

    save(1)
    between = Between()
    hooks.register(between)
    assert greet(hooks) == ["b1", "a1", "plain", "b1", "a1", "a1", "b1"]
    new = ["b2", "a2", "plain", "b2", "b2", "a2", "a2", "a2", "b2"]
    assert (between.now, greet(hooks)) == (new, new)


def test_only_calls_of_hot_plugins_are_in_flight(program: Program) -> None:
    """A call that reaches no hot plugin, or no longer, keeps no version from retiring."""
    flight, hooks = program.running.host.flight, manager_of_hooks()
    serve_hooks(hooks, program.running.host)

    class Look:
        @impl
        def greet(self) -> int:
            """Return the number of calls in flight."""
            return len(flight.table.calls)

    hooks.register(Look())
    seen = []
    for body in (finding("x"), greeting("y"), finding("x")):
        program.save(marked(body))
        seen.append(greet(hooks))
    assert seen == [[0], ["y", 1], [0]]


def test_old_code_calls_old_code(program: Program) -> None:
    """What a hot plugin calls through a hook has the versions that its own call began with."""
    hooks = program.hooks = manager_of_hooks()
    serve_hooks(hooks, program.running.host)
    program.save(marked(greeting("old")), "b")
    program.reload = lambda: program.save(
        marked("@hookimpl(specname='greet')\ndef other():\n    return 'new'"), "b"
    )
    program.save(
        marked(
            "import program\n@hookimpl\ndef find():\n    program.reload()\n"
            "    return program.hooks.hook.greet(name='', language='')"
        ),
        "a",
    )
    assert (find(hooks), greet(hooks)) == (["old"], ["new"])


def test_threads_see_all_plugins_of_one_version(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """Four threads call a hook during reloads that change functions and hooks: no call sees none or two."""
    running, hooks = run(workspace.config()), manager_of_hooks()
    serve_hooks(hooks, running.host)
    seen: set[tuple[str, ...]] = set()
    is_over = threading.Event()

    def save(version: int) -> None:
        for name in ("a", "b"):
            workspace[name] = marked(
                f"@hookimpl(specname='greet')\ndef greet_{version % 3}():\n    return '{name}{version}'"
            )
        running.manager.scan_and_load_all()

    def call() -> None:
        while not is_over.is_set():
            seen.add(tuple(greet(hooks)))  # type: ignore[arg-type] # a list of strings

    save(0)
    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(1, counts.PLUGGY_RELOADS):
        save(version)
    is_over.set()
    for thread in threads:
        thread.join()
    assert seen <= {(f"b{version}", f"a{version}") for version in range(counts.PLUGGY_RELOADS)}


def test_a_plugin_may_load_another_in_a_hook(program: Program) -> None:
    """A plugin that is loaded by a call of another one hears the past calls of a historic hook, too."""
    program.heard = []
    hooks = manager_of_hooks()
    serve_hooks(hooks, program.running.host)
    program.load = lambda: program.save(marked(HEARD.format("heard.append(-number)")), "b")
    program.save(marked("import program\n" + HEARD.format("heard.append(number); program.load()")), "a")
    hooks.hook.began.call_historic(kwargs={"number": 1})
    assert program.heard == [1, -1]


REPORTER = """
from program import said
from hotload_tui.integrations.pluggy import register_marked

def pytest_configure(config):
    said.append("configured")

def pytest_runtest_logreport(report):
    if report.when == "call":
        said.append(f"VERSION {report.nodeid.split('::')[1]} {report.outcome}")

def register(ctx):
    register_marked(ctx, globals(), "pytest")
"""
CASES = """
import program

def test_one():
    assert program.said == ["configured"]

def test_two():
    program.save_next()

def test_three():
    program.save_broken()
"""


def test_pytest_has_a_hot_reporter(program: Program, tmp_path: Path) -> None:
    """A reporter for pytest is configured once, and reports with its new version after a save in a test."""
    program.said = []
    program.save_next = lambda: program.save(REPORTER.replace("VERSION", "2"))
    program.save_broken = lambda: program.save(REPORTER.replace("VERSION", "3") + "raise ValueError")
    program.save(REPORTER.replace("VERSION", "1"))
    names: list[str] = []

    class Host:
        def pytest_configure(self, config: pytest.Config) -> None:
            """Let hot plugins be plugins of this run."""
            serve_hooks(config.pluginmanager, program.running.host)
            names.extend(name for name, _ in config.pluginmanager.list_name_plugin())

    file = tmp_path / "test_cases.py"
    file.write_text(CASES)
    options = ["-q", "-s", "-c", str(tmp_path / "pytest.ini"), "-p", "no:cacheprovider", "-p", "no:asyncio"]
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    assert pytest.main([*options, "-p", "no:xdist", str(file)], plugins=[Host()]) == 0
    expected = ["configured", "1 test_one passed", "2 test_two passed", "2 test_three passed"]
    assert (program.said, "it" in names) == (expected, True)


def test_the_recipe_for_pytest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The documented conftest lets the documented plugin report."""
    blocks = dict(re.findall(r"^```python (\S+)\n(.*?)^```", RECIPES.read_text(), re.MULTILINE | re.DOTALL))
    for file, text in {
        "plugins/report/plugin.py": blocks["plugins/report/plugin.py"],
        "pytest.ini": "[pytest]\n",
        "test_it.py": "def test_it(): pass\n",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    monkeypatch.chdir(tmp_path)
    host = ModuleType("host")
    exec(blocks["conftest.py"], vars(host))
    options = ["-v", "-s", "-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:xdist", str(tmp_path)]
    assert pytest.main(options, plugins=[host]) == 0
    assert "::test_it YES" in capsys.readouterr().out


def test_a_version_on_trial_takes_part(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version whose trial began before the program served the hooks is registered with its swap."""
    host, hooks, late = program.running.host, manager_of_hooks(), refusing()
    serve_hooks(hooks, host)
    serve_hooks(late, host)
    monkeypatch.setattr(host, "check", lambda *_: None)
    program.save(marked(greeting("x")))
    assert (greet(hooks), late.list_name_plugin()) == (["x"], [])


def test_a_name_that_is_taken_is_refused(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """A hot plugin with the name of a plain plugin does not load; if it is live, the call is refused."""
    running, hooks, late = run(workspace.config()), manager_of_hooks(), manager_of_hooks()
    for each in (hooks, late):
        each.register(plain("hot", greeting("plain")), "hot")
    serve_hooks(hooks, running.host)
    workspace["hot"] = marked(greeting("hot"))
    running.manager.scan_and_load_all()
    assert 'a plugin "hot" is registered with pluggy already' in running.fault("hot").message
    hooks.unregister(name="hot")
    running.manager.rebuild()
    assert greet(hooks) == ["hot"]
    with pytest.raises(RegisterError, match="registered with pluggy already"):
        serve_hooks(late, running.host)


def test_a_reload_that_a_call_of_a_hook_asks_for_does_not_wait_for_that_call(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """A plugin of the program may reload a plugin that leaves first, while a wrapper of that one waits."""
    body = "RELOAD = 'replace'\n@hookimpl(wrapper=True)\ndef greet(name, language):\n    return (yield)\n"
    workspace["hot"] = marked(body)
    running, hooks, waited = run(workspace.config(drain_timeout=30.0)), manager_of_hooks(), list[float]()

    def reload() -> None:
        began = time.monotonic()
        running.manager.rebuild("hot", force=True)
        waited.append(time.monotonic() - began)

    asking = plain("asking", "@hookimpl\ndef greet(name, language):\n    reload()\n")
    vars(asking)["reload"] = reload
    hooks.register(asking)
    serve_hooks(hooks, running.host)
    assert greet(hooks) == []
    assert running.status("hot").generation == 2
    assert waited[0] < 15  # a wait takes 30 s


def test_the_undo_ends_it(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """After the undo, there are no hot plugins; the plain ones go on."""
    workspace["hot"] = marked(greeting("hot"))
    running, hooks = run(workspace.config()), manager_of_hooks()
    hooks.register(plain("plain", greeting("plain")), "plain")
    stop = serve_hooks(hooks, running.host)
    assert greet(hooks) == ["hot", "plain"]
    stop()
    stop()
    workspace["hot"] = marked(greeting("v2"))
    running.manager.rebuild()
    assert (greet(hooks), [name for name, _ in hooks.list_name_plugin()]) == (["plain"], ["plain"])
    serve_hooks(hooks, running.host)
    assert greet(hooks) == ["v2", "plain"]


def test_plain_handlers_answer_too(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """A handler without a mark answers a specified hook with the name of its hook point."""
    workspace["plain"] = (
        "def first(name, language): return language\ndef last(name): return name\n"
        "def register(ctx):\n    ctx.hook('greet', last, priority=200)\n"
        "    ctx.hook('greet', first, priority=1)\n"
    )
    hooks = manager_of_hooks()
    serve_hooks(hooks, run(workspace.config()).host)
    assert greet(hooks) == ["en", "Ada"]


def test_marked_functions_are_handlers(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """The host's own calls reach marked functions with the arguments that they take, and no wrappers."""
    for name, options in {"a": "trylast=True", "b": "", "c": "tryfirst=True", "d": "wrapper=True"}.items():
        workspace[name] = marked(greeting("", options, f"return {name!r}, name" if name != "d" else "yield"))
    host = run(workspace.config()).host
    assert host.call("greet", name=1, language=2) == [("c", 1), ("b", 1), ("a", 1)]
    assert [point.point for point in host.points()] == ["greet", "greet (wrapper)"]


def test_a_plugin_without_a_mark_is_a_fault(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """A plugin without a marked function is refused with the reason."""
    workspace["hot"] = marked("def greet():\n    return 1")
    said = 'no function is marked with pluggy.HookimplMarker("app")'
    assert said in run(workspace.config()).fault("hot").message
