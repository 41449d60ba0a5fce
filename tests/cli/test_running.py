import json
import signal
import sys
from pathlib import Path

import pytest

from hotload_tui import running_host
from hotload_tui.core.errors import UsageError
from tests.cli.command import Hotload
from tests.conftest import Workspace

GREET = "def register(ctx):\n    ctx.hook('greet', lambda name='you': f'Hello, {name}')\n"
STUBBORN = """
import time

def forever():
    while True:
        try:
            time.sleep(100)
        except BaseException:
            pass

def register(ctx):
    {when}
"""
STUBBORN_WHEN = {
    "loads": "forever()",
    "unloads": "ctx.on_unload(forever)",
    "thread": "__import__('threading').Thread(target=forever).start()",
}


def test_a_host_prints_events_as_json(workspace: Workspace, hotload: Hotload) -> None:
    """``run --json`` prints one event per line, and nothing that plugins print."""
    workspace["greet"] = "import os\nos.system('echo noise')\nprint('noise')\n" + GREET
    host = hotload.host("--json")
    loaded = json.loads(host.out.wait_for('"PluginLoaded"'))
    assert (loaded["kind"], loaded["name"], loaded["generation"]) == ("PluginLoaded", "greet", 1)
    assert loaded["points"] == [{"point": "greet", "priority": 100}]
    workspace["greet"] = GREET.replace("Hello", "Hi")
    assert json.loads(host.out.wait_for('"PluginRetired"'))["generation"] == 1
    host.process.terminate()
    assert host.wait() == 0
    assert all("kind" in json.loads(line) for line in host.out.end())


def test_a_host_narrates_its_log(workspace: Workspace, hotload: Hotload) -> None:
    """``run`` prints its log on standard error, and nothing on standard output."""
    workspace["greet"] = "print('noise')\n" + GREET
    workspace["broken"] = "def register(ctx):\n    1 / 0\n"
    host = hotload.host()
    assert "loaded generation 1" in host.err.wait_for(" greet: loaded")
    assert "ZeroDivisionError" in host.err.wait_for(" broken: error: ")
    host.process.terminate()
    assert (host.wait(), host.out.end()) == (0, [])


def test_an_edit_becomes_live(workspace: Workspace, hotload: Hotload) -> None:
    """After a save while the host runs, the next call gets the new version."""
    workspace["greet"] = GREET
    host = hotload.host()
    assert hotload("call", "greet").out == "Hello, you\n"
    workspace["greet"] = GREET.replace("Hello", "Good day")
    host.err.wait_for("greet: loaded generation 2")
    assert hotload("call", "greet").out == "Good day, you\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
def test_a_host_ends_in_good_order(
    workspace: Workspace, hotload: Hotload, number: signal.Signals, code: int
) -> None:
    """SIGTERM, Ctrl-C and the end of the terminal unload the plugins and end the host without a traceback."""
    workspace["greet"] = GREET.replace(
        "\n    ctx.hook", "\n    ctx.on_unload(lambda: print('bye'))\n    ctx.hook"
    )
    host = hotload.host()
    host.process.send_signal(number)
    assert host.wait() == code
    host.err.wait_for("bye")
    assert "Traceback" not in "".join(host.err.end())
    assert "no host runs" in hotload("status").err


def test_a_plugin_that_does_not_let_go_is_left(workspace: Workspace, hotload: Hotload) -> None:
    """A host ends soon after SIGTERM, even if a plugin never finishes loading, unloading or its thread."""
    hosts = []
    for name, when in STUBBORN_WHEN.items():
        workspace[f"../{name}/stubborn/plugin.py"] = STUBBORN.format(when=when)
        hosts.append(hotload.start("run", "--plugins", name))
    for host, line in zip(hosts, ("stubborn: compiled", "stubborn: loaded", "stubborn: loaded"), strict=True):
        host.err.wait_for(line)
        host.process.terminate()
    for host in hosts:
        assert host.wait() == 0
        assert host.err.end()[-1].endswith("in time; leaving without it")


def test_a_host_whose_reader_leaves_ends(workspace: Workspace, hotload: Hotload) -> None:
    """``run --json`` in a pipe ends without an error when its reader ends, even if no event follows."""
    workspace["greet"] = GREET
    script = (
        'mkfifo ready; "$HOTLOAD" run --json 2> >(sed -u "/stops it/ w ready" >&2) '
        "| { head -1; read -r < ready; }; echo ${PIPESTATUS[0]}"
    )
    done = hotload.shell(script)
    first, code = done.out.splitlines()
    assert json.loads(first)["kind"] == "PluginDiscovered"
    assert code == "0"
    assert "Traceback" not in done.err


def test_a_host_without_a_socket_still_runs_plugins(
    workspace: Workspace, hotload: Hotload, session: Path
) -> None:
    """If the socket cannot be made, the host says why, and runs."""
    workspace["greet"] = GREET
    (session / "hotload").write_text("in the way")
    host = hotload.host()
    host.err.wait_for("other commands cannot reach this host: ")
    host.process.terminate()
    assert host.wait() == 0


