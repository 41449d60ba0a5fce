"""Plugins that misbehave at load, in a hook and in on_unload, without effect on anything else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from hotload_tui.core.errors import HotloadError
from hotload_tui.core.model import PluginState
from tests.conftest import Workspace
from tests.counts import ALL_CASES
from tests.remote.process.conftest import HANG, Console, serving
from tests.waiting import PATIENCE

DIES, HANGS, FAULT, FINE, WAITS = "dies", "hangs", "fault", "fine", "waits"


class Hostile(NamedTuple):
    """A plugin's misbehaviour, and its expected outcome at load, in a hook and in on_unload."""

    code: str
    load: str
    hook: str
    unload: str


PLUGINS = {
    "raises": Hostile("raise ValueError('no')", FAULT, FAULT, FAULT),
    "interrupts": Hostile("raise KeyboardInterrupt", FAULT, FINE, FAULT),
    "exits": Hostile("sys.exit(3)", FAULT, FAULT, FAULT),
    "exits hard": Hostile("os._exit(3)", DIES, DIES, DIES),
    "kills itself": Hostile("os.kill(os.getpid(), signal.SIGKILL)", DIES, DIES, DIES),
    "terminates itself": Hostile("os.kill(os.getpid(), signal.SIGTERM)", DIES, DIES, DIES),
    "kills its group": Hostile("os.killpg(0, signal.SIGKILL)", DIES, DIES, DIES),
    "kills the supervisor": Hostile("os.kill(os.getppid(), signal.SIGKILL); time.sleep(9)", DIES, DIES, DIES),
    "segfaults": Hostile("ctypes.string_at(0)", DIES, DIES, DIES),
    "aborts": Hostile("os.abort()", DIES, DIES, DIES),
    "stops itself": Hostile("os.kill(os.getpid(), signal.SIGSTOP)", HANGS, HANGS, HANGS),
    "loops": Hostile("while True: pass", FAULT, WAITS, FAULT),
    "loops and swallows": Hostile(
        "while True:\n        try: time.sleep(9)\n        except BaseException: pass", HANGS, WAITS, FAULT
    ),
    "sleeps": Hostile("time.sleep(9999)", FAULT, WAITS, FAULT),
    "locks itself out": Hostile("a = threading.Lock(); a.acquire(); a.acquire()", FAULT, WAITS, FAULT),
    "waits in a queue": Hostile("queue.Queue().get()", FAULT, WAITS, FAULT),
    "waits for a socket": Hostile("a, b = socket.socketpair(); a.recv(1)", FAULT, WAITS, FAULT),
    "waits for a process": Hostile("subprocess.run(['sleep', '9999'])", FAULT, WAITS, FAULT),
    "loops in C": Hostile("sum(range(10**13))", HANGS, HANGS, HANGS),
    "hangs in C": Hostile(HANG, HANGS, HANGS, HANGS),
    "calculates": Hostile("pow(3, 10**9)", FAULT, HANGS, HANGS),
    "matches": Hostile("re.match('(a+)+$', 'a' * 60 + 'b')", FAULT, HANGS, HANGS),
    "asks": Hostile("input('really? ')", FAULT, FAULT, FAULT),
    "floods": Hostile("for _ in range(100): os.write(1, b'flood ' * 10000)", FINE, FINE, FINE),
    "prints": Hostile("for _ in range(5000): print('print' * 20)", FINE, FINE, FINE),
    "forks": Hostile("os.fork()", FINE, FINE, FINE),
    "starts threads": Hostile(
        "[threading.Thread(target=time.sleep, args=(9999,)).start() for _ in range(50)]", FINE, FINE, FINE
    ),
    "leaves a process": Hostile("subprocess.Popen(['sleep', '9999'])", FINE, FINE, FINE),
    "ignores signals": Hostile("signal.signal(signal.SIGTERM, signal.SIG_IGN)", FINE, FAULT, FAULT),
    "cuts off": Hostile("os.closerange(3, 500)", DIES, DIES, DIES),
    "closes the streams": Hostile("os.close(1); os.close(2)", FINE, FINE, FINE),
    "closes stdout": Hostile("sys.stdout.close(); print('there')", FINE, FINE, FINE),
    "recurses": Hostile("def f(): f()\n    f()", FAULT, FAULT, FAULT),
    "nests": Hostile("a = []\n    for _ in range(10**5): a = [a]\n    repr(a)", FAULT, FAULT, FAULT),
    "wants memory": Hostile("bytearray(2**60)", FAULT, FAULT, FAULT),
}
ALIKE = {
    "matches", "waits in a queue", "waits for a process", "kills its group", "aborts", "nests",
    "locks itself out", "waits for a socket", "loops", "loops in C", "calculates",
}  # fmt: skip
"""Similar to other rows of the table; only make soak runs them."""
TRIED = [name for name in PLUGINS if name not in ALIKE or ALL_CASES]
HARMLESS = {"raises", "interrupts", "exits", "recurses", "nests", "wants memory", "floods", "prints", "asks"}
"""These leave the host as it is, so they run in one host, one after the other."""
IMPORTS = "import ctypes, os, queue, re, signal, socket, subprocess, sys, threading, time\n"
AT = {
    "load": "def register(ctx):\n    act()\n",
    "hook": "def register(ctx):\n    ctx.hook(ctx.name, act)\n",
    "unload": "def register(ctx):\n    ctx.on_unload(act)\n",
}


