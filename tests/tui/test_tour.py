"""The tour of ``hotload demo``, and the console for an audience."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from hotload_tui import Config
from hotload_tui.core.errors import UsageError
from hotload_tui.remote.process import HostedManager
from hotload_tui.tui.tour import PLUGINS, Scene, Tour, demo_project, time_to_read
from hotload_tui.tui.widgets.status import Caption
from screenshots.cast import Picture, animated
from tests.conftest import Workspace, answering
from tests.counts import ALL_CASES
from tests.tui.console import Console, Run, console
from tests.tui.layout import broken_layout

SIZES = ((80, 24), (120, 36), (200, 50))


class Audience(Tour):
    """A tour that notes its scenes."""

    scenes: tuple[Scene, ...] = ()

    def _present(self, scene: Scene) -> None:
        self.scenes += (scene,)
        super()._present(scene)


@contextmanager
def hosted(project: Path) -> Iterator[HostedManager]:
    """Run the plugins of a project in a host process, as ``hotload demo`` does."""
    folders = {"--plugins": project / PLUGINS, "--compiled": project / "compiled"}
    config = Config(runtime_dir=str(folders["--plugins"]), compiled_dir=str(folders["--compiled"]))
    manager = HostedManager(config, [str(word) for pair in folders.items() for word in pair])
    manager.open()
    try:
        yield manager
    finally:
        manager.close()


def caption(it: Console) -> str:
    """Return the caption, as it is painted."""
    return it.app.screen.query_one(Caption).text


@pytest.mark.parametrize("size", SIZES if ALL_CASES else SIZES[:1], ids="{0[0]}x{0[1]}".format)
async def test_the_tour_shows_what_it_says(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A tour through all its scenes: a save, faults, a slow load, a leak, a crash, a disabled plugin."""
    with demo_project() as project:
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(project), os.environ.get("PYTHONPATH", "")]))
        with hosted(project) as manager:
            tour = Audience(manager, speed=100)
            async with console(
                manager, project, size, start=manager.wait_until_ready, follows=True, tour=tour
            ) as it:
                await it.until(lambda: "That was the tour" in caption(it) or "ends here" in caption(it))
                await it.until(lambda: not broken_layout(it), lambda: str(broken_layout(it)))
                states = {plugin.name: plugin.sign for plugin in manager.snapshot().plugins}
    said = "\n".join(scene.caption for scene in tour.scenes)
    assert "ends here" not in said
    assert "generation 1 → 2" in said
    assert "greet(\"Ada\") still answers: 'Hello, Ada!'" in said
    assert 'convert(20, "USD") answers 21.6' in said
    assert "answers from generation 1: ['reload']" in said
    assert "leaky.plugin.notify, held by keeper.callbacks[0]" in said
    good = ("greet", "leaky", "parked", "prices", "slow")
    assert states == {"crash": "= HELD !", **dict.fromkeys(good, "+ ok")}
    assert not project.exists()


async def test_a_tour_through_the_users_plugins_changes_only_a_copy(workspace: Workspace) -> None:
    """``--plugins DIR``: the tour saves, breaks and disables a plugin of the copy; DIR stays as it is."""
    workspace["apple"], workspace["_pear"] = answering("an apple", "apple"), answering("a pear", "pear")
    before = {path: path.read_bytes() for path in workspace.plugins.rglob("*") if path.is_file()}
    with demo_project(workspace.plugins) as project, hosted(project) as manager:
        tour = Audience(manager, speed=100)
        async with console(manager, project, start=manager.wait_until_ready, follows=True, tour=tour) as it:
            await it.until(lambda: "That was the tour" in caption(it))
    said = [scene.caption for scene in tour.scenes]
    assert said[0].startswith("2 plugins in a temporary project")
    assert "apple is disabled: the name of its folder begins with an underscore." in said
    assert {path: path.read_bytes() for path in workspace.plugins.rglob("*") if path.is_file()} == before


async def test_a_tour_needs_a_plugin_that_is_ok(workspace: Workspace, run: Run) -> None:
    """Where no plugin loads, the caption says why the tour ends."""
    workspace["bad"] = "import nothing_of_this_name\n"
    manager = run(workspace.config()).manager
    async with console(manager, workspace.root, start=lambda: None, tour=Tour(manager, speed=100)) as it:
        await it.until(lambda: caption(it).startswith("The tour ends here: no plugin is ok"))


async def test_the_space_bar_goes_on_and_the_last_key_is_shown(workspace: Workspace, run: Run) -> None:
    """In steps, a scene stays until the space bar is pressed; an audience sees each key."""
    workspace["apple"] = answering("an apple", "apple")
    manager = run(workspace.config(enable_watch=True)).manager
    async with console(manager, workspace.root, start=lambda: None, tour=Tour(manager, in_steps=True)) as it:
        await it.until(lambda: caption(it).endswith("The space bar goes on."))
        await it.press("3")
        await it.until(lambda: " 3" in it.text.splitlines()[-4])
        await it.press("space")
        await it.until(lambda: caption(it) == "The tour now saves a change in apple.")


def test_a_folder_that_is_not_there_is_named() -> None:
    """``--plugins`` with a wrong folder says which."""
    with pytest.raises(UsageError, match="there is no folder nowhere"), demo_project(Path("nowhere")):
        pass


def test_the_animated_picture_shows_one_scene_at_a_time() -> None:
    """The animation shows each scene once in a round; where nothing moves, the first one stays."""
    svg = '<svg viewBox="0 0 10 5" class="terminal-123"><text>{}</text></svg>'
    pictures = [Picture("short", svg.format("one")), Picture("long" * 20, svg.format("two"))]
    root = ET.fromstring(animated(pictures))
    groups = root.findall("{*}g")
    assert ["".join(group.itertext()).strip() for group in groups] == ["one", "two"]
    assert [str(group.get("style")).partition(";")[0] for group in groups] == [
        "visibility: visible",
        "visibility: hidden",
    ]
    rounds = [re.findall(r"(-?[\d.]+)s", str(group.get("style"))) for group in groups]
    total = time_to_read("short") + time_to_read("long" * 20)
    assert [[float(number) for number in one] for one in rounds] == [
        [total, -total],
        [total, time_to_read("short") - total],
    ]
