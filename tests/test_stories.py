"""Each document under ``docs/`` is executed as a story: its blocks are written, run and compared, in order.

A block that names a file (```` ```python plugins/hello/plugin.py ````) is written to that file. Other Python
runs as a script, and a following ``text`` block is its expected output. In a ``console`` block each ``$
command`` runs, and the lines after it are its expected output, where ``…`` stands for any text. A command
that ends in ``&`` is a host, and runs until the end of the story.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.waiting import until

DOCS = Path(__file__).parent.parent / "docs"
FENCE = re.compile(r"^```(\w*)[ ]?(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TOLD = {"configuration.md"}  # its blocks are tested in test_docs.py
LANGUAGES = {"python", "toml", "console", "text", ""}  # a block without a language is a picture or a list


class Block(NamedTuple):
    """A fenced block."""

    language: str
    file: str
    text: str


class Story:
    """A document that is executed in its own folder."""

    def __init__(self, folder: Path, session: Path) -> None:
        self._folder = folder
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        unset = ("TMUX", "DISPLAY", "WAYLAND_DISPLAY")
        kept = {name: value for name, value in os.environ.items() if name not in unset}
        own = {"XDG_RUNTIME_DIR": str(session), "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        self._environment = {**kept, "PATH": path, **own}
        self._hosts: list[subprocess.Popen[str]] = []
        self._printed = ""

    def tell(self, block: Block) -> None:
        """Execute one block."""
        if block.file:
            path = self._folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python":
            self._printed, code = self._run([sys.executable, "-c", block.text])
            assert code == 0, f"{block.text}\n{self._printed}"
        elif block.language == "text" and self._printed:
            assert _fits(self._printed, block.text), self._printed
        elif block.language == "console":
            for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
                self._command(command, expected)

    def end(self) -> None:
        """Stop the running hosts."""
        for host in self._hosts:
            host.terminate()
            host.communicate()

    def _command(self, command: str, expected: str) -> None:
        if command.endswith("&"):
            host = subprocess.Popen(
                ["bash", "-c", f"exec {command.removesuffix('&')}"],
                cwd=self._folder,
                env=self._environment,
                stderr=subprocess.PIPE,
                text=True,
            )
            self._hosts.append(host)
            assert host.stderr is not None
            assert any("Ctrl-C stops it" in line for line in iter(host.stderr.readline, ""))
            return
        printed = ""

        def is_so() -> bool:
            nonlocal printed
            printed, _ = self._run(["bash", "-c", command])
            return _fits(printed, expected)

        def why() -> str:
            return f"$ {command}\n{printed}"

        if self._hosts:  # a save goes live a moment later
            until(is_so, why)
        else:
            assert is_so(), why()

    def _run(self, command: list[str]) -> tuple[str, int]:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout, done.returncode


def _fits(printed: str, expected: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """Yield a story in an empty folder."""
    session = tempfile.mkdtemp(prefix="hl-")  # with a short path because socket paths are limited
    story = Story(tmp_path, Path(session))
    yield story
    story.end()
    shutil.rmtree(session)


@pytest.mark.parametrize("name", sorted(path.name for path in DOCS.glob("*.md") if path.name not in TOLD))
def test_a_document_shows_what_happens(story: Story, name: str) -> None:
    """A document's commands and programs print the documented output, from top to bottom."""
    blocks = [Block(*found) for found in FENCE.findall((DOCS / name).read_text())]
    assert {block.language for block in blocks} <= LANGUAGES
    for block in blocks:
        story.tell(block)
