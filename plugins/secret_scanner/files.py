"""Which files of a folder are worth reading."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SKIPPED = {".git", ".venv", "node_modules", "venv", "__pycache__"}
LARGEST = 1_000_000  # bytes


def text_files(folder: str) -> Iterator[Path]:
    """Give each small text file below ``folder``, hidden ones such as ``.env`` too."""
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder}: not a folder")
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not name.endswith("_cache"))
        yield from filter(_is_text, (Path(parent, name) for name in sorted(files)))


def _is_text(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size > LARGEST or not os.access(path, os.R_OK):
        return False
    with path.open("rb") as file:
        return b"\0" not in file.read(1024)
