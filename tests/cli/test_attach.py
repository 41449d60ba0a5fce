"""The console on a host that already runs, and the host's log."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.cli.command import HOTLOAD, Hotload
from tests.conftest import Workspace
from tests.terminal import Terminal

GREET = "def register(ctx):\n    ctx.hook('greet', lambda name='you': f'Hello, {name}')\n"
PROGRAM = """
import sys
from hotload_tui import Config, HookHost, HotloadManager
from hotload_tui.remote import serve

with HotloadManager(HookHost(), Config()) as manager:
    serve(manager)
    print("serves", flush=True)
    sys.stdin.read()
"""


def attached(*arguments: str, columns: int = 120, cwd: Path = Path()) -> Terminal:
    """Open the console on a running host."""
    return Terminal([HOTLOAD, "attach", *arguments], cwd=cwd, columns=columns, rows=36)


def test_closing_an_attached_console_leaves_the_host_alone(workspace: Workspace, hotload: Hotload) -> None:
    """The console shows and commands the host's plugins, and after ``q`` the host goes on."""
    workspace["greet"] = GREET
    host = hotload.host()
    with attached() as console:
        console.wait_for(lambda screen: "+ ok" in screen and f"attached to {host.process.pid}" in screen)
        console.press("r")
        host.err.wait_for("greet: loaded generation 2")
        console.wait_for("greet 1 → 2")
        workspace["greet"] = GREET + "x = (1 +\n"
        console.wait_for("~ STALE")
        console.press("q")
        assert console.wait_for_exit() == 0
    assert host.process.poll() is None
    assert hotload("call", "greet", "Ada").out == "Hello, Ada\n"


def test_two_consoles_see_the_same(workspace: Workspace, hotload: Hotload) -> None:
    """A command in one console changes the screen of the other."""
    workspace["greet"] = GREET
    hotload.serve()
    with attached() as one, attached() as other:
        for console in (one, other):
            console.wait_for("+ ok")
        one.press("d")
        other.wait_for("- off")


def test_a_host_that_is_killed_is_shown_and_its_successor_found(
    workspace: Workspace, hotload: Hotload
) -> None:
    """When its host is killed, the console says so, and shows the next host with its log."""
    workspace["greet"] = GREET
    first = hotload.host()
    with attached() as console:
        console.wait_for("+ ok")
        first.process.send_signal(signal.SIGKILL)
        console.wait_for(f"host {first.process.pid} is gone")
        console.press("r")
        console.wait_for("rebuild greet: host")
        workspace["second"] = GREET
        second = hotload.host()
        console.wait_for(lambda screen: screen.count("+ ok") >= 2)
        console.wait_for(f"connected to host {second.process.pid}")
        console.wait_for("second: loaded generation 1")
        console.press("q")
        assert console.wait_for_exit() == 0
    assert "Traceback" not in console.text()


def test_an_embedding_program_needs_one_line(workspace: Workspace, hotload: Hotload, session: Path) -> None:
    """All commands reach a program that calls ``serve(manager)``, and it leaves no socket when it ends."""
    workspace["greet"] = GREET
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"serves\n"
        assert f"host {program.pid} on plugins/" in hotload("status").err
        with attached() as console:
            console.wait_for("+ ok")
            console.press("q")
            assert console.wait_for_exit() == 0
        assert hotload("call", "greet", "Eve").out == "Hello, Eve\n"
        program.communicate()
    assert program.returncode == 0
    assert list((session / "hotload").iterdir()) == []


def test_attach_by_socket(workspace: Workspace, hotload: Hotload, session: Path) -> None:
    """``attach`` with the path of a socket reaches a host of another folder."""
    workspace["greet"] = GREET
    hotload.serve()
    (path,) = (session / "hotload").glob("*.sock")
    with attached(str(path), cwd=Path("/")) as console:
        console.wait_for("+ ok")
        console.press("q")
        assert console.wait_for_exit() == 0


