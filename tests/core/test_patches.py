"""What one plugin patches in the process does not keep other plugins from reloading."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hotload_tui import Config
from tests.conftest import Running, Workspace, answering
from tests.core.conftest import retired

PATCHED = [
    "builtins.__import__", "builtins.open", "io.open", "sys.meta_path", "sys.path_hooks",
    "threading.settrace", "threading.Thread.start", "time.monotonic", "time.perf_counter", "time.time",
    "time.sleep", "os.stat", "os.scandir", "os.replace", "os.open", "json.dumps", "importlib.import_module",
    "hashlib.sha256", "marshal.dumps", "marshal.loads", "tempfile.mkstemp", "zipfile.ZipFile",
    "threading.enumerate", "pathlib.Path.stat", "gc.collect", "linecache.getlines",
]  # fmt: skip

_open, _write, _close = os.open, os.write, os.close


def write(path: str, text: str) -> None:
    """Write a file with nothing that a case of the table patches."""
    handle = _open(path, os.O_WRONLY | os.O_TRUNC)
    _write(handle, text.encode())
    _close(handle)


KEPT = [
    "threading.Event.wait", "threading.Event.set", "threading.Condition.wait", "threading.Thread.join",
    "threading.Event", "threading.Lock", "threading.current_thread", "threading.get_ident",
    "time.monotonic", "time.sleep", "sys.meta_path",
]  # fmt: skip
ACTS = {
    "raises": "raise RuntimeError('patched')",
    "never ends": "while True: pass",
    "does nothing": "return None",
}

WORKING = "    ctx.thread(lambda stop: stop.wait())\n"

EVIL = """
import {module}
owner = {owner}

class Finder:
    @staticmethod
    def find_spec(*values, **named):
        {act}

def patched(*values, **named):
    {act}

def register(ctx):
    if isinstance(owner.{name}, list):
        owner.{name}.insert(0, Finder if "{name}" == "meta_path" else patched)
    else:
        owner.{name} = patched
"""


@contextmanager
def patching(target: str) -> Iterator[Callable[[str], str]]:
    """Yield a function that returns the source of a plugin that patches ``target``; then undo the patch."""
    module, _, rest = target.partition(".")
    owner, _, name = target.rpartition(".")
    holder = importlib.import_module(module)
    for part in rest.split(".")[:-1]:
        holder = getattr(holder, part)
    before = getattr(holder, name)
    entries = list(before) if isinstance(before, list) else []
    try:
        yield lambda act: EVIL.format(module=module, owner=owner, name=name, act=ACTS[act])
    finally:
        if isinstance(before, list):
            before[:] = entries
        else:
            setattr(holder, name, before)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("target", KEPT)
def test_the_engine_does_not_need_what_a_plugin_can_replace(
    workspace: Workspace, run: Callable[[Config], Running], target: str, act: str
) -> None:
    """Whatever a plugin makes of a clock, a primitive of threads or an importer, another one goes live."""
    for name in ("evil", "greet"):
        workspace[name] = answering(1, name) + WORKING
    running = run(workspace.config(load_timeout=1, drain_timeout=1))
    with patching(target) as evil:
        write(str(workspace.plugins / "evil" / "plugin.py"), evil(act))
        running.manager.rebuild("evil")
        write(str(workspace.plugins / "greet" / "plugin.py"), answering(2) + WORKING)
        running.manager.rebuild("greet")
        write(str(workspace.plugins / "evil" / "plugin.py"), answering(3, "evil"))
        running.manager.rebuild("evil")
    assert (running.host.call("greet"), running.host.call("evil")) == ([2], [3])
    assert running.status("greet").fault is None
    retired(running, "evil", times=2)


@pytest.mark.parametrize("act", ACTS)
def test_the_engine_does_not_need_the_programs_logging(
    workspace: Workspace, run: Callable[[Config], Running], caplog: pytest.LogCaptureFixture, act: str
) -> None:
    """Whatever a plugin makes of what ``logging`` calls, a failure is reported, the next save goes live."""
    for name in ("evil", "greet"):
        workspace[name] = answering(1, name)
    running = run(workspace.config(drain_timeout=0.2))
    caplog.set_level("INFO", "hotload.events")
    with patching("threading.get_ident") as evil:
        write(str(workspace.plugins / "evil" / "plugin.py"), evil(act))
        running.manager.rebuild("evil")
        write(str(workspace.plugins / "greet" / "plugin.py"), f"1 / 0\n{answering(2)}")
        running.manager.rebuild("greet")
        assert running.fault("greet").type == "ZeroDivisionError"
        write(str(workspace.plugins / "greet" / "plugin.py"), answering(2))
        running.manager.rebuild("greet")
    assert running.host.call("greet") == [2]
    lines = running.manager.log()
    assert any("ZeroDivisionError" in line.text for line in lines)
    told = [line.plugin for line in lines if "the program's logging lacks lines" in line.text]
    assert act == "does nothing" or told == ["evil"]


@pytest.mark.parametrize("target", ["marshal.dumps", "tempfile.mkstemp"])
def test_a_patch_that_does_not_end_in_a_build_is_named(
    workspace: Workspace, run: Callable[[Config], Running], target: str
) -> None:
    """A function of the standard library that a plugin patched and that does not end is ended and named."""
    workspace["greet"] = answering(1)
    running = run(workspace.config(drain_timeout=0.1))
    with patching(target) as evil:
        workspace["evil"] = evil("never ends")
        running.manager.rebuild("evil")
        write(str(workspace.plugins / "greet" / "plugin.py"), answering(2))
        running.manager.rebuild("greet")
    fault = running.fault("greet")
    assert fault.message.startswith("code of a plugin did not end within drain_timeout = 0.1 s")
    assert fault.place is not None
    assert fault.place.file.endswith("evil/plugin.py")
    running.manager.rebuild("greet")
    assert running.host.call("greet") == [2]


def test_a_finder_that_does_not_end_is_named(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """A plugin whose import a finder of another plugin holds up fails in time; its fault names the other."""
    with patching("sys.meta_path") as evil:
        workspace["evil"] = evil("never ends")
        running = run(workspace.config(load_timeout=1.0))
        workspace["greet"] = f"import not_there_at_all\n{answering(1)}"
        running.manager.rebuild("greet")
    fault = running.fault("greet")
    assert "load_timeout" in fault.message
    assert "evil" in " ".join(fault.notes)


@pytest.mark.parametrize("target", PATCHED)
def test_a_patch_of_one_plugin_does_not_stop_another(
    workspace: Workspace, run: Callable[[Config], Running], target: str
) -> None:
    """While a plugin's patch raises, another plugin goes live, or its fault names the patching plugin."""
    workspace["greet"] = answering(1)
    running = run(workspace.config(load_timeout=5))
    problem: BaseException | None = None
    values: list[object] = []
    with patching(target) as evil:
        workspace["evil"] = evil("raises")
        running.manager.rebuild("evil")
        try:
            write(str(workspace.plugins / "greet" / "plugin.py"), answering(2))
            running.manager.rebuild("greet")
        except BaseException as error:
            problem = error
    values = running.host.call("greet")
    fault = running.status("greet").fault
    named = fault is not None and "evil" in " ".join([fault.message, *fault.notes])
    assert values == [2] or named, (values, problem, fault)
    assert problem is None
