import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui import Config
from hotload_tui.core.compiled import FAULTS, RECORD, FaultRecord, Record
from hotload_tui.core.errors import ArtifactError
from hotload_tui.core.events import PluginLoaded
from hotload_tui.core.manager.store import History
from hotload_tui.core.model import Fault, HistoryEntry
from tests.conftest import Running, Workspace, answering
from tests.waiting import until

Run = Callable[[Config], Running]


def test_the_last_live_version_is_remembered_across_processes(tmp_path: Path) -> None:
    """A new host reads the record that the previous host wrote."""
    Record(tmp_path / "compiled").set_last_good({"a": "1", "b": "2"})
    Record(tmp_path / "compiled").set_last_good({"b": "3"})
    again = Record(tmp_path / "compiled")
    assert (again.last_good("a"), again.last_good("b"), again.last_good("c")) == ("1", "3", "")


def test_the_versions_before_are_remembered_too(tmp_path: Path) -> None:
    """The record names several good versions, the last one first; a barred version is none of them."""
    record = Record(tmp_path)
    for digest in ("1", "2", "1", "3", "4", "5"):
        record.set_last_good({"a": digest})
    assert Record(tmp_path).good("a") == ("5", "4", "3", "1")
    record.bar("a", "5", Fault("hook", "a", "SIGSEGV", "it crashed", 0.0))
    assert (Record(tmp_path).good("a"), Record(tmp_path).last_good("a")) == (("4", "3", "1"), "4")


def test_a_record_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    """A record that names only one good version is understood."""
    (tmp_path / RECORD).write_text('{"a": {"last_good": "1"}}')
    record = Record(tmp_path)
    record.set_last_good({"a": "2"})
    assert Record(tmp_path).good("a") == ("2", "1")


def test_an_empty_digest_forgets(tmp_path: Path) -> None:
    """A plugin whose digest is emptied has no last good artifact."""
    Record(tmp_path).set_last_good({"a": "1"})
    Record(tmp_path).set_last_good({"a": ""})
    assert Record(tmp_path).last_good("a") == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b"\xff\xfe", b'{"a": "\xff"}'])
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: bytes) -> None:
    """A damaged record is read as an empty one, and can be written again."""
    (tmp_path / RECORD).write_bytes(content)
    record = Record(tmp_path)
    assert record.last_good("a") == ""
    record.set_last_good({"a": "1"})
    assert Record(tmp_path).last_good("a") == "1"


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    """Recording the same version again does not write the file."""
    record = Record(tmp_path)
    record.set_last_good({"a": "1"})
    (tmp_path / RECORD).unlink()
    record.set_last_good({"a": "1"})
    assert not (tmp_path / RECORD).exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """If the record cannot be written, the error names the file."""
    (tmp_path / "compiled").write_text("in the way")
    with pytest.raises(ArtifactError, match=RECORD):
        Record(tmp_path / "compiled").set_last_good({"a": "1"})


def test_what_was_interrupted_before_it_was_written_is_not_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupted write, the next read returns the content of the file."""
    record = Record(tmp_path)
    record.set_last_good({"greet": "1"})

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        record.set_last_good({"greet": "2"})
    record.read()
    assert record.last_good("greet") == "1"


FAILING = "def fail(who, times=1):\n    raise ValueError(who)\ndef register(ctx): ctx.hook('greet', fail)\n"


def counted(running: Running) -> list[HistoryEntry]:
    """Return the entries about faults of running code."""
    return [entry for entry in running.manager.history("greet") if entry.count]


def newest(entry: HistoryEntry) -> Fault:
    """Return the fault of an entry that must have one."""
    assert entry.fault is not None
    return entry.fault


def test_faults_of_hooks_are_counted_with_their_call(workspace: Workspace, run: Run) -> None:
    """History has one entry for a handler's faults: how many, the first and last time, and the last call."""
    workspace["greet"] = FAILING
    running = run(workspace.config())
    for number in range(50):
        running.host.call("greet", "Ada", times=number)
    (entry,) = counted(running)
    assert (entry.count, entry.generation, newest(entry).call) == (50, 0, "greet('Ada', times=49)")
    assert 0 < entry.at < entry.last == newest(entry).at
    assert entry.digest == running.status("greet").digest


def test_secrets_among_the_arguments_are_masked_by_the_handlers_names(workspace: Workspace, run: Run) -> None:
    """An argument without a name is masked if the handler's parameter has the name of a secret."""
    workspace["greet"] = (
        "class Login:\n    def by(self, who, password, *tokens): raise ValueError(who)\n"
        "def register(ctx):\n    ctx.hook('greet', Login().by)\n"
        "    ctx.hook('tell', lambda password: 1 / 0)\n"
    )
    running = run(workspace.config())
    running.host.call("greet", "Ada", "hunter2", "t0ps3cret")
    running.host.call("tell", "hunter2")
    calls = [newest(entry).call for entry in counted(running)]
    assert calls == [
        "greet('Ada', password=••• (masked), tokens=••• (masked))",
        "tell(password=••• (masked))",
    ]


