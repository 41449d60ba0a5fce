"""Which artifact a death or a hang of the host is blamed on: from breadcrumbs, dumps and the exit status."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hotload_tui import HookHost, HotloadManager
from hotload_tui.core.layout import Layout
from hotload_tui.core.model import Phase
from hotload_tui.remote.process import blame
from hotload_tui.remote.process.blame import CUT_OFF, Breadcrumbs, Evidence
from tests.conftest import Workspace

MAIN, OTHER, POLLER = 0xA1, 0xB2, 0xC3
IDLE = '  File "/usr/lib/python3/threading.py", line 9 in wait\n'


def dump(*threads: tuple[int, str], current: int = 0) -> str:
    """Return a dump as faulthandler writes it; ``current`` is the thread that crashed."""
    parts = ["Fatal Python error: Segmentation fault\n"]
    for thread, frames in threads:
        start = "Current thread" if thread == current else "Thread"
        parts.append(f"\n{start} 0x{thread:016x} [name] (most recent call first):\n{frames}")
    return "\n".join(parts)


def inside(*files: str) -> str:
    """Return the frames of a thread in files of the plugins' folder, innermost first, below the library."""
    return "".join(f'  File "{{root}}/{file}", line 3 in run\n' for file in files) + IDLE


class Death(NamedTuple):
    """A death of the host, and the artifact to blame."""

    steps: tuple[tuple[int, Phase, str, str], ...]
    """The thread, phase, plugin and digest of each running step, oldest first."""
    code: int
    plugin: str
    """Empty: no plugin."""
    digest: str = ""
    proven: bool = True
    trace: str = ""


LOAD: tuple[int, Phase, str, str] = (MAIN, "load", "new", "v2")
CALL: tuple[int, Phase, str, str] = (OTHER, "hook", "boom", "v1")
COMPILATION: tuple[int, Phase, str, str] = (MAIN, "compile", "new", "v3")
SEGV, KILL, TERM = -signal.SIGSEGV, -signal.SIGKILL, -signal.SIGTERM

