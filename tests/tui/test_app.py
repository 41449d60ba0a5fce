from __future__ import annotations

import asyncio
import re
import signal
import threading
import time

import pytest
from textual import _time
from textual.widgets import Static

from hotload_tui import HookHost, HotloadError, HotloadManager
from hotload_tui.tui.widgets.log_view import LogView
from tests.conftest import Workspace
from tests.tui.console import Console, Run, console, void
from tests.tui.layout import broken_layout

GREET = """
'''Greets whoever asks.'''
def greet(name):
    return f"Hello, {name}"
def register(ctx):
    ctx.hook("greet", greet)
"""


async def test_start_runs_once_in_a_daemon_thread_after_the_first_picture(workspace: Workspace) -> None:
    """The console is on the screen before the plugins are scanned, and starts the manager once."""
    workspace["greet"] = GREET
    manager = HotloadManager(HookHost(), workspace.config())
    runs: list[threading.Thread] = []
    go = threading.Event()

    def start() -> None:
        runs.append(threading.current_thread())
        go.wait()
        manager.start()

    async with console(manager, workspace.root, start=start, stop=manager.stop) as it:
        await it.shows("starting", "Looking for plugins")
        go.set()
        await it.until(lambda: "+ ok" in it.row("greet"))
        await it.until(lambda: "starting" not in it.text)
        assert [thread.daemon for thread in runs] == [True]
        assert it.toasts == []
    manager.stop()


async def test_a_program_that_outlives_the_console_gets_its_signals_back(workspace: Workspace) -> None:
    """The signal handlers of the embedding program are restored when the console ends."""
    (workspace.root / "plugins").mkdir(exist_ok=True)
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    async with console(HotloadManager(HookHost(), workspace.config()), workspace.root):
        assert heard == []
    signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


async def test_a_tab_that_nothing_has_opened_yet_takes_the_next_key(workspace: Workspace) -> None:
    """Tabs other than the first are created when they are needed, and a key typed ahead works."""
    (workspace.root / "plugins").mkdir(exist_ok=True)
    manager = HotloadManager(HookHost(), workspace.config())
    async with console(manager, workspace.root) as it:
        assert len(it.main.query(LogView)) == 1  # the strip
        await it.type("3", "f")
        await it.until(lambda: it.toasts == ["Staying here; f follows."])
        assert len(it.main.query(LogView)) == 2


async def test_what_fails_at_the_start_is_no_news(workspace: Workspace) -> None:
    """A plugin that fails during the start is not marked as new, but one that fails later is."""
    workspace["apple"], workspace["bad"] = GREET, "1 / 0\n"
    manager = HotloadManager(HookHost(), workspace.config())
    manager.scan()
    go = threading.Event()

    def start() -> None:
        go.wait()
        manager.start()

    async with console(manager, workspace.root, start=start, stop=manager.stop) as it:
        await it.until(lambda: "? new" in it.row("bad"))
        await it.press("F")  # a fault that comes to the screen by itself has no mark
        go.set()
        await it.until(lambda: "starting" not in it.text and "FAIL" in it.row("bad"))
        assert it.row("bad").startswith("! FAIL")
        workspace["bad"] = "1 / 0\n\n"
        manager.rebuild("bad")
        await it.until(lambda: it.row("bad").startswith("!*FAIL"))
    manager.stop()


async def test_an_error_of_start_is_shown_and_the_console_stays(workspace: Workspace) -> None:
    """An error of the start is shown in the status line and in place of the rows."""

    def start() -> None:
        raise HotloadError("the socket is taken")

    manager = HotloadManager(HookHost(), workspace.config())
    async with console(manager, workspace.root, start=start) as it:
        await it.until(lambda: it.text.count("the socket is taken") == 2)
        assert "the socket is taken" in it.text.splitlines()[0]


