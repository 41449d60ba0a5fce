import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui import Config
from hotload_tui.core.artifact import Artifact, Entry, write_artifact
from hotload_tui.core.compiled import find_artifacts
from hotload_tui.core.compiler import Compiler
from hotload_tui.core.errors import ArtifactError
from hotload_tui.core.events import ArtifactRejected
from tests.conftest import Running, Workspace, answering

ENTRY = '"""Greets."""\n\n\ndef register(ctx): ...\n'


@pytest.fixture
def artifact(workspace: Workspace) -> Path:
    """Return the path of the artifact of a plugin with a data file."""
    workspace["greet"] = ENTRY
    workspace["greet/words.txt"] = "Hello"
    return Compiler(workspace.compiled).compile(workspace.plugins / "greet").artifact.path


def flipped(path: Path, offset: int) -> None:
    """Flip one bit of the file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


def test_an_artifact_holds_what_was_compiled(artifact: Path) -> None:
    """An artifact returns the source, code, data and description that were written to it."""
    found = Artifact(artifact)
    assert found.source("plugin.py") == ENTRY.encode()
    assert found.source("words.txt") == b"Hello"
    assert found.code_object("plugin.py", "/x/plugin.py").co_filename == "/x/plugin.py"
    assert found.manifest.description == "Greets."
    for read in (found.source, found.code):
        with pytest.raises(KeyError):
            read("not-there.py")
    with pytest.raises(KeyError):
        found.code("words.txt")


def test_an_artifact_is_an_ordinary_zip(artifact: Path) -> None:
    """A standard zip reader lists the artifact's members and finds no damage."""
    with zipfile.ZipFile(artifact) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "source/plugin.py",
            "code/plugin.pyc",
            "source/words.txt",
            "manifest.json",
        ]


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    """Equal sources give byte-identical artifacts in different folders."""
    entries = [Entry("plugin.py", b"x = 1\n", "0" * 64, b"code")]
    written = [write_artifact(tmp_path / folder, "greet", "ab" * 32, entries)[0] for folder in "ab"]
    assert written[0].read_bytes() == written[1].read_bytes()


def test_a_reader_keeps_what_it_opened(workspace: Workspace) -> None:
    """A live artifact stays readable after its file is removed, even with large members."""
    workspace["greet"] = ENTRY
    workspace["greet/large.bin"] = bytes(2 << 20)
    found = Compiler(workspace.compiled).compile(workspace.plugins / "greet").artifact
    shutil.rmtree(workspace.compiled)
    assert found.source("large.bin") == bytes(2 << 20)
    assert found.source("plugin.py") == ENTRY.encode()


def regions(path: Path) -> dict[str, int]:
    """Return an offset inside each verified region of the artifact."""
    member = Artifact(path).members["plugin.py"]
    content = path.read_bytes()
    return {
        "source": member.offset + member.size // 2,
        "code": member.code_offset + member.code_size // 2,
        "data": Artifact(path).members["words.txt"].offset,
        "manifest": content.rindex(b'"members"') + 20,
        "comment": len(content) - 10,
        "place": content.rindex(b"hotplug ") + len(b"hotplug "),
        "end record": content.rindex(b"PK\x05\x06"),
    }


@pytest.mark.parametrize("region", ["source", "code", "data", "manifest", "comment", "place", "end record"])
def test_one_flipped_bit_is_one_clear_error(artifact: Path, region: str) -> None:
    """Damage in any region raises an error when that region is read."""
    flipped(artifact, regions(artifact)[region])
    with pytest.raises(ArtifactError, match="is damaged"):
        _read_all(artifact)


def _read_all(path: Path) -> None:
    found = Artifact(path)
    for name, member in found.members.items():
        found.source(name)
        if member.code_size:
            found.code_object(name, name)


def test_every_truncation_is_an_error(artifact: Path) -> None:
    """A truncated artifact is never accepted as complete."""
    whole = artifact.read_bytes()
    for length in range(0, len(whole), 7):
        artifact.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match="damaged"):
            Artifact(artifact)


