"""Source text of any encoding, tidied; shows the first step of a pipe: the lower priority runs first."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from hotload_tui import PluginContext

TAB_SIZE = 4


class Code(TypedDict):
    """What this step hands to the next one."""

    path: str
    text: str


def read(path: str) -> Code:
    """Read a file by its byte order mark or coding comment, else as UTF-8; tidy tabs and ends of lines."""
    content = Path(path).read_bytes()
    if b"\0" in content:
        raise ValueError(f"{path}: not a text file")
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    lines = content.decode(encoding, errors="replace").splitlines()
    text = "\n".join(line.expandtabs(TAB_SIZE).rstrip() for line in lines)
    return {"path": path, "text": text.strip("\n") + "\n"}


def register(ctx: PluginContext) -> None:
    """Take the first place at the hook point "colour"."""
    ctx.hook("colour", read, priority=10)
