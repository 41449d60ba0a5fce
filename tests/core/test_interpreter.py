"""What relies on internals of the interpreter works, and without it the rest still does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hotload_tui.core.interpreter import TRICKS, Trick, works
from tests.waiting import PATIENCE

# Loads two plugins, reloads one, and prints what its handler returns and what is left of its old version.
HOST = """\
import sys, threading
from pathlib import Path
from hotload_tui import Config, HookHost, HotloadManager
from hotload_tui.core.events import PluginRetired

host, gone, is_gone = HookHost(), [], threading.Event()

def note(event):
    if type(event) is PluginRetired:
        gone.append(event.memory)
        is_gone.set()

with HotloadManager(host, Config(enable_watch=False)) as manager:
    manager.subscribe(note)
    entry = Path("plugins/greet/plugin.py")
    entry.write_text(entry.read_text().replace("one", "two"))
    manager.rebuild("greet")
    assert is_gone.wait(60)
    print(host.call("greet"), gone, sorted(vars(sys.modules["string"]).keys() & {"marked"}))
print(sorted(vars(sys.modules["string"]).keys() & {"marked"}))
"""
PLUGIN = "import string\nstring.marked = 1\n\n\ndef register(ctx):\n    ctx.hook('greet', lambda: '{}')\n"


CHECKED = [trick for trick in TRICKS if sys.version_info < (3, trick.newest + 1)]


@pytest.mark.unfrozen
@pytest.mark.parametrize("trick", CHECKED, ids=lambda trick: trick.name)
def test_each_trick_works_on_the_versions_that_it_names(trick: Trick) -> None:
    """The self-test of each trick passes on each version with which the trick was checked."""
    assert works(trick)


def test_a_reload_needs_no_trick(tmp_path: Path) -> None:
    """A reload without any trick frees the old version and undoes its changes."""
    for name, word in (("greet", "one"), ("other", "other")):
        folder = tmp_path / "plugins" / name
        folder.mkdir(parents=True)
        (folder / "plugin.py").write_text(PLUGIN.format(word))
    environment = {**os.environ, "HOTLOAD_WITHOUT": ",".join(trick.name for trick in TRICKS)}
    ran = subprocess.run(
        [sys.executable, "-c", HOST],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.stdout.splitlines() == ["['two', 'other'] ['freed'] ['marked']", "[]"], ran.stderr
