import importlib.machinery
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui import Config
from hotload_tui.core.events import PluginRetired
from tests.conftest import Running, Workspace

Run = Callable[[Config], Running]

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
PLUGIN = "from . import fast\n\n\ndef register(ctx):\n    ctx.hook('greet', fast.answer)\n"
ONE_PHASE = "return PyModule_Create(&module);"
TWO_PHASES = "return PyModuleDef_Init(&module);"
ONCE = """
    if (PySys_GetObject("hotload_once")) {
        PyErr_SetString(PyExc_ImportError, "cannot load module more than once per process");
        return NULL;
    }
    PySys_SetObject("hotload_once", Py_True);
    return PyModule_Create(&module);
"""
SOURCE = """
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *args) { return PyUnicode_FromString("%s"); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "fast", NULL, %d, methods};
PyMODINIT_FUNC PyInit_fast(void) { %s }
"""


def compiler() -> list[str]:
    """Return the C compiler command with the interpreter's flags; empty if there is no compiler."""
    command = (sysconfig.get_config_var("CC") or "cc").split()
    found = shutil.which(command[0]) or shutil.which("cc")
    flags = f"{sysconfig.get_config_var('CCSHARED') or ''} -shared -I{sysconfig.get_path('include')}"
    if sys.platform == "darwin":
        flags += " -undefined dynamic_lookup"
    return [found, *command[1:], *flags.split()] if found else []


@pytest.fixture
def build(workspace: Workspace, tmp_path: Path) -> Callable[[str, str], None]:
    """Return a function that puts a native module ``fast`` beside ``plugin.py``."""

    def make(word: str, start: str) -> None:
        source, library = tmp_path / "fast.c", tmp_path / f"fast{SUFFIX}"
        source.write_text(SOURCE % (word, 0 if start == TWO_PHASES else -1, start))
        subprocess.run([*compiler(), str(source), "-o", str(library)], check=True)
        workspace[f"greet/fast{SUFFIX}"] = library.read_bytes()

    return make


def reload(running: Running) -> None:
    """Rebuild and wait until the previous version has retired."""
    gone = len(running.told(PluginRetired, "greet"))
    running.manager.rebuild("greet")
    assert running.wait_for(lambda: len(running.told(PluginRetired, "greet")) > gone)


@pytest.mark.terminal
@pytest.mark.parametrize("start", [ONE_PHASE, TWO_PHASES], ids=["one phase", "two phases"])
def test_a_native_module_is_reloaded_with_its_plugin(
    workspace: Workspace, run: Run, build: Callable[[str, str], None], start: str
) -> None:
    """Each version runs its own native code, and old and new versions work side by side."""
    workspace["greet"] = PLUGIN
    build("one", start)
    running = run(workspace.config())
    assert running.host.call("greet") == ["one"], running.status("greet").fault
    old = running.host.handlers_of("greet")[0].call
    build("two", start)
    reload(running)
    assert (running.host.call("greet"), old()) == (["two"], "one")
    build("one", start)
    reload(running)
    assert running.host.call("greet") == ["one"]


@pytest.mark.terminal
def test_a_native_module_that_refuses_a_second_load_is_a_clear_fault(
    workspace: Workspace, run: Run, build: Callable[[str, str], None]
) -> None:
    """If a native module refuses a second load, the old version stays and the fault asks for a restart."""
    workspace["greet"] = PLUGIN
    build("one", ONCE)
    running = run(workspace.config())
    build("two", ONCE)
    running.manager.rebuild("greet")
    message = running.fault("greet").message
    assert f"native module fast{SUFFIX} of plugin greet cannot be loaded a second time" in message
    assert "restart the host" in message
    assert running.host.call("greet") == ["one"]


def test_an_extension_of_the_standard_library_in_a_plugin(workspace: Workspace, run: Run) -> None:
    """A copy of a standard extension works in a plugin, separate from the original and with its own path."""
    library = Path(importlib.import_module("_queue").__file__ or "")
    name = f"_queue{SUFFIX}"
    workspace["greet"] = (
        "from . import _queue\nimport sys\n\n\ndef answer():\n"
        "    assert _queue.SimpleQueue().empty()\n"
        "    return _queue is sys.modules['_queue'], _queue.__file__\n\n\n"
        "def register(ctx):\n    ctx.hook('greet', answer)\n"
    )
    workspace[f"greet/{name}"] = library.read_bytes()
    running = run(workspace.config())
    place = str(workspace.plugins / "greet" / name)
    assert running.host.call("greet") == [(False, place)], running.status("greet").fault


