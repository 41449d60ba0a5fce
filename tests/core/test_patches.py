"""What one plugin patches in the process does not keep other plugins from reloading."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

import pytest

from hotload_tui import Config
from tests.conftest import Running, Workspace, answering

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


EVIL = """
import {module}
owner = {owner}

class Finder:
    @staticmethod
    def find_spec(*values, **named):
        raise RuntimeError("patched")

def patched(*values, **named):
    raise RuntimeError("patched")

def register(ctx):
    if isinstance(owner.{name}, list):
        owner.{name}.insert(0, Finder if "{name}" == "meta_path" else patched)
    else:
        owner.{name} = patched
"""


@pytest.mark.parametrize("target", PATCHED)
def test_a_patch_of_one_plugin_does_not_stop_another(
    workspace: Workspace, run: Callable[[Config], Running], target: str
) -> None:
    """While a plugin's patch raises, another plugin goes live, or its fault names the patching plugin."""
    module, _, rest = target.partition(".")
    owner, _, name = target.rpartition(".")
    holder = importlib.import_module(module)
    for part in rest.split(".")[:-1]:
        holder = getattr(holder, part)
    before = getattr(holder, name)
    entries = list(before) if isinstance(before, list) else []
    workspace["greet"] = answering(1)
    running = run(workspace.config(load_timeout=5))
    workspace["evil"] = EVIL.format(module=module, owner=owner, name=name)
    problem: BaseException | None = None
    values: list[object] = []
    try:
        running.manager.rebuild("evil")
        try:
            write(str(workspace.plugins / "greet" / "plugin.py"), answering(2))
            running.manager.rebuild("greet")
        except BaseException as error:
            problem = error
    finally:
        if isinstance(before, list):
            before[:] = entries
        else:
            setattr(holder, name, before)
    values = running.host.call("greet")
    fault = running.status("greet").fault
    named = fault is not None and "evil" in " ".join([fault.message, *fault.notes])
    assert values == [2] or named, (values, problem, fault)
    assert problem is None
