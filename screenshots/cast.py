"""Make the animated picture of a real run of the tour of ``hotload demo``: ``python -m screenshots.cast``."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from hotload_tui import Config
from hotload_tui.remote.process import HostedManager
from hotload_tui.tui.app import ConsoleApp
from hotload_tui.tui.tour import PLUGINS, Tour, demo_project, time_to_read
from hotload_tui.tui.widgets.status import Caption

FILE: Final = Path(__file__).with_name("tour.svg")
SIZE: Final = (100, 30)
SETTLED: Final = 1.5
"""Seconds after which a scene is pictured: its effects have reached the screen."""


class Picture(NamedTuple):
    """One scene."""

    caption: str
    svg: str


async def play() -> list[Picture]:
    """Play the tour in a console, and return a picture of each scene."""
    pictures: list[Picture] = []
    with demo_project() as project:
        os.environ["PYTHONPATH"] = str(project)
        os.environ["XDG_STATE_HOME"] = str(project.parent)  # not as its user left the console
        folders = {"--plugins": project / PLUGINS, "--compiled": project / "compiled"}
        config = Config(runtime_dir=str(folders["--plugins"]), compiled_dir=str(folders["--compiled"]))
        manager = HostedManager(config, [str(word) for pair in folders.items() for word in pair])
        tour = Tour(manager, speed=0.5)  # long enough for a picture; then it goes on at once
        manager.open()
        app = ConsoleApp(
            manager,
            project=project,
            presents=True,
            tour=tour,
            start=manager.wait_until_ready,
            stop=manager.close,
            restart=manager.restart,
        )
        app.animation_level = "none"
        async with app.run_test(size=SIZE) as pilot:
            while not (pictures and not tour.is_under_way):
                caption = app.screen.query_one(Caption).text
                if caption and (not pictures or caption != pictures[-1].caption):
                    await pilot.pause(SETTLED)
                    pictures.append(Picture(caption, app.export_screenshot()))
                    tour.go_on()
                await pilot.pause(0.1)
        manager.close()
    return pictures


def animated(pictures: Sequence[Picture]) -> str:
    """Return one SVG that shows the pictures in turn, for ever, each as long as its caption needs.

    Where nothing moves, the first picture is shown.
    """
    box = re.search(r'viewBox="[^"]*"', pictures[0].svg)
    assert box is not None
    seconds = [time_to_read(picture.caption) for picture in pictures]
    total = sum(seconds)
    rules, frames, start = [], [], 0.0
    for number, (picture, duration) in enumerate(zip(pictures, seconds, strict=True)):
        end = 100 * duration / total
        rules.append(
            f"@keyframes scene-{number} {{ 0%, {end:.3f}% {{ visibility: visible }} "
            f"{end + 0.001:.3f}%, 100% {{ visibility: hidden }} }}"
        )
        # A negative delay: at the start, each scene is somewhere in its round.
        round_ = f"scene-{number} {total:.2f}s step-end {start - total:.2f}s infinite"
        svg = re.sub(r"\bterminal-\d+\b", f"scene-{number}", picture.svg)
        frames.append(
            f'<g style="visibility: {"hidden" if number else "visible"}; animation: {round_}">{svg}</g>'
        )
        start += duration
    lines = ("<style>", *rules, "</style>", *frames)
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {box[0]}>', *lines, "</svg>", ""])


def main() -> None:
    """Write the animation next to this file."""
    pictures = asyncio.run(play())
    FILE.write_text(animated(pictures), "utf-8")
    print(f"{FILE.name}: {len(pictures)} scenes, {FILE.stat().st_size / 1e6:.1f} MB")  # noqa: T201 - a command


if __name__ == "__main__":
    main()