DEATHS = {
    "killed while nothing runs": Death((), KILL, ""),
    "crashed while nothing runs": Death((), SEGV, "", trace=dump((MAIN, IDLE), current=MAIN)),
    "exits while nothing runs": Death((), 3, ""),
    "killed during a load": Death((LOAD,), KILL, "new", "v2", proven=False),
    "killed during two steps": Death((CALL, LOAD), KILL, "new", "v2", proven=False),
    "terminated during a call": Death((CALL,), TERM, "boom", "v1", proven=False),
    "interrupted during a call": Death((CALL,), -signal.SIGUSR1, "boom", "v1", proven=False),
    "cut off during a load": Death((LOAD,), CUT_OFF, "new", "v2", proven=False),
    "exits in C during a call": Death((CALL,), 3, "boom", "v1"),
    "exits in C during two steps": Death((CALL, LOAD), 3, "new", "v2", proven=False),
    "crashed in C during a call": Death((CALL,), SEGV, "boom", "v1"),
    "crashes the compiler": Death(
        (CALL, COMPILATION), SEGV, "new", "v3", trace=dump((OTHER, IDLE), (MAIN, IDLE), current=MAIN)
    ),
    "crashes the compiler in a reload that another plugin's handler asked for": Death(
        ((MAIN, "hook", "boom", "v1"), COMPILATION),
        SEGV,
        "new",
        "v3",
        trace=dump((MAIN, IDLE + inside("boom/plugin.py")), current=MAIN),
    ),
    "killed during a compilation, as by a system without memory": Death(
        (COMPILATION,), KILL, "new", "v3", proven=False
    ),
    "exits in C while another plugin is compiled": Death((CALL, COMPILATION), 3, "boom", "v1"),
    "exits in C while a plugin is compiled": Death((COMPILATION,), 3, ""),
    "the old version crashes in on_unload": Death(
        ((MAIN, "unload", "boom", "v1"),),
        SEGV,
        "boom",
        "v1",
        trace=dump((MAIN, inside("boom/plugin.py")), current=MAIN),
    ),
    "a call crashes while another plugin loads": Death(
        (CALL, LOAD),
        SEGV,
        "boom",
        "v1",
        trace=dump((OTHER, inside("boom/plugin.py")), (MAIN, inside("new/plugin.py")), current=OTHER),
    ),
    "an old call crashes while its new version loads": Death(
        (CALL, (MAIN, "load", "boom", "v2")),
        SEGV,
        "boom",
        "v1",
        trace=dump((OTHER, inside("boom/plugin.py")), (MAIN, inside("boom/plugin.py")), current=OTHER),
    ),
    "a plugin's thread crashes while another plugin loads": Death(
        (LOAD,),
        SEGV,
        "poll",
        "live",
        trace=dump((POLLER, inside("poll/jobs.py")), (MAIN, inside("new/plugin.py")), current=POLLER),
    ),
    "a thread of a retired version crashes": Death(
        (), SEGV, "poll", "old", trace=dump((POLLER, inside("poll/jobs.py@g1")), current=POLLER)
    ),
    "a thread of a version that is loading crashes": Death(
        ((MAIN, "load", "poll", "v9"),),
        SEGV,
        "poll",
        "v9",
        trace=dump((POLLER, inside("poll/jobs.py")), (MAIN, IDLE), current=POLLER),
    ),
    "a plugin calls another one that crashes": Death(
        (CALL,),
        SEGV,
        "poll",
        "live",
        trace=dump((OTHER, inside("poll/jobs.py", "boom/plugin.py")), current=OTHER),
    ),
    "a library's thread crashes during a load": Death(
        (LOAD,), SEGV, "new", "v2", proven=False, trace=dump((POLLER, IDLE), (MAIN, IDLE), current=POLLER)
    ),
    "a load crashes so deep in a library that the dump ends before the plugin": Death(
        (CALL, LOAD), SEGV, "new", "v2", trace=dump((OTHER, IDLE), (MAIN, IDLE), current=MAIN)
    ),
    "a plugin's thread calls os._exit during a load": Death(
        (LOAD,), 3, "poll", "live", trace=dump((POLLER, inside("poll/jobs.py")), (MAIN, IDLE), current=POLLER)
    ),
    "a disabled plugin's directory is named": Death(
        (), SEGV, "poll", "live", trace=dump((POLLER, inside("_poll/jobs.py")), current=POLLER)
    ),
    "the last of two dumps counts": Death(
        (),
        SEGV,
        "poll",
        "live",
        trace=dump((MAIN, inside("new/plugin.py")), current=MAIN)
        + dump((MAIN, inside("poll/jobs.py")), current=MAIN),
    ),
}


@pytest.fixture
def evidence(tmp_path: Path) -> Iterator[Evidence]:
    """Yield the evidence of a host in which ``poll`` was live as versions ``old`` and ``live``."""
    evidence = Evidence(tmp_path / "plugins", 1.0)
    evidence.clear()
    crumbs = Breadcrumbs(evidence.folder)
    crumbs.went_live("poll", 1, "old")
    crumbs.went_live("poll", 2, "live")
    yield evidence
    evidence.remove()