def test_no_flipped_bit_runs_other_code(artifact: Path) -> None:
    """After any flipped bit, a read returns the original bytes or raises an error."""
    whole = artifact.read_bytes()
    expected = [Artifact(artifact).source("plugin.py"), Artifact(artifact).code("plugin.py")]
    for offset in range(0, len(whole), 3):
        flipped(artifact, offset)
        try:
            found = Artifact(artifact)
            read = [found.source("plugin.py"), found.code("plugin.py")]
        except ArtifactError:
            read = expected
        assert read == expected
        artifact.write_bytes(whole)


@pytest.mark.parametrize(
    ("plugin", "file_name", "is_its"),
    [("a", "a-0123456789ab.hotplug", True), ("a", "a-b-0123456789ab.hotplug", False),
     ("a-b", "a-b-0123456789ab.hotplug", True), ("a", "a-0123456789.hotplug", False),
     ("a", "last-good.json", False)],
)  # fmt: skip
def test_artifacts_belong_to_one_plugin(
    tmp_path: Path,
    plugin: str,
    file_name: str,
    is_its: bool,  # noqa: FBT001
) -> None:
    """An artifact belongs to the plugin in its file name: those of ``a-b`` are not those of ``a``."""
    path = tmp_path / file_name
    path.touch()
    assert find_artifacts(tmp_path, [plugin]) == ({plugin: [path]} if is_its else {})


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _from_other_python(path: Path) -> None:
    """Replace the artifact with one from an interpreter with another magic number."""
    program = (
        "import sys, importlib.util; importlib.util.MAGIC_NUMBER = b'\\0\\0\\r\\n';"
        "from pathlib import Path; from hotload_tui.core.compiler import Compiler;"
        "from hotload_tui.core.artifact import write_artifact;"
        "old = Path(sys.argv[1]); digest = sys.argv[2];"
        "made = write_artifact(old.parent, 'greet', digest, [])[0]; assert made == old, made"
    )
    digest = Artifact(path).manifest.digest
    subprocess.run([sys.executable, "-c", program, str(path), digest], check=True)


def _of_other_source(path: Path) -> None:
    """Replace the artifact with one that was built from another source."""
    write_artifact(path.parent, "greet", path.stem.rpartition("-")[2] + "0" * 52, [])


def _of_other_plugin(path: Path) -> None:
    """Replace the artifact with one of another plugin that has the same files."""
    digest = Artifact(path).manifest.digest
    made, _ = write_artifact(path.parent, "other", digest, [])
    made.rename(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(_truncate, "is damaged"), (_empty, "is damaged"), (_from_other_python, "another Python"),
     (_of_other_source, "another source"), (_of_other_plugin, "of plugin other"),
     *((region, "is damaged") for region in ("source", "code", "manifest", "comment", "data"))],
)  # fmt: skip
def test_a_bad_artifact_is_rebuilt_and_the_log_says_why(
    workspace: Workspace,
    run: Callable[[Config], Running],
    damage: str | Callable[[Path], None],
    reason: str,
) -> None:
    """A damaged or foreign artifact costs one compilation, and the plugin works."""
    workspace["greet"] = answering("Hi")
    workspace["greet/words.txt"] = "Hello"
    path = Compiler(workspace.compiled).compile(workspace.plugins / "greet").artifact.path
    if isinstance(damage, str):
        flipped(path, regions(path)[damage])
    else:
        damage(path)
    running = run(workspace.config())
    assert running.host.call("greet") == ["Hi"]
    assert reason in running.told(ArtifactRejected, "greet")[0].reason
    assert "built again" in running.said()
    _read_all(path)


def test_a_directory_in_the_place_of_an_artifact_is_named(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """If an artifact's path cannot be replaced, the plugin's fault names it."""
    workspace["greet"] = answering("Hi")
    path = Compiler(workspace.compiled).compile(workspace.plugins / "greet").artifact.path
    _make_directory(path)
    running = run(workspace.config())
    assert str(path) in running.fault("greet").message
