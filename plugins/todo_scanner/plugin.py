"""TODO and FIXME comments of a source tree, one a line; shows settings from hotload.toml."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotload_tui import PluginContext

TAGS = "TODO FIXME HACK XXX"
SKIPPED = "build compiled dist node_modules target venv __pycache__"
LARGEST = 1_000_000  # bytes: what is larger was not written by hand


def text_files(folder: str, skipped: set[str]) -> Iterator[tuple[Path, str]]:
    """Give path and text of each file that people wrote; hidden and ``skipped`` folders are left out."""
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder}: not a folder")
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in skipped and not name.startswith("."))
        for path in sorted(Path(parent, name) for name in files):
            if path.is_file() and path.stat().st_size <= LARGEST and os.access(path, os.R_OK):
                content = path.read_bytes()
                if b"\0" not in content:
                    yield path, content.decode("utf-8", errors="replace")


def register(ctx: PluginContext) -> None:
    """Answer at the hook point "scan".

    The defaults are changed in hotload.toml, both as words with spaces between::

        [plugins.todo_scanner]
        settings = { tags = "TODO BUG", skipped = "vendor dist" }
    """
    tags = str(ctx.settings.get("tags", TAGS)).split()
    skipped = set(str(ctx.settings.get("skipped", SKIPPED)).split())
    comment = re.compile(rf"(?<!\w)[-#/*;]+\s*({'|'.join(map(re.escape, tags))})\b[:\s]*(.*)")

    def scan(folder: str = ".") -> str:
        """List ``file:line: TAG text``, then how many of each tag there are."""
        found: list[str] = []
        counts: Counter[str] = Counter()
        number_of_files = 0
        for path, text in text_files(folder, skipped):
            number_of_files += 1
            for number, line in enumerate(text.splitlines(), start=1):
                if match := comment.search(line):
                    tag, words = match.groups()
                    counts[tag] += 1
                    found.append(f"{path}:{number}: {tag} {words.rstrip(' */->')}")
        summary = ", ".join(f"{count} {tag}" for tag, count in counts.most_common()) or f"no {tags[0]}"
        return "\n".join([*found, f"{summary} in {number_of_files} files"])

    ctx.hook("scan", scan)
