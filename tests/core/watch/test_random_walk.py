from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from hotload_tui.core.directories import find_plugins
from hotload_tui.core.errors import DiscoverError
from hotload_tui.core.source import read_source
from tests.conftest import Workspace, answering
from tests.core.watch.conftest import Heard, Watch
from tests.counts import WALK_SEED, WALK_STEPS

_BURST = 25  # steps between two pauses


class Walk:
    """A random walk of changes to directories."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.outside = root.parent / "outside"
        self.outside.mkdir()
        self.random = random.Random(WALK_SEED)
        self.count = 0

    def step(self) -> None:
        """Make one random change; an impossible one is skipped."""
        act: Callable[[], None] = self.random.choice(
            [self.write, self.write, self.write, self.replace, self.move, self.delete, self.delete_plugin,
             self.copy, self.switch, self.move_out, self.move_in, self.link, self.hard_link, self.truncate]
        )  # fmt: skip
        with contextlib.suppress(OSError, shutil.Error):
            act()

    def write(self) -> None:
        """Create or save a file."""
        path = self.file(self.plugin())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text())

    def replace(self) -> None:
        """Save by renaming a temporary file, as most editors do."""
        path = self.file(self.plugin())
        new = path.with_name(".new")
        new.write_text(self.text())
        new.replace(path)

    def move(self) -> None:
        """Move a file within its plugin or to another one."""
        self.file(self.plugin()).rename(self.file(self.plugin()))

    def delete(self) -> None:
        """Delete a file."""
        self.file(self.plugin()).unlink()

    def delete_plugin(self) -> None:
        """Delete a plugin's directory, or the link in its place."""
        plugin = self.plugin()
        plugin.unlink() if plugin.is_symlink() else shutil.rmtree(plugin)

    def copy(self) -> None:
        """Copy a whole plugin."""
        shutil.copytree(self.plugin(), self.plugin(), symlinks=True)

    def switch(self) -> None:
        """Disable or enable a plugin."""
        plugin = self.plugin()
        off = plugin.with_name(f"_{plugin.name}")
        off.rename(plugin) if off.exists() else plugin.rename(off)

    def move_out(self) -> None:
        """Move a plugin out of the tree."""
        self.plugin().rename(self.outside / f"p{self.random.randrange(4)}")

    def move_in(self) -> None:
        """Move a plugin into the tree."""
        (self.outside / f"p{self.random.randrange(4)}").rename(self.plugin())

    def link(self) -> None:
        """Link a plugin, or a folder in one, to a directory outside the tree."""
        target = self.outside / f"p{self.random.randrange(4)}"
        plugin = self.plugin()
        (plugin if self.random.random() < 0.5 else plugin / "linked").symlink_to(target)

    def hard_link(self) -> None:
        """Make a hard link to a file outside the tree, or save through that link."""
        other = self.outside / "hard.txt"
        if other.exists():
            other.write_text(self.text())
        else:
            os.link(self.file(self.plugin()), other)

    def truncate(self) -> None:
        """Empty a file."""
        os.truncate(self.file(self.plugin()), 0)

    def plugin(self) -> Path:
        """Return the path of a random plugin, which may not exist."""
        return self.root / f"p{self.random.randrange(5)}"

    def file(self, plugin: Path) -> Path:
        """Return the path of a random file, which may not exist."""
        return plugin / self.random.choice(["plugin.py", "plugin.py", "a.py", "sub/b.py", "sub/deep/c.txt"])

    def text(self) -> str:
        """Return a content that no file has had."""
        self.count += 1
        return answering(self.count)


def on_disk(root: Path) -> dict[str, str]:
    """Return the digest of every enabled plugin that can be read."""
    found = {}
    for name, directory in find_plugins(root).items():
        if directory.enabled:
            with contextlib.suppress(DiscoverError):
                found[name] = read_source(name, directory.path).digest
    return found


def told(heard: Heard) -> dict[str, str]:
    """Return the digest that was last reported for each plugin."""
    return {name: source.digest for name, source in heard.served.items()}


def test_after_each_burst_the_reports_match_the_disk(
    workspace: Workspace, watch: Watch, notifier: str
) -> None:
    """After each burst of random changes, the last report of each plugin matches the disk."""
    heard = watch(sweep_interval=0.3, notifier=notifier)
    for name, directory in find_plugins(workspace.plugins).items():
        heard.served[name] = read_source(name, directory.path)
    walk = Walk(workspace.plugins)
    for number in range(WALK_STEPS):
        walk.step()
        if number % _BURST == _BURST - 1:
            heard.wait_for(lambda: told(heard) == on_disk(workspace.plugins))
            assert told(heard) == on_disk(workspace.plugins), f"step {number}, seed {WALK_SEED}"