def test_the_console_needs_a_terminal(workspace: Workspace, hotload: Hotload) -> None:
    """Without a terminal, ``hotload`` exits with 2 and names ``hotload run``."""
    workspace["greet"] = GREET
    done = hotload()
    assert (done.code, done.out) == (2, "")
    assert done.err == "the console needs a terminal; 'hotload run' runs plugins without one\n"


def test_a_load_that_sleeps_is_interrupted_with_its_line(workspace: Workspace, hotload: Hotload) -> None:
    """A load that sleeps is interrupted in the main thread, its fault names the line, and the others load."""
    (workspace.root / "hotload.toml").write_text("load_timeout = 0.5\n")
    workspace["sleepy"] = "import time\ndef register(ctx):\n    time.sleep(9999)\n"
    workspace["waking"] = GREET
    host = hotload.host()
    assert "interrupted here" in host.err.wait_for("sleepy: error: load failed")
    host.err.wait_for("waking: loaded generation 1")
    host.process.terminate()
    assert host.wait() == 0


PROGRAM = """
import sys, threading
from hotload_tui import running_host
from hotplug.greet import greet

class Kept:
    pass

def work():
    for line in sys.stdin:
        words = greet(), running_host().call("greet"), sys.argv, __name__, Kept.__module__
        print(" ".join(map(str, words)) + "\\n", end="", flush=True)  # one write: plugins print, too
    print("end\\n", end="", flush=True)

threading.Thread(target=work).start()
"""


def test_a_program_runs_beside_the_watcher(workspace: Workspace, hotload: Hotload) -> None:
    """The program's kept handle and its calls get a saved version, until its own thread ends."""
    plugin = "def greet():\n    return 'one'\n\ndef register(ctx):\n    ctx.hook('greet', greet)\n"
    plugin += "    ctx.on_unload(lambda: print('bye ' + greet() + chr(10), end='', flush=True))\n"
    workspace["greet"] = plugin
    (workspace.root / "app").mkdir()
    (workspace.root / "app" / "main.py").write_text(f"import beside\n{PROGRAM}")
    (workspace.root / "app" / "beside.py").write_text("")
    program = hotload.start("run", "app/main.py", "--json", "-x", is_fed=True)
    seen = "['app/main.py', '--json', '-x'] __main__ __main__"
    program.write("1\n")
    assert program.out.wait_for("one") == f"one ['one'] {seen}"
    workspace["greet"] = plugin.replace("one", "two")
    program.err.wait_for("greet: loaded generation 2")
    program.write("2\n")
    assert program.out.wait_for("two") == f"two ['two'] {seen}"
    assert program.process.stdin is not None
    program.process.stdin.close()
    assert program.wait() == 0
    assert [line for line in program.out.end() if line in ("end", "bye two")] == ["end", "bye two"]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("raise KeyboardInterrupt", 130, ""),
        ("1 / 0", 1, 'Traceback (most recent call last):\n  File "HERE/app.py", line 1, in <module>\n'),
        ("def f(:", 1, 'File "HERE/app.py", line 1\n'),
    ],
)
def test_the_end_of_a_program_is_that_of_the_command(
    hotload: Hotload, monkeypatch: pytest.MonkeyPatch, text: str, code: int, said: str
) -> None:
    """The exit code is the program's, and a traceback begins in its file."""
    for name in ("argv", "path"):
        monkeypatch.setattr(sys, name, list(getattr(sys, name)))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    Path("app.py").write_text(text)
    done = hotload("run", "app.py")
    assert (done.code, done.out) == (code, "")
    assert said.replace("HERE", str(Path.cwd())) in done.err
    assert "hotload_tui" not in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.py",), "no program nowhere.py: name a Python file, or a module with -m MODULE"),
        (("--json", "app.py"), "--json: standard output belongs to the program"),
        (("-m",), "-m: name the module to run"),
    ],
)
def test_a_program_that_cannot_run_is_refused(
    hotload: Hotload, arguments: tuple[str, ...], said: str
) -> None:
    """A missing program, and options that contradict it, are wrong usage."""
    done = hotload("run", *arguments)
    assert (done.code, said in done.err) == (2, True)


def test_a_module_is_a_program(workspace: Workspace, hotload: Hotload) -> None:
    """``run -m`` runs a module of the working directory with its arguments."""
    workspace["greet"] = GREET
    (workspace.root / "tool").mkdir()
    text = "import sys\nfrom hotload_tui import running_host\n"
    text += "print(running_host().call('greet'), sys.argv[1:])\n"
    (workspace.root / "tool" / "__main__.py").write_text(text)
    done = hotload.process("run", "-m", "tool", "-v")
    assert (done.code, done.out) == (0, "['Hello, you'] ['-v']\n")


def test_a_program_outside_has_no_host() -> None:
    """``running_host`` says how to start the program if nothing has given it a host."""
    with pytest.raises(UsageError, match="start it with 'hotload run FILE'"):
        running_host()