@pytest.fixture(scope="module")
def robust(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Yield a console for all plugins that leave the host as it is; none of them reaches a time limit."""
    limits = f"load_timeout = {PATIENCE:g}\ndrain_timeout = {PATIENCE:g}\nsettle_time = 0.0\n"
    yield from serving(Workspace(tmp_path_factory.mktemp("robust")), limits)


@pytest.mark.parametrize("name", [name for name in TRIED if name not in HARMLESS])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_other_plugins_are_not_affected(console: Console, name: str) -> None:
    """Whatever a plugin does, the console and the other plugins go on, and the log names the plugin."""
    try_all(console, name)


@pytest.mark.parametrize("name", [name for name in TRIED if name in HARMLESS])
def test_other_plugins_are_not_affected_and_the_host_continues(robust: Console, name: str) -> None:
    """A plugin that only fails, prints or asks is contained, and the same host process goes on."""
    before = robust.pid
    try_all(robust, name)
    assert robust.pid == before


def try_all(console: Console, name: str) -> None:
    """Run the plugin's code at load, in a hook and in on_unload, and check each outcome."""
    hostile = PLUGINS[name]
    for when, outcome in zip(AT, hostile[1:], strict=True):
        plugin = f"{name.replace(' ', '_')}_{when}"
        console.workspace[plugin] = f"{IMPORTS}def act():\n    {hostile.code}\n{AT[when]}"
        if when != "load":
            console.wait_for(lambda plugin=plugin: console.state(plugin) is PluginState.OK)  # type: ignore[misc]
        trigger(console, when, plugin)
        expect(console, when, plugin, outcome)
        console.wait_for(lambda: serves(console))


def trigger(console: Console, when: str, plugin: str) -> None:
    """Call or disable the plugin; a load needs no trigger."""

    def ask() -> None:
        try:
            if when == "hook":
                console.manager.invoke(plugin)
            else:
                console.manager.disable(plugin)
        except HotloadError:
            pass  # the host may die of the command

    if when != "load":
        threading.Thread(target=ask, daemon=True).start()


def expect(console: Console, when: str, plugin: str, outcome: str) -> None:
    """Check the outcome."""
    if outcome == DIES:
        console.wait_for_line(f"error {plugin}: the host ")
    elif outcome == HANGS:
        console.wait_for_line(f"error {plugin}: hangs")
        assert plugin in console.manager.snapshot().host.trouble
        assert console.manager.restart() == ""
    elif outcome == WAITS:
        console.wait_for_line(f"warning {plugin}: a handler has not returned")
    elif outcome == FAULT:
        phase = "" if when == "load" else f"{when} "
        console.wait_for_line(f"error {plugin}: {phase}", "failed: ")
    elif when == "load":
        console.wait_for(lambda: console.state(plugin) is PluginState.OK)
    if when != "unload" and outcome in (DIES, HANGS):
        console.wait_for(lambda: console.state(plugin) is PluginState.HELD)


def serves(console: Console) -> bool:
    """Return whether the plugin ``good`` answers."""
    try:
        return console.manager.invoke("good").values == ("good",)
    except HotloadError:
        return False


PATCHES = """
import sys, threading, time
def patched(*values, **named):
    while True: pass
class Finder:
    find_spec = patched
def register(ctx):
    sys.meta_path.insert(0, Finder)
    threading.Event.wait = threading.Event.set = threading.Condition.wait = patched
    threading.Thread.join = time.monotonic = time.sleep = patched
"""


def test_a_host_goes_on_whatever_a_plugin_patches(console: Console) -> None:
    """Clocks and primitives of threads that never return stop neither reloads nor the console."""
    first = console.pid
    console.workspace["evil"] = PATCHES
    console.wait_for(lambda: console.state("evil") is PluginState.OK)
    console.workspace["greet"] = "def register(ctx):\n    ctx.hook('greet', lambda: 'hello')\n"
    console.wait_for(lambda: console.answers("greet") == ("hello",))
    assert console.command("status").returncode == 0
    console.workspace["evil"] = "def register(ctx):\n    ctx.hook('evil', lambda: 'fixed')\n"
    console.wait_for(lambda: console.answers("evil") == ("fixed",))
    assert console.pid == first
