"""Ways to save a file: by the system calls of editors and tools, and by common tools.

Each is a function that takes a plugin's directory; the plugin has ``plugin.py`` with ``one`` in it and
``sub/util.py``. A pause in the function belongs to the way of saving.
"""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tests.conftest import answering

Act: TypeAlias = Callable[[Path], object]

ONE, TWO, THREE = answering("one"), answering("two"), answering("three")
BIG = "# " + "x" * 70 + "\n"


class Saving(NamedTuple):
    """A way to save, and its expected result."""

    act: Act
    content: str | None = TWO
    """The content of ``plugin.py`` at the end; ``None``: the plugin is gone."""
    fewest: int = 1
    most: int = 1
    """How often the change is reported."""


def entry(plugin: Path) -> Path:
    """Return the plugin's plugin.py."""
    return plugin / "plugin.py"


def sh(plugin: Path, command: str, *arguments: object) -> None:
    """Run a command in the plugin's directory."""
    subprocess.run([command, *map(str, arguments)], cwd=plugin, check=True, capture_output=True)


def replaced(temporary: str) -> Act:
    """Return a function that writes a temporary file with this name and renames it over plugin.py."""

    def act(plugin: Path) -> None:
        new = plugin / temporary
        new.write_text(TWO)
        new.replace(entry(plugin))

    return act


def in_place(plugin: Path) -> None:
    """Truncate the file and write it."""
    entry(plugin).write_text(TWO)


def truncated_slowly(plugin: Path) -> None:
    """Truncate the file, and write it after a pause."""
    with entry(plugin).open("w") as file:
        file.flush()
        time.sleep(0.03)
        file.write(TWO)


def renamed_away(plugin: Path) -> None:
    """Rename the file to a backup and write a new one, as vim does with backupcopy=no."""
    entry(plugin).rename(plugin / "plugin.py~")
    in_place(plugin)
    (plugin / "plugin.py~").unlink()


def vim_auto(plugin: Path) -> None:
    """Probe with a file 4913, rename the file to a backup, and write a new one."""
    (plugin / "4913").touch()
    (plugin / "4913").unlink()
    renamed_away(plugin)


def copied_away(plugin: Path) -> None:
    """Copy the file to a backup and write in place, as vim does with backupcopy=yes."""
    shutil.copy2(entry(plugin), plugin / "plugin.py~")
    in_place(plugin)
    (plugin / "plugin.py~").unlink()


def emacs(plugin: Path) -> None:
    """Lock by a dangling link, rename to a backup that stays, write a new file, and unlock."""
    lock = plugin / ".#plugin.py"
    lock.symlink_to("me@host.1:2")
    entry(plugin).rename(plugin / "plugin.py~")
    in_place(plugin)
    lock.unlink()


def emacs_auto_save(plugin: Path) -> None:
    """Write the auto-save file, then save as Emacs does."""
    (plugin / "#plugin.py#").write_text("half")
    emacs(plugin)
    (plugin / "#plugin.py#").unlink()


def emacs_no_save(plugin: Path) -> None:
    """Edit with auto-save, without saving."""
    (plugin / ".#plugin.py").symlink_to("me@host.1:2")
    (plugin / "#plugin.py#").write_text("half")
    (plugin / ".#plugin.py").unlink()


def jetbrains(plugin: Path) -> None:
    """Write a temporary file, rename the old one away and the new one in."""
    (plugin / "plugin.py___jb_tmp___").write_text(TWO)
    entry(plugin).rename(plugin / "plugin.py___jb_old___")
    (plugin / "plugin.py___jb_tmp___").rename(entry(plugin))
    (plugin / "plugin.py___jb_old___").unlink()


def gio_backup(plugin: Path) -> None:
    """Write a temporary file, link the old one as a backup, and rename the new one."""
    (plugin / ".goutputstream-AB12CD").write_text(TWO)
    os.link(entry(plugin), plugin / "plugin.py~")
    (plugin / ".goutputstream-AB12CD").rename(entry(plugin))


def unlinked(plugin: Path) -> None:
    """Delete the file and create it."""
    entry(plugin).unlink()
    in_place(plugin)


def formatter(plugin: Path) -> None:
    """Save the file, then save it again as a formatter does."""
    entry(plugin).write_text(TWO.replace("'", '"'))
    time.sleep(0.06)
    in_place(plugin)


def two_files(plugin: Path) -> None:
    """Save two files of one plugin."""
    in_place(plugin)
    time.sleep(0.02)
    (plugin / "sub" / "util.py").write_text("B = 2\n")


def slow_growth(plugin: Path) -> None:
    """Write the file line by line."""
    with entry(plugin).open("w") as file:
        for line in TWO.splitlines(keepends=True):
            file.write(line)
            file.flush()
            time.sleep(0.03)


