import json
import signal
from pathlib import Path

import pytest

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
    for host, line in zip(hosts, ("stubborn: compiled", "runs unloads/", "runs thread/"), strict=True):
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
