"""Several processes that share one ``compiled/``, and processes that are killed while they write."""

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from hotload_tui import Config
from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiled import Record
from hotload_tui.core.errors import ArtifactError
from hotload_tui.core.events import ArtifactRejected, PluginCompiled
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]

BUILDER = """
import sys
from hotload_tui import Config, HookHost, HotloadManager
config = Config(runtime_dir=sys.argv[1], compiled_dir=sys.argv[2], enable_watch=False, keep_generations=1)
host = HookHost()
manager = HotloadManager(host, config)
manager.start()
for order in sys.stdin:
    manager.rebuild(force=order == "force\\n")
    print(host.call("greet"), [bool(status.fault) for status in manager.snapshot().plugins], flush=True)
manager.stop()
"""

# Forks a child for each line of input, which gives the number of engine lines that the child executes until
# it is killed.
KILLED = """
import os, signal, sys, threading
from hotload_tui import Config, HookHost, HotloadManager
config = Config(runtime_dir=sys.argv[1], compiled_dir=sys.argv[2], enable_watch=False)
for order in sys.stdin:
    child = os.fork()
    if child == 0:
        lines = int(order)
        def trace(frame, event, argument):
            global lines
            name = frame.f_code.co_filename
            if "hotload_tui" not in name and "tempfile" not in name:
                return None
            if event == "line":
                lines -= 1
                if lines == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace
        threading.settrace(trace)
        sys.settrace(trace)
        manager = HotloadManager(HookHost(), config)
        manager.start()
        manager.stop()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def started(workspace: Workspace, program: str) -> "subprocess.Popen[str]":
    """Start a program on the workspace's folders that reads orders line by line."""
    return subprocess.Popen(
        [sys.executable, "-c", program, str(workspace.plugins), str(workspace.compiled)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def order(process: "subprocess.Popen[str]", text: str) -> None:
    """Send an order to the process."""
    assert process.stdin is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()


def answer(process: "subprocess.Popen[str]") -> str:
    """Return the answer to an order."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def leftovers(workspace: Workspace) -> list[str]:
    """Return the temporary files of writers."""
    return [path.name for path in workspace.compiled.glob(".*")]


def read_until(done: threading.Event, workspace: Workspace, torn: list[str]) -> None:
    """Read all artifacts repeatedly, and record the damaged ones."""
    while not done.is_set():
        for path in workspace.compiled.glob("*.hotplug"):
            try:
                artifact = Artifact(path)
                for member in artifact.manifest.members:
                    artifact.source(member.path)
            except ArtifactError as error:
                if "No such file" not in str(error):  # an older artifact that has been pruned
                    torn.append(str(error))


def test_two_processes_build_the_same_plugins(workspace: Workspace) -> None:
    """Both processes run the newest sources, and a reader never finds a damaged artifact."""
    for name in ("a", "b"):
        workspace[name] = answering(f"{name}0")
        workspace[f"{name}/data.bin"] = b"x" * 100_000
    torn: list[str] = []
    done = threading.Event()
    reader = threading.Thread(target=read_until, args=(done, workspace, torn))
    reader.start()
    with started(workspace, BUILDER) as one, started(workspace, BUILDER) as other:
        for number in range(1, 25):
            for name in ("a", "b"):
                workspace[name] = answering(f"{name}{number}")
            for process in (one, other):
                order(process, "force" if number % 2 else "")
            expected = f"['a{number}', 'b{number}'] [False, False]"
            assert [answer(one), answer(other)] == [expected, expected]
        for process in (one, other):
            process.communicate()
    done.set()
    reader.join()
    assert torn == []
    assert leftovers(workspace) == []


def test_each_process_records_its_own_last_good(workspace: Workspace, run: Run) -> None:
    """Each host updates only its own plugins in the record of last good versions."""
    workspace["a"] = answering("a1")
    workspace["b"] = answering("b1")
    first, second = run(workspace.config()), run(workspace.config())
    workspace["a"] = answering("a2")
    first.manager.load_plugin(workspace.plugins / "a")
    workspace["b"] = answering("b2")
    second.manager.load_plugin(workspace.plugins / "b")
    record = Record(workspace.compiled)
    assert record.last_good("a") == first.status("a").digest
    assert record.last_good("b") == second.status("b").digest


def test_a_process_killed_at_any_moment_leaves_the_next_start_clean(workspace: Workspace, run: Run) -> None:
    """After a kill at any of 36 places, the next start finds no damaged artifact and leaves no leftovers."""
    place = random.Random(3)
    names = ("a", "b", "c")
    killed = 0
    with started(workspace, KILLED) as killer:
        for number in range(36):
            for name in names:
                workspace[name] = answering(f"{name}{number}")
            order(killer, str(place.randrange(1, 4500)))
            killed += answer(killer) == str(-signal.SIGKILL)
            running = run(workspace.config())
            assert running.host.call("greet") == [f"{name}{number}" for name in names]
            assert running.told(ArtifactRejected) == []
            assert leftovers(workspace) == []
            running.manager.stop()
        killer.communicate()
    assert killed >= 18


def test_a_half_written_file_goes_with_the_next_start(workspace: Workspace, run: Run) -> None:
    """A start removes the temporary file of a killed writer, and leaves a similar foreign file."""
    workspace.compiled.mkdir()
    (workspace.compiled / ".hotload-abc123.tmp").write_bytes(b"half")
    (workspace.compiled / ".mine.tmp").write_bytes(b"mine")
    run(workspace.config())
    assert [path.name for path in workspace.compiled.iterdir()] == [".mine.tmp"]


def test_an_unchanged_plugin_is_neither_compiled_nor_written(workspace: Workspace, run: Run) -> None:
    """A second start compiles nothing and leaves every file under compiled/ as it is."""
    for name in ("a", "b"):
        workspace[name] = answering(name)
    run(workspace.config()).manager.stop()
    before = {path.name: written(path) for path in workspace.compiled.iterdir()}
    again = run(workspace.config())
    assert again.told(PluginCompiled) == []
    assert {path.name: written(path) for path in workspace.compiled.iterdir()} == before


def written(path: Path) -> tuple[int, int, int]:
    """Return the facts that change when a file is written or replaced, but not when it is read."""
    facts = path.stat()
    return facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns


def test_builds_that_do_not_load_are_pruned_but_not_the_last_good(workspace: Workspace, run: Run) -> None:
    """Versions that fail to load are pruned to two artifacts, and the last good version is kept."""
    workspace["greet"] = answering("good")
    running = run(workspace.config(keep_generations=2))
    for number in range(20):
        workspace["greet"] = f"number = {number}\nregister = missing\n"
        running.manager.handle_file_change(workspace.plugins / "greet")
    assert len(list(workspace.compiled.glob("greet-*"))) == 3
    running.manager.stop()
    assert run(workspace.config()).host.call("greet") == ["good"]


def test_clean_without_a_name_takes_what_is_left_of_plugins_that_are_gone(
    workspace: Workspace, run: Run
) -> None:
    """``clean`` without a name also removes artifacts of deleted plugins, but no foreign files."""
    for name in ("a", "a-b", "gone"):
        workspace[name] = answering(name)
    running = run(workspace.config())
    (workspace.compiled / "notes-0123.hotplug").write_text("mine")
    (workspace.plugins / "gone").rename(workspace.root / "away")
    assert running.manager.clean("a") == 1
    assert len(list(workspace.compiled.glob("a-b-*"))) == 1
    assert running.manager.clean() == 2
    names = sorted(path.name for path in workspace.compiled.iterdir())
    assert names == ["last-good.json", "notes-0123.hotplug", "trash"]