def refused(*arguments: str) -> tuple[int, str]:
    """Attach without success, and return the exit code and the output."""
    with attached(*arguments, columns=400) as console:  # a narrow screen would wrap paths in the output
        code = console.wait_for_exit()
        return code, console.text()


def test_attach_says_why_it_cannot(workspace: Workspace, hotload: Hotload) -> None:
    """Without a host, attach exits with 3 and a hint; with an ambiguous choice it exits with 2."""
    workspace["greet"] = GREET
    code, said = refused()
    assert (code, "start one with 'hotload' or 'hotload run'" in said) == (3, True)
    code, said = refused("/nowhere.sock")
    assert (code, "/nowhere.sock: no host answers" in said) == (3, True)
    hotload.serve()
    pids = sorted((os.getpid(), hotload.host().process.pid))
    code, said = refused()
    assert (code, f"choose one with --host PID: {pids[0]}, {pids[1]}" in said) == (2, True)
    code, said = refused("--host", str(pids[0]), "/some.sock")
    assert (code, "leave one of them out" in said) == (2, True)
    with attached("--host", str(pids[1])) as console:
        console.wait_for("+ ok")
    done = hotload("attach")
    assert (done.code, "needs a terminal" in done.err) == (2, True)


def test_the_log_is_printed(workspace: Workspace, hotload: Hotload) -> None:
    """``logs`` prints the host's log, of all plugins or of one, and refuses an unknown name."""
    workspace["greet"] = GREET
    workspace["other"] = GREET
    hotload.serve()
    lines = hotload("logs").out.splitlines()
    assert any("greet: loaded generation 1" in line for line in lines)
    assert any("other: loaded generation 1" in line for line in lines)
    only = hotload("logs", "other")
    assert only.code == 0
    assert all(" other: " in line for line in only.out.splitlines())
    done = hotload("logs", "gret")
    assert (done.code, done.out, '"greet"' in done.err) == (3, "", True)


def test_the_log_without_a_host(workspace: Workspace, hotload: Hotload) -> None:
    """Without a host, ``logs`` exits with 3 and a hint."""
    workspace["greet"] = GREET
    done = hotload("logs", "-f")
    assert (done.code, done.out, "'logs' needs a host" in done.err) == (3, "", True)


def test_the_log_is_followed(workspace: Workspace, hotload: Hotload) -> None:
    """``logs -f`` prints each new line once, even of the next host, and exits with 130 after Ctrl-C."""
    workspace["greet"] = GREET
    host = hotload.host()
    follower = hotload.start("logs", "-f", "greet")
    follower.out.wait_for("greet: loaded generation 1")
    hotload("reload", "greet")
    follower.out.wait_for("greet: loaded generation 2")
    os.kill(host.process.pid, signal.SIGKILL)
    follower.err.wait_for("waiting for the next host")
    hotload.host()
    follower.err.wait_for("connected to host")
    hotload("disable", "greet")
    follower.out.wait_for("greet: disabled")
    follower.process.send_signal(signal.SIGINT)
    assert follower.wait() == 130
    assert len([line for line in follower.out.end() if "loaded generation 2" in line]) == 1


def test_a_log_that_nobody_reads_any_more_ends(workspace: Workspace, hotload: Hotload) -> None:
    """``logs -f`` in a pipe ends when its reader has left, even if the host writes no further line."""
    workspace["greet"] = GREET
    hotload.serve()
    done = hotload.shell(
        '"$HOTLOAD" logs -f 2>err | grep -q "loaded generation 1"; echo "${PIPESTATUS[@]}"; cat err'
    )
    assert (done.out, done.err) == ("0 0\n", "")


def test_a_reader_of_the_log_may_leave(workspace: Workspace, hotload: Hotload) -> None:
    """``logs -f`` in a pipe ends without a traceback when its reader ends."""
    workspace["greet"] = GREET
    hotload.serve()
    done = hotload.shell(
        '"$HOTLOAD" logs -f 2>err | head -1 & "$HOTLOAD" reload; "$HOTLOAD" reload; wait; cat err'
    )
    assert "Traceback" not in done.out