def fast_growth(plugin: Path) -> None:
    """Append a hundred times, as a copy over a slow connection does."""
    with entry(plugin).open("w") as file:
        for _ in range(100):
            file.write(BIG)
            file.flush()
            time.sleep(0.002)
        file.write(TWO)


def mapped(plugin: Path) -> None:
    """Write through a memory map, which causes no notification."""
    with entry(plugin).open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[:] = ONE.replace("one", "two").encode()
        view.flush()


def two_saves(plugin: Path) -> None:
    """Save twice, 0.2 s apart."""
    entry(plugin).write_text(THREE)
    time.sleep(0.2)
    in_place(plugin)


def big_file(plugin: Path) -> None:
    """Write half a megabyte in pieces."""
    with entry(plugin).open("w") as file:
        for _ in range(7):
            file.write(BIG * 1000)
            file.flush()
        file.write(TWO)


def moved_out_and_back(plugin: Path) -> None:
    """Move the directory out of the tree, edit there, and move it back."""
    away = plugin.parent.parent / f"{plugin.name}.away"
    plugin.rename(away)
    in_place(away)
    away.rename(plugin)


def switched_off_edited(plugin: Path) -> None:
    """Disable the plugin, edit it, and enable it."""
    off = plugin.with_name(f"_{plugin.name}")
    plugin.rename(off)
    in_place(off)
    off.rename(plugin)


def switched_off(plugin: Path) -> None:
    """Disable the plugin."""
    plugin.rename(plugin.with_name(f"_{plugin.name}"))


def switched_off_and_on(plugin: Path) -> None:
    """Disable the plugin and enable it at once."""
    switched_off(plugin)
    plugin.with_name(f"_{plugin.name}").rename(plugin)


def recreated(plugin: Path) -> None:
    """Delete the directory and write it again."""
    shutil.rmtree(plugin)
    (plugin / "sub").mkdir(parents=True)
    in_place(plugin)


def recreated_then_saved(plugin: Path) -> None:
    """Delete the directory, write it again, and save once more."""
    recreated(plugin)
    entry(plugin).write_text(THREE)
    time.sleep(0.15)
    in_place(plugin)


def file_becomes_folder(plugin: Path) -> None:
    """Replace a file by a directory with its name."""
    (plugin / "sub" / "util.py").unlink()
    (plugin / "sub" / "util.py").mkdir()
    in_place(plugin)


def nested(plugin: Path) -> None:
    """Make nested directories and save in the deepest one at once."""
    (plugin / "a" / "b" / "c" / "d").mkdir(parents=True)
    (plugin / "a" / "b" / "c" / "d" / "deep.py").write_text("A = 1\n")
    in_place(plugin)


def nested_later(plugin: Path) -> None:
    """Make nested directories, and save in them later."""
    (plugin / "a" / "b").mkdir(parents=True)
    (plugin / "a" / "b" / "deep.py").write_text("A = 1\n")
    time.sleep(0.05)
    (plugin / "a" / "b" / "deep.py").write_text("A = 2\n")


def linked_folder(plugin: Path) -> None:
    """Link a directory outside the tree, and save in it later."""
    outside = plugin.parent.parent / f"{plugin.name}.outside"
    outside.mkdir()
    (plugin / "linked").symlink_to(outside)
    time.sleep(0.05)
    (outside / "more.py").write_text("A = 1\n")


def named(name: str | bytes) -> Act:
    """Return a function that saves a file with an odd name."""

    def act(plugin: Path) -> None:
        place = os.fsencode(plugin / "sub") + b"/" + os.fsencode(name)
        Path(os.fsdecode(place)).write_text("A = 1\n")
        in_place(plugin)

    return act


def touched(plugin: Path) -> None:
    """Change only the file's times."""
    entry(plugin).touch()


def tool(command: str, *arguments: str) -> Act:
    """Return a function that runs a command on plugin.py."""
    return lambda plugin: sh(plugin, command, *arguments, "plugin.py")


def shell(script: str) -> Act:
    """Return a function that runs a script in the plugin's directory; both contents are beside the root."""
    return lambda plugin: sh(plugin, "sh", "-ec", script)


def scratch(plugin: Path) -> None:
    """Create and delete a temporary file."""
    (plugin / "scratch.tmp").write_text("x")
    time.sleep(0.02)
    (plugin / "scratch.tmp").unlink()


def written(*names: str) -> Act:
    """Return a function that writes files that are noise."""

    def act(plugin: Path) -> None:
        for name in names:
            path = plugin / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("noise")

    return act


