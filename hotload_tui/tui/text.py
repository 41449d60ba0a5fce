"""Make foreign text harmless, shorten figures, and find the line that a fault points at.

Plugins supply names, messages, source and logs: the console shows such text and never interprets it. Cleaning
keeps the number of characters in a line, so that the columns of a traceback still point at the right place.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from pathlib import Path
from typing import Final

from rich.cells import cell_len, chop_cells

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
LONGEST_LINE: Final = 2000
"""The maximum number of characters shown of one line; a line of a megabyte would stall the layout."""

# C0 except tab and newline, DEL and C1 (escape sequences), separators that break lines in unexpected places,
# marks that change the direction of writing, invisible characters, in which text can hide, and lone
# surrogates, which no terminal's encoding can write.
_HARMFUL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)

# Characters that join several emoji into one, or change one: terminals disagree on the width of the result.
_JOINING: Final = re.compile("[\u200d\ufe0f\U0001f3fb-\U0001f3ff]")
_NON_JOINER: Final = "\N{ZERO WIDTH NON-JOINER}"

NO_PLUGIN: Final = "No plugin is selected. n makes one from the template."


def is_plain(text: str) -> bool:
    """Return whether ``text`` is one line of ASCII without control characters."""
    return text.isascii() and text.isprintable()


def clean(text: str) -> str:
    """Return ``text`` with every harmful character replaced, one for one; tab and newline stay.

    CRLF becomes a newline. Joined emoji are separated, so that every terminal shows them at the same width.
    """
    if is_plain(text):  # most text is plain, and the check costs a tenth of the work
        return text
    text = _HARMFUL.sub(REPLACEMENT, text.replace("\r\n", "\n"))
    return text if text.isascii() else _JOINING.sub(_NON_JOINER, text)


def clean_line(text: str, limit: int = LONGEST_LINE) -> str:
    """Return ``text`` as one harmless line; cut it after ``limit`` characters and append its length."""
    cut = text[: limit + 1]
    line = clean(cut).replace("\n", " ").replace("\t", " ")
    if len(cut) <= limit:
        return line
    return f"{line[:limit]}… ({len(text):,} characters)"


_PLACE: Final = re.compile(r"\(?[^\s():]*[./][^\s():]*:\d+\)?")
"""A ``file:line``, perhaps in brackets."""


def cut(text: str, room: int) -> str:
    """Return one harmless line in at most ``room`` cells; what is left out is replaced by ``…``.

    The first ``file:line`` in the line stays whole: the text before it is cut instead.
    """
    if cells(text) <= room:
        return text
    place = _PLACE.search(text)
    if place is None or cells(text[: place.end()]) < room:
        return f"{_head(text, room - 1)}…"
    end = "…" if place.end() < len(text) else ""
    left = room - 2 - cells(place[0] + end)
    if left > 0:
        return f"{_head(text, left)}… {place[0]}{end}"
    inner = place[0].strip("()")
    return f"…{inner[-max(1, room - 2) :]}…" if end or inner != place[0] else f"…{inner[1 - room :]}"


def shows_place(cut_text: str, text: str) -> bool:
    """Return whether a cut text has the name and the line of the first ``file:line`` in the whole text."""
    place = _PLACE.search(text)
    return place is None or place[0].strip("()").rpartition("/")[2] in cut_text


def _head(text: str, room: int) -> str:
    if text.isascii():
        return text[: max(0, room)]
    return next(iter(chop_cells(text, room)), "") if room > 0 else ""


def cells(text: str) -> int:
    """Return the number of cells that a line takes."""
    return len(text) if text.isascii() else cell_len(text)  # cell_len's cache stays free for other text


def clean_lines(text: str, limit: int = LONGEST_LINE) -> list[str]:
    """Return the harmless lines of ``text``, with tabs expanded."""
    if len(text) <= limit and is_plain(text):
        return [text]
    return [clean_line(line.expandtabs(4), limit) for line in clean(text).split("\n")]


def duration(seconds: float) -> str:
    """Return a duration in at most four characters: ``9s``, ``12m``, ``3h``, ``40d``."""
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def milliseconds(seconds: float) -> str:
    """Return a measured duration in milliseconds, without unit; ``-`` if nothing was measured."""
    if seconds <= 0:
        return "-"
    value = seconds * 1000
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004 - three digits are enough


def short(number: int) -> str:
    """Return a count in at most five characters: ``99999``, ``120k``, ``3M``; ``-`` for none."""
    for size, unit in ((10**6, "M"), (10**3, "k")):
        if number >= size * 100:
            return f"{number // size}{unit}"
    return str(number or "-")


def clock_time(at: float) -> str:
    """Return the local time of day, to the second."""
    return _clock_time(int(at))


@lru_cache(maxsize=16)
def _clock_time(at: int) -> str:
    """Return the time of day for a whole second; the cache helps because a log has many lines per second."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def short_path(path: str | Path, project: Path) -> str:
    """Return ``path`` cleaned, and relative to the project if it is inside."""
    try:
        shown = str(Path(path).relative_to(project))
    except ValueError:
        shown = str(path)
    return clean_line(shown)


def count(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 frame``, ``2 frames``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def is_wanted(text: str, wanted: str) -> bool:
    """Return whether ``text`` contains ``wanted`` (casefolded), or for ``!text``, does not contain it."""
    folded = text.casefold()
    return wanted[1:] not in folded or wanted == "!" if wanted.startswith("!") else wanted in folded