async def test_without_a_plugin_directory_n_makes_it_with_a_first_plugin(workspace: Workspace) -> None:
    """Without a plugin directory, ``n`` and a name make the directory and a first live plugin."""
    workspace.plugins.rmdir()
    manager = HotloadManager(HookHost(), workspace.config(enable_watch=True))
    async with console(manager, workspace.root, start=manager.start, stop=manager.stop) as it:
        await it.shows("no plugin directory", "n makes it with a first plugin from the template")
        await it.press("n", *"hello", "enter")
        await it.until(lambda: "+ ok" in it.row("hello") and it.chosen == "hello")
        assert (workspace.plugins / "hello" / "plugin.py").is_file()
    manager.stop()


async def test_q_unloads_the_plugins_before_it_leaves(workspace: Workspace, run: Run) -> None:
    """``q`` runs the plugins' ``on_unload`` before the console ends."""
    mark = workspace.root / "unloaded"
    workspace["greet"] = f"""
def register(ctx):
    ctx.on_unload(lambda: open({str(mark)!r}, "w").close())
"""
    running = run(workspace.config())
    async with console(running.manager, workspace.root, stop=running.manager.stop) as it:
        await it.until(lambda: "+ ok" in it.row("greet"))
        await it.press("q")
        await it.until(lambda: not it.app.is_running)
    assert mark.exists()


async def test_quitting_goes_on_when_unloading_fails(workspace: Workspace, run: Run) -> None:
    """If unloading fails, the console ends and shows the error."""

    def stop() -> None:
        raise OSError("no such socket")

    async with console(run(workspace.config()).manager, workspace.root, stop=stop) as it:
        await it.press("q")
        await it.until(lambda: not it.app.is_running)
        assert "no such socket" in it.said_at_exit


async def test_a_second_q_does_not_wait_for_plugins_that_hang(workspace: Workspace, run: Run) -> None:
    """A second ``q`` ends the console without waiting for the plugins."""
    release = threading.Event()
    running = run(workspace.config())
    async with console(running.manager, workspace.root, stop=lambda: void(release.wait())) as it:
        await it.press("q")
        await it.shows("unloading… (q quits at once)")
        await it.press("q")
        await it.until(lambda: not it.app.is_running)
    release.set()


async def test_quitting_during_a_build_asks_first(workspace: Workspace, run: Run) -> None:
    """``q`` during a build asks first, with Cancel focused; after the build it quits at once."""
    workspace["slow"] = """
import time, os
while not os.path.exists(__file__ + ".go"):
    time.sleep(0.01)
def register(ctx): ...
"""
    gate = workspace.plugins / "slow" / "plugin.py.go"
    gate.touch()
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("slow"))
        gate.unlink()
        await it.press("r")
        await it.press("q")
        await it.shows("A build is under way", "n or esc cancel")
        await it.until(lambda: it.app.focused is not None and it.app.focused.id == "cancel")
        await it.press("escape")
        assert it.app.is_running
        gate.touch()
        await it.until(lambda: not it.main.is_building)
        await it.press("q")
        await it.until(lambda: not it.app.is_running)


def all_named(it: Console) -> bool:
    """Return whether each tab shows its name, in full or short form."""
    return bool(re.search(r"1 Over(view)? 2 Err(or)? \(1\) 3 Log .* 7 Hooks", it.text))


async def test_all_is_in_its_place_at_every_size(workspace: Workspace, run: Run) -> None:
    """No pane and no name of a tab is cut, on either side of each size where the layout changes."""
    workspace["greet"] = "1 / 0\ndef register(ctx): ..."
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.shows("2 Error (1) 3 Log 4 Source")
        sizes = [(60, 15), (63, 29), (64, 15), (99, 30), (100, 30), (64, 20), (100, 29), (119, 36), (160, 30)]
        for size in [*sizes, (300, 80), (100, 30), (80, 24)]:
            await it.resize(*size)
            await it.until(
                lambda now=size: it.app.size == now and not broken_layout(it) and all_named(it),  # type: ignore[misc]
                lambda now=size: f"{now}: {broken_layout(it)}",  # type: ignore[misc]
            )


