"""The console in tmux with a real editor: behaviour that only a real terminal shows."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.terminal

HOTLOAD = str(Path(sys.executable).with_name("hotload"))


class Tmux:
    """A tmux server with one session, in which a shell runs."""

    def __init__(self, folder: Path, columns: int, rows: int) -> None:
        self._socket = str(folder / "tmux.sock")
        self._home = str(folder)  # the editor keeps a history there
        self._do("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), "sh")
        self._do("set-option", "-g", "window-size", "manual")
        self.run("PS1='shell> '")
        self.wait_for(lambda screen: screen.strip().endswith("shell>"))

    def run(self, command: str) -> None:
        """Type a command line."""
        self._do("send-keys", "-l", command)
        self._do("send-keys", "Enter")

    def press(self, *keys: str) -> None:
        """Press keys, by their tmux names."""
        self._do("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal."""
        self._do("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self) -> str:
        """Return what the terminal shows."""
        return self._do("capture-pane", "-p")

    def wait_for(self, what: str | Callable[[str], bool]) -> str:
        """Wait until the screen shows a text or satisfies the function, and return the screen."""
        is_there = (lambda screen: what in screen) if isinstance(what, str) else what
        screen = ""

        def is_so() -> bool:
            nonlocal screen
            screen = self.screen()
            return is_there(screen)

        until(is_so, lambda: f"the screen never showed {what!r}; it shows:\n{screen}")
        return screen

    def child(self) -> int:
        """Return the id of the process that the shell runs now."""
        shell = self._do("display-message", "-p", "#{pane_pid}").strip()
        children = subprocess.run(["pgrep", "-P", shell], check=True, capture_output=True, text=True)
        return int(children.stdout.split()[0])

    def address(self) -> str:
        """Return the value of ``$TMUX`` for a program in the terminal."""
        return self._do("display-message", "-p", "#{socket_path},#{pid},0").strip()

    def buffer(self) -> str:
        """Return the paste buffer; empty if there is none."""
        return self._do("show-buffer") if self._do("list-buffers") else ""

    def close(self) -> None:
        """End the server and all programs in it."""
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], check=False, capture_output=True)

    def _do(self, *words: str) -> str:
        command = ["tmux", "-S", self._socket, *words]
        # The test runner's COLUMNS and LINES would override the terminal's size, even after a resize.
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        own = {"HOME": self._home, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PS1": "shell> "}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env={**inherited, **own})
        return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project folder with the plugin greet."""
    write(tmp_path, "greet", "def register(ctx):\n    ctx.hook('greet', lambda: 'Hello')\n")
    return tmp_path


@pytest.fixture
def tmux(project: Path) -> Iterator[Tmux]:
    """Yield a terminal of 80 by 24 with a shell in the project folder."""
    terminal = Tmux(project, 80, 24)
    terminal.run(f"cd {shlex.quote(str(project))}; unset TMUX; export EDITOR=vim")
    yield terminal
    terminal.close()


def write(project: Path, plugin: str, source: str) -> None:
    """Save a plugin's plugin.py."""
    folder = project / "plugins" / plugin
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plugin.py").write_text(source)


def width(screen: str) -> int:
    """Return the width of the longest line."""
    return max(map(len, screen.splitlines()), default=0)


def test_the_editor_opens_at_the_failing_line(project: Path, tmux: Tmux) -> None:
    """``e`` opens vim at the fault's line, the fixed file goes live, and the console is back."""
    tmux.run(HOTLOAD)
    tmux.wait_for("+ ok")
    write(project, "greet", "X = 1\nY = 2\nZ = 1 / 0\n\n\ndef register(ctx):\n    pass\n")
    tmux.wait_for("~ STALE")
    tmux.press("e")
    tmux.wait_for("3,1")  # vim's ruler: line 3, column 1
    tmux.press("d", "d")
    tmux.run(":wq")
    tmux.wait_for(lambda screen: "+ ok" in screen and "Rebuild" in screen)
    tmux.press("q")
    tmux.wait_for(lambda screen: screen.strip().endswith("shell>"))
    assert "1 / 0" not in (project / "plugins" / "greet" / "plugin.py").read_text()


def test_a_failing_test_holds_a_save_back(project: Path, tmux: Tmux) -> None:
    """With the gate, the Error tab shows the test and its assert, and the save goes live once it passes."""
    (project / "hotload.toml").write_text('gate = "tests"\n')
    test = project / "plugins" / "greet" / "test_it.py"
    test.write_text("import plugin\n\n\ndef test_it():\n    assert plugin.VALUE == 1\n")
    write(project, "greet", "VALUE = 1\n\n\ndef register(ctx): ...\n")
    tmux.run(HOTLOAD)
    tmux.wait_for("+ ok")
    write(project, "greet", "VALUE = 2\n\n\ndef register(ctx): ...\n")
    screen = tmux.wait_for(lambda screen: "~ STALE" in screen and "> 5" in screen)
    assert "test_it.py::test_it: assert 2 == 1" in screen
    assert "assert plugin.VALUE == 1" in screen
    test.write_text(test.read_text().replace("== 1", "== 2"))
    tmux.wait_for(lambda screen: "+ ok" in screen and "~ STALE" not in screen)
    tmux.press("q")
    tmux.wait_for(lambda screen: screen.strip().endswith("shell>"))


def test_ctrl_z_goes_back_to_the_shell_and_fg_to_the_console(project: Path, tmux: Tmux) -> None:
    """Ctrl-Z gives the shell its terminal, a save meanwhile goes live, and ``fg`` restores the console."""
    tmux.run(HOTLOAD)
    tmux.wait_for("+ ok")
    tmux.press("C-z")
    tmux.wait_for(lambda screen: screen.strip().endswith("shell>") and "Plugins" not in screen)
    write(project, "greet", "def register(ctx):\n    ctx.hook('greet', lambda: 'Welcome')\n")
    tmux.run(f"until {HOTLOAD} call greet | grep Welcome; do :; done")
    tmux.wait_for(lambda screen: any(line.startswith("Welcome") for line in screen.splitlines()))
    tmux.run("fg")
    tmux.wait_for(lambda screen: "+ ok" in screen and "Rebuild" in screen and "watching" in screen)
    tmux.press("6")
    tmux.wait_for(lambda screen: "live" in screen and " 2  " in screen)
    tmux.press("q")
    tmux.wait_for(lambda screen: screen.strip().endswith("shell>"))


def test_a_breakpoint_has_the_terminal_and_gives_it_back(project: Path, tmux: Tmux) -> None:
    """The status line shows where a plugin waits, ``B`` opens the debugger, and ``c`` returns."""
    source = "def add(a, b):\n    total = a + b\n    breakpoint()\n    return total\n\n\n"
    write(project, "greet", source + "def register(ctx):\n    ctx.hook('add', add)\n")
    tmux.run(HOTLOAD)
    tmux.wait_for("+ ok")
    call = subprocess.Popen([HOTLOAD, "call", "add", "2", "3"], cwd=project, stdout=subprocess.PIPE)
    try:
        tmux.wait_for("B: breakpoint at greet/plu")
        tmux.press("B")
        tmux.wait_for(lambda screen: screen.strip().endswith("(Pdb)"))
        tmux.press("C-c")  # at a console, this would end it
        tmux.run("p total")
        tmux.wait_for(lambda screen: "\n5\n" in screen)
        tmux.run("total = 7")
        tmux.run("c")
        tmux.wait_for(lambda screen: "Rebuild" in screen and "B: breakpoint" not in screen)
        assert call.communicate(timeout=PATIENCE)[0] == b"7\n"
    finally:
        call.kill()
        call.wait()
    tmux.press("q")
    tmux.wait_for(lambda screen: screen.strip().endswith("shell>"))


def test_the_layout_follows_the_size(tmux: Tmux) -> None:
    """A terminal that is too small shows the needed size; enlarged, it shows the console again."""
    tmux.run(HOTLOAD)
    tmux.wait_for("+ ok")
    tmux.resize(50, 12)
    tmux.wait_for("60x15")
    tmux.resize(120, 36)
    tmux.wait_for(lambda screen: "+ ok" in screen and "Overview" in screen and width(screen) > 80)


def test_what_the_shell_says_of_its_size_is_no_limit(tmux: Tmux) -> None:
    """Exported COLUMNS and LINES do not fix the console's size."""
    tmux.run(f"export COLUMNS=70 LINES=20; {HOTLOAD}")
    tmux.wait_for(lambda screen: "+ ok" in screen and width(screen) == 80)
    tmux.resize(120, 36)
    tmux.wait_for(lambda screen: "+ ok" in screen and width(screen) == 120)
    tmux.press("q")
    tmux.wait_for(lambda screen: screen.strip().endswith("shell>"))


def test_after_many_sizes_the_shell_has_its_screen_back(tmux: Tmux) -> None:
    """After resizes down to almost nothing, quitting leaves a clean screen."""
    tmux.run(f"echo before; {HOTLOAD}")
    tmux.wait_for("+ ok")
    for columns, rows in ((120, 36), (40, 10), (10, 3)):
        tmux.resize(columns, rows)
        tmux.wait_for(lambda screen, columns=columns: "+ ok" in screen or f"{columns}x" in screen)  # type: ignore[misc]
    tmux.resize(80, 24)
    tmux.wait_for(lambda screen: "+ ok" in screen and "Overview" in screen)
    tmux.press("q")
    left = ("Plugins", "Overview", "Terminal", "needs")
    tmux.wait_for(
        lambda screen: screen.strip().endswith("shell>") and not any(word in screen for word in left)
    )


def is_the_shells(screen: str, *ending: str) -> bool:
    """Return whether only the shell's lines are shown: ``seq 30`` without a gap, and ``ending`` last."""
    rows = [row.rstrip() for row in screen.rstrip().splitlines()]
    numbers = [int(row) for row in rows if row.isdecimal()]
    own = ("shell>", "[1]", "hotload", "end-42")
    return (
        all(row.isdecimal() or row.startswith(own) for row in rows)
        and len(numbers) > 1
        and numbers == list(range(numbers[0], 31))
        and rows[-len(ending) :] == list(ending)
    )


def test_a_window_that_grew_shows_only_the_shells_own_lines(tmux: Tmux) -> None:
    """After the window has grown, suspending or quitting leaves only the shell's lines and its prompt."""
    tmux.run(f"PATH={shlex.quote(str(Path(HOTLOAD).parent))}:$PATH")
    tmux.run("clear; seq 30")  # more than the screen holds: scrolled-off lines come back when it grows
    tmux.wait_for(lambda screen: is_the_shells(screen, "30", "shell>"))
    tmux.run("hotload")
    tmux.wait_for("+ ok")
    tmux.resize(120, 36)
    tmux.wait_for(lambda screen: "+ ok" in screen and "Overview" in screen and width(screen) > 110)
    tmux.press("C-z")
    tmux.wait_for(lambda screen: is_the_shells(screen, "shell>"))
    tmux.run("fg")
    tmux.wait_for(lambda screen: "+ ok" in screen and "Rebuild" in screen and width(screen) > 110)
    tmux.press("q")
    tmux.wait_for(lambda screen: is_the_shells(screen, "hotload", "shell>"))
    tmux.run("echo end-$((40 + 2))")
    tmux.wait_for(lambda screen: is_the_shells(screen, "shell> echo end-$((40 + 2))", "end-42", "shell>"))


def test_what_a_plugin_prints_is_in_the_log_only(project: Path, tmux: Tmux) -> None:
    """The output of a plugin that prints while it loads is in the log, not on the screen."""
    tmux.run(HOTLOAD)
    tmux.wait_for("+ ok")
    write(project, "loud", "print('LOUD ' * 3)\n\n\ndef register(ctx):\n    ctx.log.info('quiet words')\n")
    tmux.wait_for(lambda screen: all(re.search(rf"\+ ok +{name}", screen) for name in ("loud", "greet")))
    tmux.press("3")
    tmux.wait_for(
        lambda screen: (
            "quiet words" in screen
            and "LOUD LOUD LOUD" in screen
            and screen.splitlines()[1].startswith(("━", "─"))
        )
    )


def test_a_terminated_console_leaves_a_usable_terminal(tmux: Tmux) -> None:
    """After SIGTERM the shell's screen is back, and typed commands are echoed and run."""
    tmux.run(f"echo before; {HOTLOAD}; echo after-$?")
    tmux.wait_for("+ ok")
    os.kill(tmux.child(), signal.SIGTERM)
    tmux.wait_for(lambda screen: "before" in screen and re.search(r"after-\d", screen) is not None)
    tmux.run("echo still-$((40 + 2))")
    tmux.wait_for("still-42")


def is_intact(screen: str) -> bool:
    """Return whether the table's border, its first row and the log's keys are in their places."""
    rows = screen.splitlines()
    return (
        len(rows) > 3
        and rows[1].startswith(("━", "─"))
        and re.search(r"\+ ok +greet", rows[3]) is not None
        and rows[-1].lstrip().startswith("w Wrap")
    )


def test_what_a_plugin_writes_to_descriptors_is_in_the_log_only(project: Path, tmux: Tmux) -> None:
    """Output to the descriptors and of child processes is in the log, not on the screen."""
    source = (
        "import os, subprocess\n"
        "os.write(1, b'RAW BYTES\\n')\n"
        "os.write(2, b'RAW ERRORS\\n')\n"
        "subprocess.run('echo A CHILD; echo ITS ERRORS >&2', shell=True)\n"
    )
    write(project, "raw", f"{source}\n\ndef register(ctx):\n    pass\n")
    tmux.resize(80, 40)  # room for the whole log, because the output may come before the host's own lines
    tmux.run(HOTLOAD)
    tmux.wait_for("+ ok 2")
    tmux.press("3")
    words = ("RAW BYTES", "RAW ERRORS", "A CHILD", "ITS ERRORS")
    tmux.wait_for(lambda screen: all(word in screen for word in words) and is_intact(screen))


def test_a_pinned_call_runs_again_when_the_file_is_saved(project: Path, tmux: Tmux) -> None:
    """After a save, a pinned call shows the new answer below the old one."""
    tmux.run(HOTLOAD)
    tmux.wait_for("+ ok")
    tmux.press("7", "Enter")
    tmux.wait_for("JSON with commas")
    tmux.press("Enter")
    tmux.wait_for("'Hello'")
    tmux.press("Space")
    tmux.wait_for("pinned")
    write(project, "greet", "def register(ctx):\n    ctx.hook('greet', lambda: 'Welcome')\n")
    tmux.wait_for(lambda screen: "was 'Hello'" in screen and "now 'Welcome'" in screen)


def test_a_report_is_in_the_buffer_of_tmux_and_in_a_file(project: Path, tmux: Tmux) -> None:
    """``Y`` copies the report to tmux's paste buffer and to the file that the toast names."""
    write(project, "greet", "1 / 0\n\n\ndef register(ctx):\n    pass\n")
    tmux.run(f"export TMUX={tmux.address()} XDG_STATE_HOME={shlex.quote(str(project / 'state'))}; {HOTLOAD}")
    tmux.wait_for("! FAIL")
    tmux.press("Y")
    tmux.wait_for("Copied")
    tmux.wait_for(lambda _: "ZeroDivisionError" in tmux.buffer())
    assert "greet is FAIL" in (project / "state" / "hotload" / "copied.txt").read_text()


def test_a_terminal_of_forty_columns_and_one_of_three_hundred(tmux: Tmux) -> None:
    """A terminal of 40 columns shows the needed size, and one of 300 columns is filled to its edge."""
    tmux.run(HOTLOAD)
    tmux.wait_for("+ ok")
    tmux.resize(40, 10)
    tmux.wait_for("needs 60x15")
    tmux.resize(300, 80)
    tmux.wait_for(lambda screen: "+ ok" in screen and "hook points" in screen and width(screen) > 290)


@pytest.mark.parametrize("setting", ["NO_COLOR=1", "LC_ALL=C", "LC_ALL=en_US.ISO-8859-1"])
def test_a_poor_terminal_is_usable(tmux: Tmux, setting: str) -> None:
    """Without colours the screen stays readable, and without UTF-8 it is ASCII with the same layout."""
    tmux.run(f"clear; env {setting} {HOTLOAD}")
    tmux.wait_for("+ ok")
    tmux.press("6")
    line = "─" if setting.startswith("NO_COLOR") else "-"
    seen = tmux.wait_for(lambda screen: "live" in screen and f"{line}Plugins (1){line * 60}" in screen)
    assert seen.isascii() is (line == "-")
    tmux.press("q")
    tmux.wait_for(lambda screen: screen.strip().endswith("shell>"))


def test_a_dumb_terminal_is_refused_with_what_works_there(tmux: Tmux) -> None:
    """A terminal without cursor movement is refused with a message and exit code 2."""
    tmux.run(f"env TERM=dumb {HOTLOAD}; echo code-$?")
    refusal = "needs a terminal that can move its"
    tmux.wait_for(lambda screen: "code-2" in screen and refusal in " ".join(screen.split()))