def test_they_survive_a_rebuild_of_unchanged_code(workspace: Workspace, run: Run) -> None:
    """A rebuild clears the plugin's fault, but not the history, which goes on to count."""
    workspace["greet"] = FAILING
    running = run(workspace.config())
    running.host.call("greet", "Ada")
    running.manager.rebuild("greet", force=True)
    assert (running.status("greet").fault, [entry.count for entry in counted(running)]) == (None, [1])
    running.host.call("greet", "Bo")
    (entry,) = counted(running)
    assert (entry.count, newest(entry).generation) == (2, 2)


def test_they_survive_a_restart_of_the_host(workspace: Workspace, run: Run) -> None:
    """A new host goes on to count, and knows no number of an earlier host's generation."""
    workspace["greet"] = FAILING
    before = run(workspace.config())
    for _ in range(3):
        before.host.call("greet", "Ada", times=2)
    before.manager.stop()
    running = run(workspace.config())
    (entry,) = counted(running)
    assert (entry.count, newest(entry).generation) == (3, 0)
    assert newest(entry).call == "greet('Ada', times=2)"
    running.host.call("greet", "Bo")
    (later,) = counted(running)
    assert (later.count, later.at, newest(later).generation) == (4, entry.at, 1)


def test_they_survive_a_host_that_is_killed(workspace: Workspace, run: Run) -> None:
    """A new kind of fault is written at once, not only at the stop of the host."""
    workspace["greet"] = FAILING
    running = run(workspace.config())
    running.host.call("greet", "Ada")
    until((workspace.compiled / FAULTS).exists)
    assert [entry.count for entry in counted(run(workspace.config()))] == [1]


def test_a_fault_from_before_the_event_of_its_version_is_kept_with_the_version(tmp_path: Path) -> None:
    """A worker that fails at once is written again when its version is known, else a new host counts anew."""
    history, waiting = History(), list[Callable[[], None]]()
    history.keep_in(FaultRecord(tmp_path), waiting.append)
    history.count(Fault("thread", "greet", "ValueError", "gone", 1.0, generation=1))
    waiting.pop()()
    history.note(PluginLoaded(2.0, "greet", 1, "d" * 64, (), 0.0, ()))
    for save in waiting:
        save()
    assert [entry.digest for entry in FaultRecord(tmp_path).faults("greet")] == ["d" * 64]


def test_they_are_bounded_and_a_removed_plugin_has_none(workspace: Workspace, run: Run) -> None:
    """History keeps the 20 kinds of faults that happened last; a removed plugin's are removed."""
    lines = "".join(f"    if n == {number}: raise ValueError(n)\n" for number in range(30))
    workspace["greet"] = f"def fail(n):\n{lines}def register(ctx): ctx.hook('greet', fail)\n"
    running = run(workspace.config())
    for number in range(30):
        running.host.call("greet", number)
    assert [newest(entry).message for entry in counted(running)] == [str(n) for n in range(10, 30)]
    (workspace.plugins / "greet").rename(workspace.root / "away")
    running.manager.scan_and_load_all()
    running.manager.stop()
    workspace["greet"] = answering(1)
    assert counted(run(workspace.config())) == []


@pytest.mark.parametrize("content", [b"", b"[]", b'{"greet": {"faults": 1}}', b'{"greet": {"faults": {}}}'])
def test_a_damaged_file_of_faults_counts_as_none(workspace: Workspace, run: Run, content: bytes) -> None:
    """A damaged record of faults is read as an empty one, and can be written again."""
    workspace["greet"] = FAILING
    workspace.compiled.mkdir()
    (workspace.compiled / FAULTS).write_bytes(content)
    running = run(workspace.config())
    running.host.call("greet", "Ada")
    running.manager.stop()
    assert [entry.count for entry in counted(run(workspace.config()))] == [1]


def test_a_file_of_faults_that_cannot_be_written_is_reported(workspace: Workspace, run: Run) -> None:
    """If the record of faults cannot be written, the log says so, and the plugins run on."""
    workspace["greet"] = FAILING
    running = run(workspace.config())
    (workspace.compiled / FAULTS).mkdir()
    running.host.call("greet", "Ada")
    assert running.wait_for(lambda: "the history of faults is not kept" in running.said())
    assert [entry.count for entry in counted(running)] == [1]