async def test_a_small_terminal_names_the_size_needed_and_recovers(workspace: Workspace, run: Run) -> None:
    """Below 60x15 one line shows the needed size; with more room the whole console is back."""
    workspace["greet"] = GREET
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("greet"))
        await it.resize(52, 12)
        await it.shows("Terminal 52x12: needs 60x15")
        it.main.say("a toast")
        await it.press("n")
        await it.until(lambda: len([line for line in it.text.splitlines() if line.strip()]) == 1)
        await it.press("escape")
        await it.resize(80, 24)
        await it.shows("greet", "+ ok", "c Clean")


async def test_no_change_is_lost_on_a_machine_under_load(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new size and new log lines are shown although a second passes between any two steps."""
    workspace["greet"] = GREET
    running = run(workspace.config())
    passed, steps = 0, 0

    def now() -> float:
        nonlocal passed
        passed += passed < steps
        return time.monotonic() + passed

    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("greet"))
        monkeypatch.setattr(_time, "get_time", now)
        steps += 1000
        await it.resize(120, 36)
        await it.until(lambda: it.main.size == (120, 36))
        for generation in (2, 3):
            steps += 1000
            running.manager.rebuild("greet", force=True)
            await it.shows(f"greet {generation - 1} → {generation}")


@pytest.mark.parametrize("size", [(10, 3), (19, 4), (20, 5), (40, 10)], ids="{0[0]}x{0[1]}".format)
async def test_the_smallest_terminal_names_the_size_needed(
    workspace: Workspace, run: Run, size: tuple[int, int]
) -> None:
    """However small the terminal, its size and the needed size are shown, and keys for dialogs do no harm."""
    workspace["greet"] = GREET
    async with console(run(workspace.config()).manager, workspace.root, size) as it:
        await it.until(lambda: "+ ok" in it.row("greet"))
        await it.press("question_mark", "escape", "n", "escape", "colon", "escape")
        await it.until(lambda: f"{size[0]}x{size[1]}: needs 60x15" in " ".join(it.text.split()))


async def test_while_unloading_only_quitting_is_left(workspace: Workspace, run: Run) -> None:
    """While plugins are unloaded, the status line names them, and all keys but ``q`` are off."""
    release = threading.Event()
    workspace["greet"] = GREET
    running = run(workspace.config())
    async with console(running.manager, workspace.root, stop=lambda: void(release.wait())) as it:
        await it.shows("+ ok 1", "r Rebuild")
        await it.press("q")
        it.main.selection.read_again()
        await it.shows("unloading greet… (q quits at once)")
        await it.press("n", "question_mark", "d", "colon")
        assert it.app.screen is it.main
        await it.until(lambda: "Rebuild" not in it.text and "q Quit" in it.text)
        assert "+ ok" in it.row("greet")
        release.set()
        await it.until(lambda: not it.app.is_running)


async def test_ctrl_c_names_the_key_that_quits(workspace: Workspace, run: Run) -> None:
    """Ctrl-C without a selection names the key that quits."""
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.press("ctrl+c")
        await it.until(lambda: it.toasts == ["Nothing is marked to be copied; q quits."])


async def test_leaving_waits_for_widgets_that_are_being_mounted(workspace: Workspace, run: Run) -> None:
    """Quitting waits for a widget that is still being mounted, and exits with code 0."""
    begun, finished = asyncio.Event(), asyncio.Event()

    class Slow(Static):
        """A widget whose mounting waits for the test."""

        async def on_mount(self) -> None:
            """Wait for the test."""
            begun.set()
            await finished.wait()

    async with console(run(workspace.config()).manager, workspace.root) as it:
        it.main.mount(Slow())
        await begun.wait()
        await it.app.action_quit()
        code = it.app.return_code
        finished.set()  # otherwise a console that did not wait would hang here
        assert code is None
        await it.until(lambda: not it.app.is_running)
    assert it.app.return_code == 0
