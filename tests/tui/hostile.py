"""Hostile text."""

from __future__ import annotations

from typing import Final

HARM: Final = (
    "[/x][red]$x[@click=app.quit]q[/]\\"  # markup, and a backslash that ends it
    "\x1b[2J\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x1b\\\x1bP1$r\x1b\\\x1b(0"  # CSI, OSC 0 and 52, DCS, a charset
    "\x9b2J\x9d0;owned\x9c\x90q\x9c\x85"  # the same in eight bits
    "\r\b\x0b\x0c\x0e\x7f"
    "\u202eltr\u202c\u2067rtl\u2069\u200f\u061c\u2028\u2029\ufeff\u200b\u2060\U000e0041"
    "漢字e\u0301\u0323\U0001f469\u200d\U0001f469\u200d\U0001f467\u26a0\ufe0f\U0001f44d\U0001f3fd\u0939\u093f"
)
EVERYTHING: Final = f"{HARM}\x00\ud800"
IN_A_NAME: Final = "[red]$x[@click=app.quit]\x1b]52;c;AA\x07\x1b[2J\u202e漢\U0001f469\u200d\U0001f469\\"
"""The part of it that a directory name can contain."""
