import socket
from pathlib import Path

import pytest

from tests.cli.command import Hotload, has_ended
from tests.conftest import Workspace, answering
from tests.waiting import until

FINE = "print('noise')\n\ndef register(ctx):\n    ctx.hook('greet', str, priority=7)\n"

HOSTILE = {
    "sys.exit(3)": ("register", "SystemExit", "3"),
    "os._exit(0)": ("load", "ProcessDied", "with exit status 0"),
    "os._exit(3)": ("load", "ProcessDied", "with exit status 3"),
    "os.kill(os.getpid(), 9)": ("load", "SIGKILL", "crashed the process: Killed"),
    "os.abort()": ("load", "SIGABRT", "crashed the process: Aborted"),
    "ctypes.string_at(0)": ("load", "SIGSEGV", "crashed the process: Segmentation fault"),
    "os.fork() or signal.pause(); os._exit(4)": ("load", "ProcessDied", "with exit status 4"),
    "os.closerange(3, 64)": ("load", "ProcessDied", "closed file descriptors"),
    "re.match('(a+)+$', 'a' * 60 + 'b')": ("load", "TimeoutError", "load_timeout = 0.5 s"),
    "input()": ("register", "EOFError", "EOF when reading a line"),
}


def test_all_is_well(workspace: Workspace, hotload: Hotload) -> None:
    """``check --json`` prints one JSON object with each plugin's result, and nothing that plugins print."""
    workspace["greet"] = FINE
    workspace["_quiet"] = FINE
    done = hotload("check", "--json")
    assert done.code == 0
    greet, quiet = done.plugins
    assert greet == {
        "name": "greet",
        "state": "ok",
        "digest": greet["digest"],
        "generation": 1,
        "compile_ms": greet["compile_ms"],
        "load_ms": greet["load_ms"],
        "points": [{"point": "greet", "priority": 7}],
        "fault": None,
        "held": "",
        "suspected": "",
        "waits": "",
        "old": "",
        "memory": "",
        "left": [],
        "outdated": [],
        "reload": "swap",
        "gap_ms": 0.0,
    }
    assert isinstance(greet["compile_ms"], float)
    assert greet["compile_ms"] > 0
    assert (quiet["name"], quiet["state"]) == ("quiet", "off")


@pytest.mark.parametrize(("attack", "outcome"), HOSTILE.items(), ids=list(HOSTILE))
def test_a_hostile_plugin_is_a_failed_plugin(
    workspace: Workspace, hotload: Hotload, attack: str, outcome: tuple[str, str, str]
) -> None:
    """A plugin that exits, crashes or hangs while it loads fails with a fault, and the others are checked."""
    workspace["a"] = FINE
    workspace["hostile"] = f"import ctypes, os, re, signal, sys\ndef register(ctx):\n    {attack}\n"
    workspace["z"] = FINE
    Path(workspace.root, "hotload.toml").write_text("load_timeout = 0.5\n")
    done = hotload("check", "--json")
    assert done.code == 1
    assert [(plugin["name"], plugin["state"]) for plugin in done.plugins] == [
        ("a", "ok"),
        ("hostile", "FAIL"),
        ("z", "ok"),
    ]
    fault = done.plugins[1]["fault"]
    assert isinstance(fault, dict)
    assert list(fault) == ["phase", "type", "message", "file", "line", "generation", "point", "arguments"]
    assert (fault["phase"], fault["type"]) == outcome[:2]
    assert outcome[2] in fault["message"]


def test_a_crash_in_c_has_its_line(workspace: Workspace, hotload: Hotload) -> None:
    """The fault of a segmentation fault shows the plugin's lines that led to it."""
    workspace["crash"] = (
        "import ctypes\n\ndef boom():\n    ctypes.string_at(0)\n\ndef register(ctx):\n    boom()\n"
    )
    done = hotload("check")
    assert done.code == 1
    assert done.err.splitlines() == [
        "crash: load: SIGSEGV: the plugin crashed the process: Segmentation fault",
        "  plugins/crash/plugin.py:7, in register",
        "    7 | boom()",
        "  plugins/crash/plugin.py:4, in boom",
        "    4 | ctypes.string_at(0)",
    ]