@contextlib.contextmanager
def running(
    evidence: Evidence, steps: tuple[tuple[int, Phase, str, str], ...], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Run steps in threads with these identifiers."""
    crumbs = Breadcrumbs(evidence.folder)
    with contextlib.ExitStack() as stack:
        for thread, phase, plugin, digest in steps:
            with monkeypatch.context() as patch:
                patch.setattr(blame, "get_ident", lambda thread=thread: thread)
                patch.setattr(blame, "get_native_id", lambda thread=thread: thread)
                stack.enter_context(crumbs.step(phase, plugin, digest))
        yield


@pytest.mark.parametrize("name", DEATHS)
def test_a_death_is_blamed_on_the_artifact_that_ran(
    evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The frames of the thread that crashed decide; without them, a running step is suspected or proven."""
    death = DEATHS[name]
    with running(evidence, death.steps, monkeypatch):
        trace = death.trace.replace("{root}", str(tmp_path / "plugins"))
        culprit = evidence.culprit_of_death(trace, death.code)
    if not death.plugin:
        assert culprit is None
        return
    assert culprit is not None
    assert (culprit.plugin, culprit.digest, culprit.is_proven) == (death.plugin, death.digest, death.proven)


IN_CALL, IN_LOAD, IN_POLLER, AT_REST = (
    (OTHER, "boom/plugin.py"),
    (MAIN, "new/plugin.py"),
    (POLLER, "poll/jobs.py"),
    (MAIN, ""),
)
HANGS = {
    "the main thread loads": ((CALL, LOAD), (IN_CALL, IN_LOAD), (), "new"),
    "a call hangs": ((CALL,), (IN_CALL, AT_REST), (), "boom"),
    "a call is busy while a load waits": ((CALL, LOAD), (IN_CALL, IN_LOAD), (OTHER,), "boom"),
    "a plugin's own thread hangs": ((), (IN_POLLER, AT_REST), (), "poll"),
    "a plugin's own thread is busy while a load waits": ((LOAD,), (IN_POLLER, IN_LOAD), (POLLER,), "poll"),
    "a library's thread is busy while a load waits": ((LOAD,), ((POLLER, ""), IN_LOAD), (POLLER,), "new"),
    "threads of two plugins": ((), (IN_POLLER, IN_CALL, AT_REST), (), ""),
    "no dump": ((CALL,), (), (), "boom"),
    "nothing runs": ((), (AT_REST,), (), ""),
}


@pytest.mark.parametrize("name", HANGS)
def test_a_hang_is_blamed_on_the_plugin_whose_thread_runs(
    evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The dump of all threads names the plugin, also of a thread that has no step."""
    steps, threads, busy, plugin = HANGS[name]
    frames = [(thread, inside(file) if file else IDLE) for thread, file in threads]
    with running(evidence, steps, monkeypatch):
        trace = dump(*frames, current=MAIN).replace("{root}", str(tmp_path / "plugins")) if threads else ""
        culprit = evidence.culprit_of_hang(evidence.trail(), trace, busy)
    assert (culprit.plugin if culprit else "") == plugin


def test_the_fault_shows_the_stack_of_the_thread_that_crashed(evidence: Evidence, tmp_path: Path) -> None:
    """If two threads run a plugin's code, the fault shows the frames of the one that crashed."""
    threads = (POLLER, inside("poll/jobs.py")), (MAIN, inside("poll/plugin.py"))
    trace = dump(*threads, current=POLLER).replace("{root}", str(tmp_path / "plugins"))
    culprit = evidence.culprit_of_death(trace, SEGV)
    assert culprit is not None
    assert [Path(frame.file).name for frame in culprit.fault.frames] == ["jobs.py"]


def test_a_thread_of_a_single_file_is_blamed_on_its_plugin(tmp_path: Path) -> None:
    """The stack of a plugin that is a single file leads to it, also in retired code."""
    evidence = Evidence(tmp_path / "plugins", 1.0, Layout(files=True))
    evidence.clear()
    Breadcrumbs(evidence.folder).went_live("poll", 1, "old")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "poll.py").touch()
    for file in ("poll.py", "poll.py@g1"):
        threads = (MAIN, inside("other.txt")), (POLLER, inside(file))
        trace = dump(*threads, current=POLLER).replace("{root}", str(tmp_path / "plugins"))
        culprit = evidence.culprit_of_death(trace, SEGV)
        assert culprit is not None
        assert (culprit.plugin, culprit.digest) == ("poll", "old" if "@" in file else culprit.digest)
    evidence.remove()


def test_each_step_names_the_artifact_that_runs(workspace: Workspace) -> None:
    """Compilations, loads, calls, claims and exit functions are recorded with the version's digest."""
    seen: set[tuple[str, str, str]] = set()

    @contextlib.contextmanager
    def observe(phase: Phase, plugin: str, digest: str = "") -> Iterator[None]:
        seen.add((phase, plugin, digest))
        yield

    code = """
def register(ctx):
    ctx.own("port", lambda: {number}, lambda value: None)
    ctx.hook("greet", lambda: {number})
    ctx.on_unload(lambda: None)
"""
    host = HookHost(step_observer=observe)
    digests = []
    with HotloadManager(host, workspace.config(), step_observer=observe) as manager:
        for number in (1, 2):
            workspace["greet"] = code.format(number=number)
            (status,) = manager.rebuild("greet") if number > 1 else manager.scan_and_load_all()
            digests.append(status.digest)
            host.invoke("greet")
    first, second = digests
    assert first != second
    assert seen == {
        (phase, "greet", digest) for phase in ("compile", "load", "hook", "unload") for digest in digests
    }
