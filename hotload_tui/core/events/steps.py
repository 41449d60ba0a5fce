"""``Step``: what a build or a load consists of, and how long each part took."""

from __future__ import annotations

from msgspec import Struct


class Step(Struct, frozen=True):
    """A part of a build or a load."""

    name: str
    seconds: float


def in_words(steps: tuple[Step, ...]) -> str:
    """Return ``read 0.1, compile 2.0 ms``; empty for no steps."""
    text = ", ".join(f"{step.name} {step.seconds * 1000:.1f}" for step in steps)
    return f"{text} ms" if text else ""