def test_a_fault_is_worth_reading(workspace: Workspace, hotload: Hotload) -> None:
    """A fault shows the plugin's frames with source and carets, and its cause."""
    workspace["settings"] = (
        "import json\n\n"
        "def read(text):\n    try:\n        return json.loads(text)\n"
        "    except ValueError as error:\n        raise RuntimeError('bad \\x1b[31msettings') from error\n\n"
        "def register(ctx):\n    read('{')\n"
    )
    done = hotload("check", "settings")
    assert done.code == 1
    assert done.out.splitlines()[1].startswith("! FAIL  settings  -    ")
    assert done.err.splitlines()[:6] == [
        "settings: register: RuntimeError: bad \\x1b[31msettings",
        "  plugins/settings/plugin.py:10, in register",
        "    10 | read('{')",
        "       | ^^^^^^^^^",
        "  plugins/settings/plugin.py:7, in read",
        "    7 | raise RuntimeError('bad \\x1b[31msettings') from error",
    ]
    assert any(
        line.startswith("  caused by JSONDecodeError: Expecting property") for line in done.err.splitlines()
    )


def test_a_stale_plugin_fails_the_check(workspace: Workspace, hotload: Hotload) -> None:
    """A broken source fails the check, even if an older artifact exists."""
    workspace["greet"] = FINE
    assert hotload("check").code == 0
    workspace["greet"] = "def register(ctx):\n    1 / 0\n"
    done = hotload("check", "--json")
    assert done.code == 1
    assert done.plugins[0]["fault"] is not None


def test_a_check_names_the_plugins_that_leave_first(workspace: Workspace, hotload: Hotload) -> None:
    """The check, which has no running version, says which plugins leave before a new version is tried."""
    workspace["greet"] = f"RELOAD = 'replace'\n{FINE}"
    workspace["other"] = FINE
    done = hotload("check")
    assert done.code == 0
    said = [line for line in done.err.splitlines() if "reload = " in line]
    assert said == ['greet: reload = "replace": its live version leaves before a new one is tried']


def test_what_plugins_started_ends_with_the_check(workspace: Workspace, hotload: Hotload) -> None:
    """Neither an endless thread nor a child process of a plugin outlives the check."""
    workspace["starts"] = (
        "import pathlib, subprocess, threading\n\n"
        "def register(ctx):\n"
        "    child = subprocess.Popen(['sleep', '1000'])\n"
        "    pathlib.Path('child').write_text(str(child.pid))\n"
        "    threading.Thread(target=threading.Event().wait).start()\n"
    )
    assert hotload("check").code == 0
    child = int((workspace.root / "child").read_text())
    until(lambda: has_ended(child))


def test_a_check_only_stages(workspace: Workspace, hotload: Hotload) -> None:
    """A check acquires nothing, binds no port, and starts no thread or task: a host may run beside it."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        workspace["owner"] = (
            "import pathlib\nfrom functools import partial\n\n"
            "async def task():\n    pathlib.Path('task').touch()\n\n"
            "def register(ctx):\n    pathlib.Path('register').touch()\n"
            f"    ctx.listen('127.0.0.1', {port})\n"
            "    ctx.own('it', pathlib.Path('acquire').touch, pathlib.Path('release').touch)\n"
            "    ctx.thread(pathlib.Path('thread').touch)\n    ctx.task(task)\n"
            "    ctx.on_unload(pathlib.Path('unload').touch)\n"
        )
        workspace["requires"] = "REQUIRES = ['owner']\ndef register(ctx): ctx.plugin('owner')\n"
        done = hotload("check", "requires", "owner")
    assert done.code == 0, done.err
    files = {"register", "acquire", "release", "thread", "task"}
    assert [name for name in files if (workspace.root / name).exists()] == ["register"]


def test_a_check_loads_on_the_main_thread(workspace: Workspace, hotload: Hotload) -> None:
    """A plugin that sets a signal handler or uses the main thread's event loop passes, as in ``run``."""
    workspace["main"] = (
        "import asyncio, signal, threading\n"
        "assert threading.current_thread() is threading.main_thread()\n"
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
        "LOOP = asyncio.new_event_loop()\nasyncio.set_event_loop(LOOP)\n"
        "assert asyncio.get_event_loop() is LOOP\nasyncio.set_event_loop(None)\nLOOP.close()\n\n"
        "def register(ctx): ctx.hook('main', lambda: 'called')\n"
    )
    for command in (("check",), ("call", "main")):
        done = hotload(*command)
        assert done.code == 0, done.err


