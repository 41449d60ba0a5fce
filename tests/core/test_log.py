from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Self, SupportsIndex

import pytest

from hotload_tui.core.events import HostLog, LogCollector, LogWritten, PluginCompiled
from hotload_tui.core.manager.store import History
from hotload_tui.core.model import Level
from tests.conftest import Workspace
from tests.waiting import PATIENCE

Lines = list[tuple[Level, str, str]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Yield the list of lines that a collector passes on."""
    found: Lines = []
    names = {"p_my_plugin_1": "my-plugin"}
    collector = LogCollector(
        "hotplug",
        lambda level, plugin, text: found.append((level, plugin, text)),
        lambda name: names.get(name, name),
    )
    detach = collector.attach()
    yield found
    detach()


class Text(str):  # noqa: SLOT000 - it has an attribute
    """A text whose use runs code, as the collector may run a finalizer at any moment."""

    def __new__(cls, text: str, _: Callable[[], object]) -> Self:
        """Make the text."""
        return super().__new__(cls, text)

    def __init__(self, _: str, finalizer: Callable[[], object]) -> None:
        self._finalizer = finalizer

    def __hash__(self) -> int:
        """Run the finalizer, too."""
        self._finalizer()
        return super().__hash__()

    def __getitem__(self, key: SupportsIndex | slice[SupportsIndex | None]) -> str:
        """Run the finalizer, too."""
        self._finalizer()
        return super().__getitem__(key)


def test_a_finalizer_may_log() -> None:
    """A finalizer that logs while its thread writes a line, or notes an event, blocks no later command."""
    log, history, done = HostLog(), History(), list[object]()

    def finalizer() -> None:
        history.note(LogWritten(0.0, log.add(0.0, "info", "greet", "from a finalizer")))

    def write() -> None:
        log.add(0.0, "info", "greet", Text("written", finalizer))
        history.note(PluginCompiled(0.0, Text("greet", finalizer), "digest", 1, 0, 1, 0.0))
        done.extend(line.text for line in log.since(0))

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(PATIENCE / 6)
    assert "written" in done
    assert "from a finalizer" in done


def test_lines_are_numbered_and_bounded() -> None:
    """The log keeps the newest 5,000 lines, and the numbers go on."""
    log = HostLog()
    for number in range(5_010):
        log.add(0.0, "info", "greet", str(number))
    kept = log.since(0)
    assert (len(kept), kept[0].number, kept[-1].number, kept[-1].text) == (5000, 11, 5010, "5009")
    assert [line.number for line in log.since(5008)] == [5009, 5010]


def test_a_line_can_always_be_sent_and_shown() -> None:
    """Megabytes of text are cut, and lone surrogates are escaped."""
    log = HostLog()
    assert len(log.add(0.0, "info", "", "x" * 10**6).text) < 5000
    assert log.add(0.0, "info", "", "\ud800").text == "\\ud800"


@pytest.mark.parametrize(
    ("logger", "plugin"),
    [("hotload.plugin.greet", "greet"), ("hotload.plugin.a.b", "a.b"), ("hotplug.greet.g1_0.plugin", "greet"),
     ("hotplug.p_my_plugin_1.g1_0.plugin", "my-plugin")],
)  # fmt: skip
def test_a_plugins_lines_carry_its_name(lines: Lines, logger: str, plugin: str) -> None:
    """``ctx.log`` and a logger named after the module both give the plugin's name."""
    logging.getLogger(logger).warning("at %d", 7)
    assert lines == [("warning", plugin, "at 7")]


def test_levels_keep_their_meaning(lines: Lines) -> None:
    """Debug lines are left out unless the logger's level asks for them, and critical counts as error."""
    logger = logging.getLogger("hotload.plugin.levels")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, "x")
    logger.setLevel(logging.DEBUG)
    logger.debug("asked for")
    logger.setLevel(logging.NOTSET)
    assert [line[0] for line in lines] == ["info", "warning", "error", "error", "debug"]


class _Odd:
    def __str__(self) -> str:
        raise ValueError


