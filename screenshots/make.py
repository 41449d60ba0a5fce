"""Make the screenshots from the running console: ``python -m screenshots.make``.

The shipped plugins run in a real manager, and the pictures show the figures of that run. Each view is also
written as text, for the tests to compare with (``--texts FOLDER``: nothing but these, to that folder). In the
texts, fixed values replace what differs from run to run and from machine to machine (times, digests).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
import math
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

os.environ.update(TEXTUAL_ANIMATIONS="none", TEXTUAL_COLOR_SYSTEM="truecolor", TZ="UTC")
os.environ.pop("NO_COLOR", None)
time.tzset()

from textual.pilot import Pilot  # noqa: E402 - the environment is read on import

from hotload_tui import Config, HookHost, HotloadManager  # noqa: E402
from hotload_tui.core.model import (  # noqa: E402
    HandlerStatus,
    HistoryEntry,
    HookPointStatus,
    Invocation,
    LogLine,
    PluginDetail,
    PluginStatus,
    Snapshot,
)
from hotload_tui.tui.app import ConsoleApp  # noqa: E402
from hotload_tui.tui.dialogs import PlanScreen  # noqa: E402
from hotload_tui.tui.screen import ConsoleScreen  # noqa: E402
from hotload_tui.tui.widgets.hooks_view import HooksView  # noqa: E402
from hotload_tui.tui.widgets.status import Notice  # noqa: E402

HERE: Final = Path(__file__).parent
TEXTS: Final = HERE.parent / "tests" / "tui" / "screens"
SIZES: Final = ((80, 24), (120, 36), (200, 50))
NOON: Final = 1_767_268_800.0  # 2026-01-01 12:00:00 UTC
LATER: Final = NOON + 300
NOTES: Final = "Save the file and the next call uses the new version. " * 50
PATIENCE: Final = 60.0
QUIET: Final = 5
"""Equal pictures in a row, a tenth of a second apart, that count as a settled screen."""
BROKEN: Final = "text_stats"
GOOD_LINE: Final = "WORDS_PER_MINUTE = 238"
CHANGED_LINE: Final = "WORDS_PER_MINUTE = 180"
BAD_LINE: Final = 'WORDS_PER_MINUTE = int("238 wpm")'


class StillManager(HotloadManager):
    """A manager whose answers have fixed times and digests; everything else is its own."""

    def snapshot(self) -> Snapshot:
        """Return the state, still."""
        snapshot = super().snapshot()
        return replace(
            snapshot,
            plugins=tuple(map(_still, snapshot.plugins)),
            points=tuple(map(_still_point, snapshot.points)),
        )

    def detail(self, name: str) -> PluginDetail:
        """Return a plugin's details, still."""
        detail = super().detail(name)
        return replace(
            detail,
            status=_still(detail.status),
            handlers=tuple(map(_still_point, detail.handlers)),
        )

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """Return a plugin's past, an hour between two entries and the newest at noon, still."""
        entries = super().history(name)
        return tuple(
            replace(
                entry,
                at=NOON - 3600 * (len(entries) - number),
                digest=_digest(name, str(entry.generation)) if entry.digest else "",
                compile_seconds=0.0012 + number / 10_000 if entry.compile_seconds else 0.0,
                load_seconds=0.0004 + number / 20_000 if entry.load_seconds else 0.0,
            )
            for number, entry in enumerate(entries, 1)
        )

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:
        """Call a hook point, each handler in a fixed time."""
        found = super().invoke(point, *args, **kwargs)
        return replace(found, seconds=tuple(0.0004 + n / 5_000 for n in range(len(found.seconds))))

    def log(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the log, every line at noon."""
        return tuple(
            replace(line, at=NOON, text=_still_text(line), brief=re.sub(r"[\d.]+ ms", "1.5 ms", line.brief))
            for line in super().log(since)
        )


def _still(status: PluginStatus) -> PluginStatus:
    fault = replace(status.fault, at=LATER) if status.fault else None
    if not status.generation:
        return replace(status, fault=fault, compile_seconds=0.0)
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


def _still_point(point: HookPointStatus) -> HookPointStatus:
    # A pinned call may run once or twice for one save.
    return replace(point, handlers=tuple(map(_still_handler, point.handlers)), calls=min(point.calls, 1))


def _still_handler(handler: HandlerStatus) -> HandlerStatus:
    return replace(handler, mean_seconds=0.0004 if handler.mean_seconds else 0.0, calls=min(handler.calls, 1))


def _still_text(line: LogLine) -> str:
    text = re.sub(r"/\S*/demo/", "", line.text)
    text = re.sub(r"\b[0-9a-f]{8}\b", _digest(line.plugin, "1")[:8], text)
    text = re.sub(r"\b(read|compile|write|execute|register|swap) [\d.]+", r"\1 0.5", text)
    text = re.sub(r"in [\d.]+ ms", "in 1.5 ms", text)
    return re.sub(r"[\d,]+ bytes", "2,048 bytes", text)


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


async def _until(is_so: Callable[[], bool], pilot: Pilot[None]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError("the console did not come to show what is to be pictured")
        await pilot.pause()


class _Stage(NamedTuple):
    """What is needed to bring a view on the screen."""

    console: ConsoleScreen
    pilot: Pilot[None]
    manager: HotloadManager
    entry: Path

    def write(self, line: str, instead_of: str = GOOD_LINE) -> None:
        """Save another version of the plugin, in one step: on a busy machine half a save would be seen."""
        draft = self.entry.with_name(".draft")
        draft.write_text(self.entry.read_text("utf-8").replace(instead_of, line), "utf-8")
        draft.replace(self.entry)

    async def generations(self, number: int) -> None:
        """Wait until so many generations have been there, and the ones before are gone."""

        def are_there() -> bool:
            history = [entry for entry in self.manager.history(BROKEN) if entry.generation]
            return len(history) == number and all(entry.memory for entry in history[:-1])

        await _until(are_there, self.pilot)


async def _overview(stage: _Stage) -> None:
    """Do nothing: it is there from the start."""


async def _error(stage: _Stage) -> None:
    stage.write(BAD_LINE)
    await _broken(stage)
    await stage.pilot.press("enter")


async def _broken(stage: _Stage) -> None:
    console = stage.console
    await _until(
        lambda: console.selection.plugin is not None and console.selection.plugin.fault is not None,
        stage.pilot,
    )


async def _difference(stage: _Stage) -> None:
    stage.write(BAD_LINE)
    await _broken(stage)
    await stage.pilot.press("4", "v")


async def _history(stage: _Stage) -> None:
    stage.write(CHANGED_LINE)
    await stage.generations(2)
    stage.write(BAD_LINE, instead_of=CHANGED_LINE)
    await _broken(stage)
    await stage.pilot.press("6")


async def _hooks(stage: _Stage) -> None:
    await stage.pilot.press("7", "enter", *"notes.md", "enter")
    results = stage.console.query_one(HooksView)
    await _until(lambda: bool(results.text_to_copy()), stage.pilot)
    await stage.pilot.press("space")
    stage.write(CHANGED_LINE)
    await _until(lambda: "\n* " in results.text_to_copy(), stage.pilot)
    await stage.generations(2)


async def _states(stage: _Stage) -> None:
    plugins = stage.entry.parent.parent
    (plugins / "todo_scanner").rename(plugins / "_todo_scanner")
    await _until(lambda: any("retired" in line.text for line in stage.manager.log()), stage.pilot)
    stage.write(BAD_LINE)
    await _broken(stage)


async def _help(stage: _Stage) -> None:
    await stage.pilot.press("question_mark")


async def _filter(stage: _Stage) -> None:
    await stage.pilot.press("slash", *"scanner")


async def _confirmation(stage: _Stage) -> None:
    await stage.pilot.press("C")


async def _palette(stage: _Stage) -> None:
    await stage.pilot.press("colon", *"view: ")


async def _plan(stage: _Stage) -> None:
    stage.manager.pause()
    stage.write(BAD_LINE.replace("(", "(("))
    stage.console.actions.plan()
    await _until(lambda: isinstance(stage.pilot.app.screen, PlanScreen), stage.pilot)


_VIEWS: Final[dict[str, Callable[[_Stage], Awaitable[None]]]] = {
    "overview": _overview,
    "error": _error,
    "difference": _difference,
    "history": _history,
    "hooks": _hooks,
}
_TEXT_VIEWS: Final = _VIEWS | {
    "empty": _overview,
    "states": _states,
    "help": _help,
    "filter": _filter,
    "confirmation": _confirmation,
    "palette": _palette,
    "plan": _plan,
}


@asynccontextmanager
async def _opened(
    view: str, size: tuple[int, int], project: Path, *, is_still: bool
) -> AsyncIterator[tuple[ConsoleApp, Pilot[None]]]:
    """Open the console in ``project``, and bring ``view`` on the screen."""
    config = Config(runtime_dir=str(project / "plugins"), compiled_dir=str(project / "compiled"))
    manager = (StillManager if is_still else HotloadManager)(HookHost(), config)
    clock = (lambda: LATER) if is_still else time.time
    app = ConsoleApp(manager, project=project, start=manager.start, stop=manager.stop, clock=clock)
    async with app.run_test(size=size) as pilot:
        console = app.screen
        assert isinstance(console, ConsoleScreen)
        await _until(lambda: console.startup.is_ready, pilot)
        if view != "empty":
            await _until(lambda: len(console.selection.plugins) > 0, pilot)
            console.selection.choose(BROKEN)
            await _until(
                lambda: console.selection.plugin is not None and console.selection.plugin.name == BROKEN,
                pilot,
            )
        stage = _Stage(console, pilot, manager, project / "plugins" / BROKEN / "plugin.py")
        await _TEXT_VIEWS[view](stage)
        await _until(lambda: view == "empty" or console.selection.closeup.source is not None, pilot)
        await _until(lambda: not console.is_building, pilot)
        console.query_one(Notice).hide()  # which of two is there is a matter of moments
        yield app, pilot
    manager.stop()


async def _picture(view: str, size: tuple[int, int], project: Path) -> str:
    """Return a view as SVG."""
    async with _opened(view, size, project, is_still=False) as (app, pilot):
        picture = await _settled(app.export_screenshot, pilot)
    # The name is made from all that is drawn, also from paths behind links.
    return re.sub(r"\bterminal-\d+\b", f"terminal-{view}-{size[0]}x{size[1]}", picture)


async def _texts(
    view: str, project: Path, agreed: Path | None, sizes: Sequence[tuple[int, int]]
) -> dict[str, str]:
    """Return a view as text in the sizes, by the name of its file: the terminal is resized."""
    found = {}
    async with _opened(view, sizes[0], project, is_still=True) as (app, pilot):

        def text() -> str:
            strips = app.screen._compositor.render_strips()  # noqa: SLF001 - what is painted, as text
            return "".join(f"{''.join(part.text for part in strip).rstrip()}\n" for strip in strips)

        for size in sizes:
            await pilot.resize_terminal(*size)
            name = f"{view}-{size[0]}x{size[1]}.txt"
            expected = (agreed / name).read_text("utf-8") if agreed else ""
            found[name] = await _settled(text, pilot, expected)
    return found


async def _settled(look: Callable[[], str], pilot: Pilot[None], expected: str = "") -> str:
    """Return the picture once it does not change any more; two equal ones do if they are ``expected``."""
    before, same = "", 0
    while same < (1 if before == expected else QUIET):
        await pilot.pause(0.1)
        picture = look()
        same = same + 1 if picture == before else 0
        before = picture
    return before


def _paint(file: Path, picture: str) -> None:
    """Make a PNG of it with Chromium and the font Fira Code; without them there is the SVG only."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', picture)
    if browser is None or box is None:
        return
    width, height = (math.ceil(float(side)) for side in box.groups())
    command = (
        *(browser, "--headless=new", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1"),
        *(f"--window-size={width},{height}", f"--screenshot={file.with_suffix('.png')}", file.as_uri()),
    )
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)  # noqa: S603 - a fixed command


@contextmanager
def _project(*, is_empty: bool = False) -> Iterator[Path]:
    """Give a folder with the shipped plugins, and make it the working directory."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "demo"
        os.environ["XDG_STATE_HOME"] = folder  # not as its user left the console
        shutil.copytree(HERE.parent / "plugins", project / "plugins")
        if is_empty:
            shutil.rmtree(project / "plugins")
            project.joinpath("plugins").mkdir()
        project.joinpath("notes.md").write_text(NOTES, "utf-8")
        os.chdir(project)  # calls by hand name files in it
        yield project
        os.chdir(HERE)


def write_texts(folder: Path, agreed: Path | None = None, sizes: Sequence[tuple[int, int]] = SIZES) -> None:
    """Write each view in the sizes as text; ``agreed`` is a folder with those that are expected."""
    folder.mkdir(parents=True, exist_ok=True)
    for view in _TEXT_VIEWS:
        with _project(is_empty=view == "empty") as project:
            texts = asyncio.run(_texts(view, project, agreed, sizes))
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")


def main() -> None:
    """Write all pictures next to this file, and the texts beside their test."""
    parser = argparse.ArgumentParser(prog="python -m screenshots.make")
    parser.add_argument("--texts", type=Path, metavar="FOLDER", help="write nothing but the texts, to FOLDER")
    parser.add_argument(
        "--agreed", type=Path, metavar="FOLDER", help="the texts that are expected, if any are"
    )
    parser.add_argument("--size", action="append", metavar="80x24", help="write the texts in this size only")
    arguments = parser.parse_args()
    sizes = [size for size in SIZES if not arguments.size or f"{size[0]}x{size[1]}" in arguments.size]
    texts: Path | None = arguments.texts
    agreed: Path | None = arguments.agreed
    logging.getLogger("hotload").addHandler(logging.NullHandler())  # else it comes on the screen twice
    write_texts((texts or TEXTS).absolute(), agreed and agreed.absolute(), sizes)
    for view in {} if texts else _VIEWS:
        for size in SIZES:
            with _project() as project:
                picture = asyncio.run(_picture(view, size, project))
            file = HERE / f"{view}-{size[0]}x{size[1]}.svg"
            file.write_text(picture, "utf-8")
            _paint(file, picture)


if __name__ == "__main__":
    main()