def test_the_versions_in_memory_are_counted_and_limited(workspace: Workspace, run: Run) -> None:
    """The details say how many versions are in memory; beyond the limit, a fault asks for a restart."""
    library = Path(importlib.import_module("_queue").__file__ or "").read_bytes()
    workspace[f"greet/_queue{SUFFIX}"] = library
    workspace["greet"] = (
        "try:\n    from . import _queue\nexcept ImportError:\n    _queue = None\n\n\ndef register(ctx): ...\n"
    )
    workspace["other"] = "def register(ctx): ...\n"
    running = run(workspace.config(native_limit=2))
    running.manager.rebuild("greet")
    assert [entry.describe() for entry in running.manager.detail("greet").ledger] == [
        f"native module _queue{SUFFIX} (2 versions in memory)"
    ]
    assert running.manager.detail("other").ledger == ()
    running.manager.rebuild("greet")
    fault = running.fault("greet")
    assert (fault.phase, fault.type) == ("load", "LoadError")
    assert fault.message == (
        f"2 versions of the native module _queue{SUFFIX} are in memory (native_limit = 2), because no Python "
        "unmaps one: restart the host to get this version"
    )
    assert running.status("greet").generation == 2


def test_a_damaged_native_module_is_a_clear_fault(workspace: Workspace, run: Run) -> None:
    """The fault of a damaged native module names the author's file, not a temporary copy of it."""
    workspace["greet"] = PLUGIN
    workspace[f"greet/fast{SUFFIX}"] = b"\x7fELF"
    message = run(workspace.config()).fault("greet").message
    assert f"native module fast{SUFFIX} of plugin greet cannot be loaded: " in message
    assert "hotload-native" not in message


def test_a_native_module_for_another_python_is_refused(workspace: Workspace, run: Run) -> None:
    """A library for another Python is refused by name instead of being ignored."""
    workspace["greet"] = PLUGIN
    workspace["greet/fast.cpython-27-elsewhere.so"] = b"\x7fELF"
    assert "for another Python or system" in run(workspace.config()).fault("greet").message


@pytest.mark.parametrize("imports", ["from . import fast", "import fast", "import fast.part"])
@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("fast.c", "defines no PyInit_fast, and no native.toml declares it"),
        ("fast.cpp", "is neither C nor Cython"),
        ("fast.rs", "belongs to no crate with a Cargo.toml"),
    ],
)
def test_a_source_that_is_not_built_is_named(
    workspace: Workspace, run: Run, imports: str, file: str, reason: str
) -> None:
    """The fault of an import names the source from which no module is built, and advises no installation."""
    workspace["greet"] = f"{imports}\n\n\ndef register(ctx): ...\n"
    workspace[f"greet/{file}"] = "int one = 1;\n"
    fault = run(workspace.config()).fault("greet")
    assert fault.message == f"{file} of plugin greet {reason}, so hotload builds no module from it"
    assert fault.missing_module == ""
    assert fault.place is not None
    assert fault.place.line == 1


FORKS = """
import os, sys
from pathlib import Path
from hotload_tui import Config, HookHost, HotloadManager

def copies():
    return [*Path(os.environ["TMPDIR"]).rglob("_queue*")]

config = Config(runtime_dir=sys.argv[1], compiled_dir=sys.argv[2], enable_watch=False)
manager = HotloadManager(HookHost(), config)
manager.start()
before = copies()
child = os.fork()
if not child:
    sys.exit()
os.waitpid(child, 0)
print(len(before), copies() == before)
"""


def test_copies_are_removed_when_the_process_ends(workspace: Workspace) -> None:
    """Neither a process nor its fork leaves copies behind, and the fork does not remove its parent's."""
    library = Path(importlib.import_module("_queue").__file__ or "")
    workspace["greet"] = "from . import _queue\n\n\ndef register(ctx): ...\n"
    workspace[f"greet/_queue{SUFFIX}"] = library.read_bytes()
    temporary = workspace.root / "temporary"
    temporary.mkdir()
    told = subprocess.run(
        [sys.executable, "-c", FORKS, str(workspace.plugins), str(workspace.compiled)],
        check=True,
        capture_output=True,
        text=True,
        env={"TMPDIR": str(temporary)},
    )
    assert told.stdout == "1 True\n"
    assert list(temporary.iterdir()) == []
