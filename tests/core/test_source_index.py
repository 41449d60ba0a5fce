"""Sources that are unchanged since the last start are not read again, and no result depends on that."""

import mmap
import os
import time
from collections.abc import Callable

import pytest

from hotload_tui import Config
from hotload_tui.core import compiled, source
from hotload_tui.core.events import ArtifactRejected, PluginCompiled
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]


@pytest.fixture
def run_once(run: Run) -> Run:
    """Return a function that starts a manager and stops it."""

    def start_and_stop(config: Config) -> Running:
        running = run(config)
        running.manager.stop()
        return running

    return start_and_stop


@pytest.fixture
def is_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all files that exist at a start count as written long before it."""
    now = time.time_ns
    for module in (compiled, source):
        monkeypatch.setattr(module, "time_ns", lambda: now() + 3600 * 10**9)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no text": lambda _: bytes(range(256)),
    "cut short": lambda content: content[:-5],
    "without its content": lambda content: content.partition(b"\n")[0],
    "another digest": lambda content: content.replace(b"digest", b"DIGEST")[:-70] + b"0" * 70,
    "of another release": lambda content: b"0" + content[1:],
    "of another shape": lambda content: content.partition(b"\n")[0] + b'\n{"greet": 1}',
}


@pytest.mark.usefixtures("is_long_ago")
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_index_costs_the_time_of_reading(
    kind: str, workspace: Workspace, run: Run, run_once: Run
) -> None:
    """With a damaged index the plugin still loads from its artifact, and the stop writes a good index."""
    workspace["greet"] = answering("hello")
    run_once(workspace.config())
    index = workspace.compiled / "sources.json"
    good = index.read_bytes()
    index.write_bytes(DAMAGES[kind](good))
    running = run(workspace.config())
    assert running.host.call("greet") == ["hello"]
    assert running.told(PluginCompiled) == []
    running.manager.stop()
    assert index.read_bytes() == good


@pytest.mark.usefixtures("is_long_ago")
def test_a_source_is_loaded_as_it_is_although_the_index_knows_it(
    workspace: Workspace, run: Run, run_once: Run
) -> None:
    """A changed source is noticed despite equal size and time, as are added, removed and ignored files."""
    for name in ("changed", "added", "shrunk"):
        workspace[name] = answering(name)
    workspace["shrunk/part.py"] = ""
    run_once(workspace.config())
    entry = workspace.plugins / "changed" / "plugin.py"
    facts = entry.stat()
    entry.write_text(entry.read_text().replace("changed", "CHANGED"))
    os.utime(entry, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    workspace["added/part.py"] = ""
    (workspace.plugins / "shrunk" / "part.py").unlink()
    running = run(workspace.config())
    assert running.host.call("greet") == ["added", "CHANGED", "shrunk"]
    assert {event.name for event in running.told(PluginCompiled)} == {"changed", "added", "shrunk"}
    running.manager.stop()
    again = run(workspace.config(watch={"ignore": ["part.py"]}))
    assert [file.path for file in again.manager.detail("added").files] == ["plugin.py"]


def test_a_write_that_leaves_all_facts_of_the_file_is_seen_for_a_minute(
    workspace: Workspace, run: Run, run_once: Run
) -> None:
    """Within a minute of a write, the content is read, because a mapped page can change without new times."""
    workspace["greet"] = answering("one")
    entry = workspace.plugins / "greet" / "plugin.py"
    with entry.open("r+b") as file, mmap.mmap(file.fileno(), 0) as page:
        at = page.find(b"one")
        page[at : at + 3] = b"two"
        assert run_once(workspace.config()).status("greet").source_digest
        page[at : at + 3] = b"six"
        assert run(workspace.config()).host.call("greet") == ["six"]


@pytest.mark.usefixtures("is_long_ago")
@pytest.mark.parametrize("kind", ["damaged", "missing"])
def test_an_artifact_that_cannot_be_used_is_made_again_although_the_source_is_known(
    kind: str, workspace: Workspace, run: Run, run_once: Run
) -> None:
    """A missing or damaged artifact is built again, although the index knows the source."""
    workspace["greet"] = answering("hello")
    run_once(workspace.config())
    (artifact,) = workspace.compiled.glob("*.hotplug")
    content = artifact.read_bytes()
    artifact.unlink()
    if kind == "damaged":
        artifact.write_bytes(content.replace(b"hello", b"HELLO"))
    running = run(workspace.config())
    assert running.host.call("greet") == ["hello"]
    assert [event.compiled for event in running.told(PluginCompiled)] == [1]
    assert len(running.told(ArtifactRejected)) == (kind == "damaged")


@pytest.mark.usefixtures("is_long_ago")
def test_a_failure_of_a_source_that_was_not_read_shows_its_lines(
    workspace: Workspace, run: Run, run_once: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault shows the lines from the artifact, even if the file has changed."""
    workspace["greet"] = (
        "import os\n\n\ndef register(ctx):\n    pass\n\n\n"
        "if 'OF_THE_TEST' in os.environ:\n    open(__file__, 'w').close()\n"
        "    def register():\n        pass\n"
    )
    run_once(workspace.config())
    monkeypatch.setenv("OF_THE_TEST", "1")
    fault = run(workspace.config()).fault("greet")
    assert (fault.type, fault.frames[-1].line) == ("RegisterError", 10)
    assert "    def register():" in fault.frames[-1].lines


@pytest.mark.usefixtures("is_long_ago")
def test_a_plugin_that_is_gone_leaves_the_index(workspace: Workspace, run_once: Run) -> None:
    """The index does not keep plugins that are gone."""
    for name in ("goes", "stays"):
        workspace[name] = answering(name)
    run_once(workspace.config())
    (workspace.plugins / "goes").rename(workspace.root / "elsewhere")
    workspace["stays"] = answering("changed")
    run_once(workspace.config())
    content = (workspace.compiled / "sources.json").read_text()
    assert ("stays" in content, "goes" in content) == (True, False)