def test_a_check_sees_the_modules_that_a_host_sees(workspace: Workspace, hotload: Hotload) -> None:
    """``check`` and a host agree on whether a module in the working directory can be imported."""
    (workspace.root / "mine.py").write_text("")
    workspace["uses"] = "import mine\ndef register(ctx):\n    ctx.hook('greet', lambda: 'found')\n"
    called = hotload.process("call", "greet")
    assert hotload.process("check").code == called.code


def test_a_check_leaves_no_file(workspace: Workspace, hotload: Hotload) -> None:
    """``check`` leaves no temporary files, even if a plugin ends its process."""
    (workspace.root / "tmp").mkdir()
    workspace["hostile"] = "import os\nos._exit(1)\n\ndef register(ctx): ...\n"
    assert hotload.process("check", TMPDIR=str(workspace.root / "tmp")).code == 1
    assert list((workspace.root / "tmp").iterdir()) == []


def test_a_handler_that_does_not_fit_its_point(workspace: Workspace, hotload: Hotload) -> None:
    """``check`` reports a handler that does not fit a typed hook point, with its line and the right form."""
    workspace["points/plugin.py"] = (
        "from hotload_tui import HookPoint\n\n@HookPoint\ndef greet(name: str) -> str:\n"
        "    raise NotImplementedError\n\ndef register(ctx):\n    pass\n"
    )
    workspace["hello"] = (
        "REQUIRES = ['points']\n\ndef hello():\n    return ''\n\n"
        "def register(ctx):\n    ctx.hook(ctx.plugin('points').greet, hello)\n"
    )
    done = hotload("check", "hello")
    assert done.code == 1
    assert "plugin.py:3" in done.out + done.err
    assert "hello() does not fit hook point 'greet'" in done.out + done.err
    assert "write: def hello(name: str) -> str:" in done.out + done.err


def test_the_tests_of_a_plugin_are_part_of_a_check_if_asked_for(
    workspace: Workspace, hotload: Hotload
) -> None:
    """``check --tests`` runs the tests, and shows a failing one with its assert; ``check`` runs none."""
    (workspace.root / "hotload.toml").write_text('gate = "tests"\n')
    for name, value in (("greet", 1), ("wrong", 2), ("none", 1)):
        workspace[name] = answering(1, name)
        if name != "none":
            workspace[f"{name}/test_it.py"] = (
                f"from plugin import answer\n\n\ndef test_it():\n    assert answer() == {value}\n"
            )
    assert hotload.process("check").code == 0
    done = hotload.process("check", "--tests", "--json")
    assert done.code == 1
    assert {each["name"]: each["state"] for each in done.plugins} == {
        "greet": "ok",
        "none": "ok",
        "wrong": "FAIL",
    }
    (fault,) = (each["fault"] for each in done.plugins if each["name"] == "wrong")
    assert isinstance(fault, dict)
    assert (fault["phase"], fault["line"], Path(fault["file"]).name) == ("test", 5, "test_it.py")
    assert "greet: 1 passed" in done.err
    assert "none: it has no tests" in done.err
    assert "wrong: test: AssertionError: test_it.py::test_it: assert 1 == 2" in done.err
