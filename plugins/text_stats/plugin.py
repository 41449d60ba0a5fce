"""Words, reading time and readability of prose; shows the smallest plugin: one function at one hook point."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from hotload_tui import PluginContext

WORDS_PER_MINUTE = 238  # adults reading English silently: Brysbaert 2019
PROSE = {".md", ".rst", ".txt"}

_CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]+`|https?://\S+", re.DOTALL | re.MULTILINE)
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)|\n\s*\n|\n(?=\s*(?:[-*+#|>]|\d+\.)\s)")
_SYLLABLE = re.compile(r"[aeiouy]+(?!$)|[aiouy]+$|(?<=l)e$", re.IGNORECASE)


class Figures(TypedDict):
    """What is measured of one text."""

    words: int
    sentences: int
    longest_sentence: int
    minutes: float
    reading_ease: float
    grade: float


def figures_of(text: str) -> Figures:
    """Measure ``text``; ease and grade are Flesch's and Kincaid's formulas, made for English."""
    sentences = [_WORD.findall(part) for part in _SENTENCE_END.split(_CODE.sub(" ", text))]
    lengths = [len(words) for words in sentences if words]
    words = sum(lengths)
    syllables = sum(max(1, len(_SYLLABLE.findall(word))) for sentence in sentences for word in sentence)
    per_sentence = words / max(1, len(lengths))
    per_word = syllables / max(1, words)
    return {
        "words": words,
        "sentences": len(lengths),
        "longest_sentence": max(lengths, default=0),
        "minutes": round(words / WORDS_PER_MINUTE, 1),
        "reading_ease": round(206.835 - 1.015 * per_sentence - 84.6 * per_word, 1) if words else 0.0,
        "grade": round(0.39 * per_sentence + 11.8 * per_word - 15.59, 1) if words else 0.0,
    }


def analyse(path: str) -> Figures | dict[str, Figures]:
    """Measure one file, or each .md, .rst and .txt file directly in a folder."""
    target = Path(path)
    if not target.is_dir():
        return figures_of(target.read_text("utf-8", errors="replace"))
    files = sorted(file for file in target.iterdir() if file.suffix in PROSE and file.is_file())
    return {file.name: figures_of(file.read_text("utf-8", errors="replace")) for file in files}


def register(ctx: PluginContext) -> None:
    """Answer at the hook point "analyse"."""
    ctx.hook("analyse", analyse)