SAVINGS: dict[str, Saving] = {
    "in place": Saving(in_place),
    "in place, of half a megabyte": Saving(big_file, BIG * 7000 + TWO, most=2),
    "truncate, 30 ms, write": Saving(truncated_slowly),
    "vim backupcopy=no": Saving(renamed_away),
    "vim backupcopy=auto": Saving(vim_auto),
    "vim backupcopy=yes": Saving(copied_away),
    "emacs": Saving(emacs),
    "emacs with auto-save": Saving(emacs_auto_save),
    "VS Code atomic": Saving(replaced("plugin.py.vsctmp")),
    "JetBrains": Saving(jetbrains),
    "Sublime atomic_save": Saving(replaced(".subl86.tmp")),
    "Qt": Saving(replaced("plugin.py.aB12cd")),
    "gio": Saving(replaced(".goutputstream-3B6AZ3")),
    "gio with backup": Saving(gio_backup),
    "hidden temporary file": Saving(replaced(".plugin.py.new")),
    "delete and create": Saving(unlinked),
    "formatter on save": Saving(formatter, most=2),
    "two files": Saving(two_files, most=2),
    "two saves": Saving(two_saves, most=2),
    "slow growth": Saving(slow_growth, most=9),
    "fast growth": Saving(fast_growth, BIG * 100 + TWO, most=9),
    "mmap": Saving(mapped),
    "sed -i": Saving(tool("sed", "-i", "s/one/two/")),
    "shell redirect": Saving(shell("sed s/one/two/ ../../one.txt > plugin.py")),
    "shell append": Saving(shell("echo '# more' >> plugin.py"), ONE + "# more\n"),
    "cp over": Saving(shell("cp ../../two.txt plugin.py")),
    "cp -p over": Saving(shell("cp -p ../../two.txt plugin.py")),
    "cp -l over": Saving(shell("ln -f ../../two.txt plugin.py")),
    "mv over": Saving(shell("cp ../../two.txt ../../x.$$ && mv ../../x.$$ plugin.py")),
    "install": Saving(shell("install -m 644 ../../two.txt plugin.py")),
    "dd conv=notrunc": Saving(shell("dd if=../../two.txt of=plugin.py conv=notrunc 2>/dev/null")),
    "tar x": Saving(shell("tar xf ../../two.tar plugin.py")),
    "move out, edit, move back": Saving(moved_out_and_back),
    "disable": Saving(switched_off, None),
    "disable, edit, enable": Saving(switched_off_edited, most=2),
    "delete the directory": Saving(shutil.rmtree, None),
    "move the directory out": Saving(lambda p: p.rename(p.parent.parent / f"{p.name}.gone"), None),
    "delete and recreate": Saving(recreated),
    "delete and recreate, save later": Saving(recreated_then_saved, most=2),
    "delete one file": Saving(lambda plugin: (plugin / "sub" / "util.py").unlink(), ONE),
    "rename a file": Saving(lambda p: (p / "sub/util.py").rename(p / "sub/util2.py"), ONE),
    "rename a file by case": Saving(lambda p: (p / "sub/util.py").rename(p / "sub/Util.py"), ONE),
    "a directory in place of a file": Saving(file_becomes_folder),
    "nested new directories": Saving(nested, most=2),
    "nested new directories, save later": Saving(nested_later, ONE, most=2),
    "linked directory": Saving(linked_folder, ONE),
    "name with space and newline": Saving(named("a b\nc.py"), most=2),
    "unicode name": Saving(named("módulo_日本語.py"), most=2),
    "touch": Saving(touched, ONE, 0, 0),
    "chmod": Saving(lambda plugin: entry(plugin).chmod(0o600), ONE, 0, 0),
    "the same bytes": Saving(lambda plugin: entry(plugin).write_text(ONE), ONE, 0, 0),
    "the same bytes, atomically": Saving(shell("cp plugin.py x.tmp && mv x.tmp plugin.py"), ONE, 0, 0),
    "disable and enable at once": Saving(switched_off_and_on, ONE, 0, 2),
    "emacs without saving": Saving(emacs_no_save, ONE, 0, 0),
    "bytecode": Saving(written("__pycache__/plugin.cpython-311.pyc", "sub/__pycache__/x.pyc"), ONE, 0, 0),
    "repository": Saving(written(".git/index", ".git/objects/ab/cd", ".hg/x"), ONE, 0, 0),
    "swap files": Saving(written(".plugin.py.swp", "x.tmp", "plugin.py~", "#x#", "4913"), ONE, 0, 0),
    "readers": Saving(
        shell("grep -r one . >/dev/null; cat plugin.py >/dev/null; ls -l >/dev/null"), ONE, 0, 0
    ),
    "a temporary file comes and goes": Saving(scratch, ONE, 0, 0),
    "an ignored file": Saving(written("run.log", "data/state.json"), ONE, 0, 0),
    "a file beside the plugins": Saving(lambda p: p.with_name(f"{p.name}.md").write_text("x"), ONE, 0, 0),
}
"""Ways to save that need only tools of every system."""
