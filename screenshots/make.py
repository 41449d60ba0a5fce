"""Make the screenshots from the running console: ``python -m screenshots.make``.

The shipped plugins run in a real manager. Only what differs from run to run and from machine to machine
(times, digests) is replaced by fixed values, so that the same console gives the same files.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec.structs import replace

os.environ.update(TEXTUAL_ANIMATIONS="none", TEXTUAL_COLOR_SYSTEM="truecolor", TZ="UTC")
os.environ.pop("NO_COLOR", None)
time.tzset()

from textual.pilot import Pilot  # noqa: E402 - the environment is read on import

from hotload_tui import Config, HookHost, HotloadManager  # noqa: E402
from hotload_tui.core.plugin import LogLine, PluginDetail, PluginStatus, Snapshot  # noqa: E402
from hotload_tui.tui.app import ConsoleApp  # noqa: E402
from hotload_tui.tui.screens.console import ConsoleScreen  # noqa: E402

HERE: Final = Path(__file__).parent
SIZES: Final = ((80, 24), (120, 36), (200, 50))
NOON: Final = 1_767_268_800.0  # 2026-01-01 12:00:00 UTC
LATER: Final = NOON + 300
PATIENCE: Final = 60.0
QUIET: Final = 5
"""Equal pictures in a row, a tenth of a second apart, that count as a settled screen."""
BROKEN: Final = "text_stats"
GOOD_LINE: Final = "WORDS_PER_MINUTE = 238"
BAD_LINE: Final = 'WORDS_PER_MINUTE = int("238 wpm")'


class StillManager(HotloadManager):
    """A manager whose answers have fixed times and digests; everything else is its own."""

    def snapshot(self) -> Snapshot:
        """Return the state, still."""
        snapshot = super().snapshot()
        return replace(snapshot, plugins=tuple(map(_still, snapshot.plugins)))

    def detail(self, name: str) -> PluginDetail:
        """Return a plugin's details, still."""
        detail = super().detail(name)
        return replace(detail, status=_still(detail.status))

    def log(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the log, every line at noon."""
        return tuple(replace(line, at=NOON, text=_still_text(line)) for line in super().log(since))


def _still(status: PluginStatus) -> PluginStatus:
    fault = replace(status.fault, at=LATER) if status.fault else None
    if not status.generation:
        return replace(status, fault=fault)
    running = _digest(status.name, str(status.generation))
    same = status.digest == status.source_digest
    return replace(
        status,
        digest=running,
        source_digest=running if same else _digest(status.name, "disk"),
        compile_seconds=0.0012 + len(status.name) / 10_000,
        load_seconds=0.0004 + len(status.name) / 20_000,
        loaded_at=NOON,
        fault=fault,
    )


def _still_text(line: LogLine) -> str:
    text = re.sub(r"/\S*/demo/", "", line.text)
    text = re.sub(r"\b[0-9a-f]{8}\b", _digest(line.plugin, "1")[:8], text)
    text = re.sub(r"[\d.]+ ms", "1.5 ms", text)
    return re.sub(r"[\d,]+ bytes", "2,048 bytes", text)


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


async def _until(is_so: Callable[[], bool], pilot: Pilot[None]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError("the console did not come to show what is to be pictured")
        await pilot.pause()


async def _picture(view: str, size: tuple[int, int], project: Path) -> str:
    """Open the console in ``project``, bring ``view`` on the screen and return it as SVG."""
    config = Config(runtime_dir=str(project / "plugins"), compiled_dir=str(project / "compiled"))
    manager = StillManager(HookHost(), config)
    app = ConsoleApp(manager, project=project, start=manager.start, stop=manager.stop, clock=lambda: LATER)
    async with app.run_test(size=size) as pilot:
        console = app.screen
        assert isinstance(console, ConsoleScreen)
        await _until(lambda: len(console.plugins) > 0 and console.is_ready, pilot)
        console.choose(BROKEN)
        if view == "error":
            entry = project / "plugins" / BROKEN / "plugin.py"
            entry.write_text(entry.read_text("utf-8").replace(GOOD_LINE, BAD_LINE), "utf-8")
            await _until(lambda: console.selected is not None and console.selected.fault is not None, pilot)
            await pilot.press("enter")
        await _until(lambda: console.source is not None and not console.is_building, pilot)
        await _settled(app, pilot)
        picture = app.export_screenshot(title="hotload")
    manager.stop()
    return picture


async def _settled(app: ConsoleApp, pilot: Pilot[None]) -> None:
    """Wait until the picture does not change any more."""
    before, same = "", 0
    while same < QUIET:
        await pilot.pause(0.1)
        picture = app.export_screenshot()
        same = same + 1 if picture == before else 0
        before = picture


def main() -> None:
    """Write all pictures next to this file."""
    for view in ("overview", "error"):
        for size in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                project = Path(folder) / "demo"
                shutil.copytree(HERE.parent / "plugins", project / "plugins")
                picture = asyncio.run(_picture(view, size, project))
            (HERE / f"{view}-{size[0]}x{size[1]}.svg").write_text(picture, "utf-8")


if __name__ == "__main__":
    main()
