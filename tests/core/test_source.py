import os
from pathlib import Path

import pytest

from hotload_tui.core.errors import DiscoverError
from hotload_tui.core.source import SourceRule, is_as_read, is_noise, read_source
from tests.conftest import Workspace

ENTRY = "def register(ctx): ...\n"


def paths(root: Path) -> list[str]:
    """Return the relative paths of the plugin's files."""
    return [file.path for file in read_source("greet", root).files]


def test_every_file_of_the_directory_counts(workspace: Workspace) -> None:
    """Files in sub-folders and data files belong to the plugin."""
    workspace["greet"] = ENTRY
    workspace["greet/words/hello.txt"] = "Hello"
    assert paths(workspace.plugins / "greet") == ["plugin.py", "words/hello.txt"]


@pytest.mark.parametrize(
    "name",
    [".plugin.py.swp", "plugin.py~", "4913", "#plugin.py#", "sedAb12Cd", "plugin.py.AbCdEf",
     "plugin.py___jb_tmp___",
     "x.pyc", "__pycache__", ".git", ".#plugin.py", "poetry.lock", "node_modules"],
)  # fmt: skip
def test_what_editors_and_caches_leave_does_not_count(workspace: Workspace, name: str) -> None:
    """Files of editors and caches do not change the digest."""
    workspace["greet"] = ENTRY
    before = read_source("greet", workspace.plugins / "greet").digest
    workspace[f"greet/{name}"] = "noise"
    assert is_noise(name)
    assert read_source("greet", workspace.plugins / "greet").digest == before


@pytest.mark.parametrize("change", ["content", "name", "added"])
def test_the_digest_knows_every_change(workspace: Workspace, change: str) -> None:
    """Another content, another name or another file gives another digest."""
    workspace["greet"] = ENTRY
    workspace["greet/a.txt"] = "one"
    root = workspace.plugins / "greet"
    before = read_source("greet", root).digest
    if change == "content":
        workspace["greet/a.txt"] = "two"
    elif change == "name":
        (root / "a.txt").rename(root / "b.txt")
    else:
        workspace["greet/empty"] = ""
    assert read_source("greet", root).digest != before


def test_the_digest_does_not_depend_on_times_or_place(workspace: Workspace) -> None:
    """Touching a file or moving the directory does not change the digest."""
    workspace["greet"] = ENTRY
    root = workspace.plugins / "greet"
    before = read_source("greet", root).digest
    os.utime(root / "plugin.py", (1, 1))
    moved = root.rename(workspace.root / "elsewhere")
    assert read_source("greet", moved).digest == before


def test_loops_of_links_are_walked_once(workspace: Workspace) -> None:
    """Links to the directory itself, to themselves or to nothing do not trap the reader."""
    workspace["greet"] = ENTRY
    workspace["greet/sub/a.txt"] = "a"
    root = workspace.plugins / "greet"
    (root / "sub" / "up").symlink_to(root)
    (root / "nowhere").symlink_to("not-there")
    (root / "self").symlink_to("self")
    assert paths(root) == ["plugin.py", "sub/a.txt"]


def test_linked_files_and_folders_count(workspace: Workspace) -> None:
    """The targets of links belong to the plugin, even outside its directory."""
    workspace["greet"] = ENTRY
    root = workspace.plugins / "greet"
    shared = workspace.root / "shared"
    shared.mkdir()
    (shared / "words.txt").write_text("Hello")
    (root / "one.txt").symlink_to(shared / "words.txt")
    (root / "all").symlink_to(shared)
    assert paths(root) == ["all/words.txt", "one.txt", "plugin.py"]


def test_a_pipe_is_not_read(workspace: Workspace) -> None:
    """A FIFO does not count, because opening it would block."""
    workspace["greet"] = ENTRY
    os.mkfifo(workspace.plugins / "greet" / "pipe")
    assert paths(workspace.plugins / "greet") == ["plugin.py"]


def test_a_name_that_is_not_utf8_is_shown_escaped(workspace: Workspace) -> None:
    """A file name in another encoding is read and listed with escapes."""
    workspace["greet"] = ENTRY
    Path(os.fsdecode(os.fsencode(workspace.plugins / "greet") + b"/caf\xe9.txt")).write_text("x")
    assert paths(workspace.plugins / "greet") == ["caf\\xe9.txt", "plugin.py"]


@pytest.mark.parametrize(
    ("in_its_place", "reason"),
    [("nothing", "no plugin.py"), ("directory", "is a directory"), ("dangling link", "which is no file"),
     ("pipe", "no regular file"), ("loop", "which is no file")],
)  # fmt: skip
def test_the_entry_must_be_a_file(workspace: Workspace, in_its_place: str, reason: str) -> None:
    """Anything but a file in the place of plugin.py is refused with the reason."""
    root = workspace.plugins / "greet"
    root.mkdir()
    entry = root / "plugin.py"
    if in_its_place == "directory":
        entry.mkdir()
    elif in_its_place == "dangling link":
        entry.symlink_to("not-there.py")
    elif in_its_place == "pipe":
        os.mkfifo(entry)
    elif in_its_place == "loop":
        entry.symlink_to("plugin.py")
    with pytest.raises(DiscoverError, match=reason):
        read_source("greet", root)


def test_every_write_shows_without_reading(workspace: Workspace) -> None:
    """A save of the same length shows in the file's facts, and an untouched directory counts as unchanged."""
    workspace["greet"] = ENTRY
    source = read_source("greet", workspace.plugins / "greet")
    assert is_as_read(source)
    workspace["greet"] = ENTRY.replace("ctx", "CTX")
    assert not is_as_read(source)
    (workspace.plugins / "greet" / "plugin.py").unlink()
    (workspace.plugins / "greet").rmdir()
    assert not is_as_read(source)


@pytest.mark.parametrize(
    ("pattern", "left_out"),
    [("*.log", ["a.log", "deep/b.log"]), ("/a.log", ["a.log"]), ("deep/", ["deep/b.log", "deep/c.txt"]),
     ("deep/*\n!deep/c.txt", ["deep/b.log"]), ("*", ["a.log", "deep/b.log", "deep/c.txt"])],
)  # fmt: skip
def test_patterns_leave_files_out(workspace: Workspace, pattern: str, left_out: list[str]) -> None:
    """Patterns work as in a .gitignore of the plugin's directory, but never exclude plugin.py."""
    files = ["a.log", "deep/b.log", "deep/c.txt"]
    workspace["greet"] = ENTRY
    for file in files:
        workspace[f"greet/{file}"] = "x"
    source = read_source("greet", workspace.plugins / "greet", SourceRule(pattern.splitlines()))
    assert {file.path for file in source.files} == {"plugin.py", *files} - set(left_out)


def test_a_hidden_file_counts_if_a_pattern_says_so(workspace: Workspace) -> None:
    """The pattern ``!.env`` makes a hidden file belong to the plugin; other hidden files do not."""
    rule = SourceRule(["!.env"])
    for file in ("plugin.py", ".env", "deep/.env", ".other", "__pycache__/.env"):
        workspace[f"greet/{file}"] = ENTRY
    source = read_source("greet", workspace.plugins / "greet", rule)
    assert {file.path for file in source.files} == {"plugin.py", ".env", "deep/.env"}
    assert not rule.leaves_out_below(["deep", ".env"])
    assert rule.leaves_out_below(["__pycache__", ".env"])
    assert rule.leaves_out_below([".other"])