def test_what_cannot_be_formatted_is_still_a_line(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong format or a message whose text raises becomes a line, and nothing is raised in the plugin."""
    monkeypatch.setattr(logging.getLogger("hotload.plugin"), "propagate", False)  # pytest's handler raises
    logger = logging.getLogger("hotload.plugin.odd")
    logger.info("%d", "no number")
    logger.info(_Odd())
    assert "TypeError" in lines[0][2]
    assert "ValueError" in lines[1][2]


def test_an_exception_is_logged_with_the_line(lines: Lines) -> None:
    """``log.exception`` adds the type and text of the exception to the line."""
    try:
        missing: dict[str, int] = {}
        missing["k"]
    except KeyError:
        logging.getLogger("hotload.plugin.greet").exception("failed")
    assert lines == [("error", "greet", "failed (KeyError: 'k')")]


def test_detaching_leaves_logging_as_it_was() -> None:
    """After detaching, the program's handlers and levels are as before."""
    logger = logging.getLogger("hotload.plugin")
    before = (logger.level, list(logger.handlers))
    detach = LogCollector("hotplug", lambda *_: None, str).attach()
    assert logger.level == logging.INFO
    detach()
    assert (logger.level, logger.handlers) == before


EMBEDDED = """
import logging, sys, threading
from hotload_tui import Config, HookHost, HotloadManager

{setup}
host = HookHost()
with HotloadManager(host, Config(enable_watch=False, on_fault={on_fault!r})) as manager:
{body}
"""
FAILING = """
def fail(who):
    raise ValueError(who)

def log():
    ctx.log.error("from ctx.log")
    logging.getLogger(__name__).error("from the module's logger")

def register(context):
    global ctx
    ctx = context
    ctx.hook("greet", fail)
    ctx.hook("log", log)
"""
CALLS = "    for _ in range(3):\n        print(host.call('greet', 'Ada'))\n"


def embedded(
    workspace: Workspace, body: str, *, setup: str = "", on_fault: str = "collect", plugin: str = FAILING
) -> str:
    """Run a program that embeds a manager, and return what it wrote on standard error."""
    workspace["greet"] = f"import logging\n{plugin}"
    script = EMBEDDED.format(setup=setup, on_fault=on_fault, body=body)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=workspace.root,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_program_that_configures_nothing_sees_the_traceback_once(workspace: Workspace) -> None:
    """The first fault of its kind is on standard error with its traceback, and repeated ones are not."""
    err = embedded(workspace, CALLS)
    assert err.count("greet: hook failed: ValueError: Ada (") == 1
    assert err.count("Traceback (most recent call last):") == 1
    assert 'greet/plugin.py", line 4, in fail\n    raise ValueError(who)\nValueError: Ada\n' in err


@pytest.mark.parametrize(("on_fault", "traces"), [("collect", 0), ("log", 1)])
def test_a_program_that_configures_logging_asks_for_the_traceback(
    workspace: Workspace, on_fault: str, traces: int
) -> None:
    """With logging configured, the traceback is in the log only with ``on_fault = "log"``."""
    err = embedded(workspace, CALLS, setup="logging.basicConfig()", on_fault=on_fault)
    assert err.count("ERROR:hotload.events:greet: hook failed: ValueError: Ada (") == 1
    assert err.count("Traceback (most recent call last):") == traces


@pytest.mark.parametrize(
    ("setup", "times"),
    [
        pytest.param("", 1, id="nothing"),
        pytest.param("logging.basicConfig()", 1, id="basicConfig"),
        pytest.param("logging.getLogger('hotload.events').addHandler(logging.NullHandler())", 0, id="silent"),
        pytest.param(
            "second = HotloadManager(HookHost(), Config(runtime_dir='x'))\nsecond.start()", 1, id="two"
        ),
    ],
)
def test_what_plugins_log_reaches_standard_error(workspace: Workspace, setup: str, times: int) -> None:
    """What a plugin logs as an error is on standard error, unless the program shows the log itself."""
    err = embedded(workspace, "    host.call('log')\n", setup=setup)
    for text in ("from ctx.log", "from the module's logger"):
        assert err.count(text) == times


@pytest.mark.parametrize(
    ("setup", "shown"),
    [
        ("", "warning"),
        ("logging.basicConfig()", "warning"),
        ("logging.basicConfig(level='INFO')", "info warning"),
        ("logging.getLogger().addHandler(logging.StreamHandler())", "warning"),
        ("logging.basicConfig(); logging.getLogger('hotload.plugin.greet').setLevel('INFO')", "info warning"),
    ],
)
def test_a_collector_shows_nothing_that_the_program_does_not_ask_for(
    workspace: Workspace, setup: str, shown: str
) -> None:
    """INFO reaches standard error only if the program asks for it, and the log of hotload in any case."""
    plugin = "def register(ctx):\n    ctx.log.info('xinfo')\n    ctx.log.warning('xwarning')\n"
    body = "    print([line.text for line in manager.log()], file=sys.stderr)\n"
    err = embedded(workspace, body, setup=setup, plugin=plugin)
    said, _, log = err.rpartition("\n[")
    assert ("xinfo" in log, "xwarning" in log) == (True, True)
    assert [level for level in ("info", "warning") if f"x{level}" in said] == shown.split()


def test_a_dead_worker_is_reported_on_standard_error(workspace: Workspace) -> None:
    """A ``ctx.thread`` that raises is on standard error once, with its traceback."""
    err = embedded(
        workspace,
        "    while not manager.snapshot().plugins[0].fault: pass\n",
        plugin="def register(ctx):\n    @ctx.thread\n    def work(): raise ValueError('gone')\n",
    )
    assert err.count("greet: thread failed: ValueError: gone (") == 1
    assert err.count("thread 'greet.work' raised\nTraceback (most recent call last):") == 1


def test_a_plugins_own_dead_thread_has_one_traceback(workspace: Workspace) -> None:
    """Python prints the traceback of a plugin's own thread, and hotload adds the line of the fault."""
    err = embedded(
        workspace,
        "    while not manager.snapshot().plugins[0].fault: pass\n"
        "    [each.join() for each in threading.enumerate() if each.name == 'mine']\n",
        plugin=(
            "import threading\ndef work(): raise ValueError('gone')\n"
            "def register(ctx): threading.Thread(target=work, name='mine').start()\n"
        ),
    )
    assert err.count("greet: thread failed: ValueError: gone (") == 1
    assert err.count("Traceback (most recent call last):") == 1
