"""What new plugins are made from: their files, and a test that each passes as it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

SIMPLE: Final = "simple"


class Template(NamedTuple):
    """The beginning of a plugin, and a test; ``$name`` stands for the plugin's name."""

    files: Mapping[str, str]
    """Text by path in the plugin's directory."""
    test: str
    needs: str = ""
    """The package without which it cannot run; also the name of the extra that brings it."""


_TEST_HEAD: Final = '''\
"""Loads the plugin $name alone, as a host does, and asks it; run me with pytest."""

{standard}from pathlib import Path

{imports}

def test_$word(tmp_path: Path) -> None:
    """The plugin loads, and answers its hook point."""
    host = HookHost()
    config = Config(runtime_dir=str(Path(__file__).parent), compiled_dir=str(tmp_path), enable_watch=False)
    manager = HotloadManager(host, config)
    manager.scan()
    try:
        (status,) = manager.rebuild("$name")
        assert status.state is PluginState.OK, status.fault
'''
_TEST_TAIL: Final = """\
    finally:
        manager.stop()
"""
_OURS: Final = "from hotload_tui import Config, HookHost, HotloadManager, PluginState\n"


def _test(*body: str, standard: str = "", imports: str = _OURS) -> str:
    lines = "".join(f"        {line}\n" for line in body)
    head = _TEST_HEAD.replace("{standard}", standard).replace("{imports}", imports)
    return head + lines + _TEST_TAIL


_SIMPLE: Final = '''\
"""Says hello; change me and save."""


def greet(name: str = "world") -> str:
    """Answer the hook point ``$name``."""
    return f"Hello, {name}!"


def register(ctx) -> None:
    """Tell the host which hook points this plugin answers."""
    ctx.hook("$name", greet)
'''

_PACKAGE_ENTRY: Final = '''\
"""Says hello with words from a file beside it; change one of them and save."""

from .words import greeting


def greet(name: str = "world") -> str:
    """Answer the hook point ``$name``."""
    return f"{greeting()}, {name}!"


def register(ctx) -> None:
    """Tell the host which hook points this plugin answers."""
    ctx.hook("$name", greet)
'''
_PACKAGE_WORDS: Final = '''\
"""A module of the plugin; it is reloaded with it, and no other plugin sees it."""

from importlib.resources import files


def greeting() -> str:
    """Return the first line of a file that belongs to the plugin."""
    return files(__package__).joinpath("greeting.txt").read_text(encoding="utf-8").strip()
'''

_ASYNC: Final = '''\
"""Says hello from a coroutine, and counts in the background; change me and save."""

import asyncio


async def greet(name: str = "world") -> str:
    """Answer the hook point ``$name``; the host awaits it with ``acall``."""
    await asyncio.sleep(0)
    return f"Hello, {name}!"


def register(ctx) -> None:
    """Tell the host which hook points this plugin answers, and what runs beside them."""
    ctx.hook("$name", greet)

    @ctx.task
    async def count() -> None:
        """Run while this version serves; it is cancelled, and waited for, when the next one does."""
        while True:
            await asyncio.sleep(60)
            ctx.state["minutes"] = ctx.state.get("minutes", 0) + 1
'''

_PLUGGY: Final = '''\
"""Says hello as a plugin for pluggy does; change me and save."""

import pluggy

from hotload_tui.integrations.pluggy import register_marked

hookimpl = pluggy.HookimplMarker("hotload")  # the name of the program's pluggy.PluginManager


@hookimpl
def greet(name: str = "world") -> str:
    """Answer the hook ``greet``."""
    return f"Hello, {name}!"


def register(ctx) -> None:
    """Offer every function that is marked."""
    register_marked(ctx, globals(), "hotload")
'''
_PLUGGY_IMPORTS: Final = f"""\
import pluggy

{_OURS.rstrip()}
from hotload_tui.integrations.pluggy import serve_hooks


class Hooks:
    \"\"\"What the program asks of its plugins.\"\"\"

    @pluggy.HookspecMarker("hotload")
    def greet(self, name: str) -> str:
        \"\"\"Greet somebody.\"\"\"
"""
_ANSWERS: Final = 'assert host.call("$name", "Ada") == ["Hello, Ada!"]'

TEMPLATES: Final[Mapping[str, Template]] = {
    SIMPLE: Template({"plugin.py": _SIMPLE}, _test(_ANSWERS)),
    "package": Template(
        {"plugin.py": _PACKAGE_ENTRY, "words.py": _PACKAGE_WORDS, "greeting.txt": "Hello\n"}, _test(_ANSWERS)
    ),
    "async": Template(
        {"plugin.py": _ASYNC},
        _test(
            'assert asyncio.run(host.acall("$name", "Ada")) == ["Hello, Ada!"]',
            standard="import asyncio\n",
        ),
    ),
    "pluggy": Template(
        {"plugin.py": _PLUGGY},
        _test(
            'hooks = pluggy.PluginManager("hotload")',
            "hooks.add_hookspecs(Hooks)",
            "serve_hooks(hooks, host)",
            'assert hooks.hook.greet(name="Ada") == ["Hello, Ada!"]',
            imports=_PLUGGY_IMPORTS,
        ),
        needs="pluggy",
    ),
}

OF_THE_PROJECT: Final = _test()
"""The test of a plugin from the project's own template: what it answers is not known here."""
