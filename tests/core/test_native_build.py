"""Native modules that hotload builds from the sources in a plugin's directory."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui import Config, HotloadError, PluginState
from hotload_tui.core import native_build
from hotload_tui.core.compiler import Compiler
from hotload_tui.core.events import PluginCompiled, PluginFailed, PluginLoaded
from hotload_tui.core.source import read_source
from tests.conftest import Running, Workspace

Run = Callable[[Config], Running]

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
PLUGIN = "from . import fast\n\n\ndef register(ctx):\n    ctx.hook('greet', fast.answer)\n"
HEADER = '#define WORD "{}"\n'
C = """\
#include <Python.h>
#include "word.h"
static PyObject *answer(PyObject *self, PyObject *args) {
	return PyUnicode_FromString(WORD);
}
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "fast", NULL, 0, methods};
PyMODINIT_FUNC PyInit_fast(void) { return PyModuleDef_Init(&module); }
"""
PYX = "def answer():\n    cdef str word = 'one'\n    return word\n"


@pytest.fixture
def written(workspace: Workspace) -> Workspace:
    """Return a workspace with the plugin ``greet``, whose module ``fast`` is written in C."""
    workspace["greet"] = PLUGIN
    workspace["greet/word.h"] = HEADER.format("one")
    workspace["greet/fast.c"] = C
    return workspace


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the PATH consist of one empty folder, and return this folder."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CC", raising=False)
    return folder


def built(running: Running) -> list[int]:
    """Return how many files and modules each build has compiled."""
    return [event.compiled for event in running.told(PluginCompiled, "greet")]


@pytest.mark.terminal
def test_a_saved_c_file_goes_live(written: Workspace, run: Run) -> None:
    """Each save of the source, or of a header, is built and goes live once, and a revert brings it back."""
    running = run(written.config(enable_watch=True))
    assert running.host.call("greet") == ["one"], running.said()
    old = running.host.handlers_of("greet")[0].call
    written["greet/word.h"] = HEADER.format("two")
    assert running.wait_for(lambda: running.host.call("greet") == ["two"])
    written["greet/fast.c"] = C.replace("(WORD)", '("three")')
    assert running.wait_for(lambda: running.host.call("greet") == ["three"])
    written["greet/word.h"] = HEADER.format("one")
    written["greet/fast.c"] = C
    assert running.wait_for(lambda: running.host.call("greet") == ["one"])
    assert old() == "one"
    assert sorted(path.name for path in (written.plugins / "greet").iterdir()) == [
        "fast.c",
        "plugin.py",
        "word.h",
    ]


@pytest.mark.terminal
def test_a_saved_pyx_file_goes_live(workspace: Workspace, run: Run) -> None:
    """A save of a Cython module is built and goes live, also in a package, and needs no declaration."""
    workspace["greet"] = PLUGIN.replace("from . import", "from .parts import")
    workspace["greet/parts/fast.pyx"] = PYX
    running = run(workspace.config(enable_watch=True))
    assert running.host.call("greet") == ["one"], running.said()
    workspace["greet/parts/fast.pyx"] = PYX.replace("one", "two")
    assert running.wait_for(lambda: running.host.call("greet") == ["two"])


@pytest.mark.terminal
def test_only_what_changed_is_built(written: Workspace, run: Run) -> None:
    """A build takes what did not change from the previous artifact, and a repeated load builds nothing."""
    for number in range(3):
        written[f"greet/other{number}.c"] = C.replace("PyInit_fast", f"PyInit_other{number}")
    running = run(written.config())
    written["greet/other1.c"] = C.replace("PyInit_fast", "PyInit_other1").replace("WORD", '"two"')
    running.manager.rebuild()
    written["greet"] = f"{PLUGIN}\n"
    running.manager.rebuild()
    assert built(running) == [5, 1, 1]
    assert running.manager.plan("greet").plugins[0].compiles == ()
    running.manager.rebuild("greet", force=True)
    assert built(running)[3:] == [5]


@pytest.mark.terminal
def test_another_compiler_builds_again(written: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An artifact whose machine code another compiler, or another flag, has made is built again."""
    running = run(written.config())
    running.manager.stop()
    monkeypatch.setenv("CFLAGS", "-O0")
    again = run(written.config())
    assert again.host.call("greet") == ["one"]
    assert built(again) == [1]
    assert "has a native module for fast.c that other tools have built (" in again.said()


@pytest.mark.terminal
@pytest.mark.parametrize(
    ("file", "content", "mistake", "message", "place", "caret"),
    [
        (
            "fast.c",
            C,
            C.replace("(WORD)", "(MISSING)"),
            "fast.c:4:30: 'MISSING' undeclared (first use in this function)",
            ("fast.c", 4),
            "MISSING",
        ),
        (
            "word.h",
            HEADER.format("one"),
            HEADER.format("one") + "\nint a = b;\n",
            "word.h:3:9: 'b' undeclared here (not in a function)",
            ("word.h", 3),
            "b",
        ),
        (
            "fast.pyx",
            PYX,
            PYX.replace("return word", "return words"),
            "fast.pyx:3:12: undeclared name not builtin: words",
            ("fast.pyx", 3),
            "words",
        ),
    ],
    ids=["C", "header", "Cython"],
)
def test_an_error_of_the_compiler_is_a_fault_at_its_line(  # noqa: PLR0917 - fixtures and parameters
    written: Workspace,
    run: Run,
    file: str,
    content: str,
    mistake: str,
    message: str,
    place: tuple[str, int],
    caret: str,
) -> None:
    """The fault shows the line with a caret, the old version stays live, and the next save fixes it."""
    if file == "fast.pyx":
        (written.plugins / "greet/fast.c").unlink()
        written[f"greet/{file}"] = content
    running = run(written.config(enable_watch=True))
    assert running.host.call("greet") == ["one"], running.said()
    written[f"greet/{file}"] = mistake
    assert running.wait_for(lambda: running.status("greet").state is PluginState.STALE)
    fault = running.fault("greet")
    assert (fault.phase, fault.type, fault.message) == ("compile", "CompileError", message)
    frame = fault.place
    assert frame is not None
    assert (frame.file, frame.line) == (str(written.plugins / "greet" / place[0]), place[1])
    assert not any(": note: " in note for note in fault.notes)
    line = frame.lines[frame.line - frame.first_line]
    assert line[frame.column : frame.end_column] == caret
    assert running.wait_for(lambda: message in running.said())
    assert running.host.call("greet") == ["one"]
    written[f"greet/{file}"] = content
    assert running.wait_for(lambda: running.status("greet").state is PluginState.OK)
    assert running.status("greet").generation == 1


@pytest.mark.terminal
def test_the_good_modules_of_a_failed_build_are_not_built_again(written: Workspace, run: Run) -> None:
    """After one of several modules failed, its fix builds only this one; all errors are named."""
    other = C.replace("PyInit_fast", "PyInit_other")
    written["greet/other.c"] = other.replace("WORD)", "A, B)")
    running = run(written.config())
    fault = running.fault("greet")
    assert fault.message.startswith("other.c:4:30: 'A' undeclared")
    assert any(note.startswith("other.c:4:33: error: 'B' undeclared") for note in fault.notes)
    written["greet/other.c"] = other
    assert running.manager.plan("greet").plugins[0].compiles == ("plugin.py", "other.c")


@pytest.mark.terminal
def test_warnings_are_lines_in_the_log(written: Workspace, run: Run) -> None:
    """A warning of the compiler is a line with file, line and column, also when the module is reused."""
    written["greet/fast.c"] = C.replace("\treturn", "\tint unused; return")
    running = run(written.config())
    warning = "greet: fast.c:4:6: warning: unused variable 'unused' [-Wunused-variable]"
    assert running.said().count(warning) == 1
    written["greet"] = f"{PLUGIN}\n"
    running.manager.rebuild()
    assert running.said().count(warning) == 2


@pytest.mark.terminal
def test_a_module_that_somebody_has_built_counts_while_it_is_new(
    written: Workspace, run: Run, tmp_path: Path
) -> None:
    """A native module beside its source is used until the source is saved; from then on hotload builds."""
    run(written.config()).manager.stop()
    compiler = Compiler(written.compiled)
    source = read_source("greet", written.plugins / "greet")
    native = compiler.open("greet", source.digest).source(f"fast{SUFFIX}")
    written["greet/word.h"] = HEADER.format("two")
    written[f"greet/fast{SUFFIX}"] = native
    running = run(written.config(compiled_dir=str(tmp_path / "elsewhere")))
    assert running.host.call("greet") == ["one"], "the module beside the source"
    written["greet/word.h"] = HEADER.format("three")
    running.manager.rebuild()
    assert running.host.call("greet") == ["three"]
    assert running.status("greet").outdated == ()
    written["greet"] = f"{PLUGIN}\n"
    running.manager.rebuild()
    assert running.host.call("greet") == ["three"]
    running.manager.rebuild("greet", force=True)
    assert running.host.call("greet") == ["three"]


@pytest.mark.terminal
@pytest.mark.parametrize("place", ["fast.c", "parts/fast.c"])
def test_a_build_by_hand_causes_one_more_load_at_most(written: Workspace, run: Run, place: str) -> None:
    """The folder ``build/`` of setuptools and the C file that Cython makes do not count as source."""
    folder = written.plugins / "greet"
    shutil.move(folder / "fast.c", folder / "word.c.txt")
    (folder / place).parent.mkdir(exist_ok=True)
    module = place.removesuffix(".c").replace("/", ".")
    written["greet"] = PLUGIN.replace("from . ", f"from .{module.rpartition('.')[0]} ")
    pyx = f"greet/{place.removesuffix('.c')}.pyx"
    written[pyx] = PYX
    running = run(written.config(enable_watch=True, sweep_interval=0.1))
    assert running.host.call("greet") == ["one"], running.said()
    digest = read_source("greet", folder).digest
    script = (
        "from setuptools import setup, Extension; from Cython.Build import cythonize; "
        f"setup(name='x', ext_modules=cythonize([Extension({module!r}, [{pyx[6:]!r}])], annotate=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "build_ext", "--build-lib", "build/lib.linux-x86_64-cpython-311"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / place).is_file()
    assert read_source("greet", folder).digest == digest
    written[pyx] = PYX.replace("one", "two")
    assert running.wait_for(lambda: running.host.call("greet") == ["two"])
    assert running.wait_for(lambda: len(running.told(PluginLoaded, "greet")) > 1)
    assert [event.generation for event in running.told(PluginLoaded, "greet")] == [1, 2]


PLAIN_C = """\
#include "words.h"
int words(const char *text) {
    int found = OFFSET, is_in = 0;
    for (; *text; text++) { found += !is_in && !is_space(*text); is_in = !is_space(*text); }
    return found;
}
"""
WORDS_C = "#include \"words.h\"\nint is_space(char it) { return it == ' '; }\n"
WORDS_H = "int is_space(char it);\n"
DECLARED = """\
[fast]
kind = "ctypes"
sources = ["lib/fast.c", "lib/words.c"]
include = ["headers"]
flags = ["-O1", "-DOFFSET=0"]
"""
CALLS = "from .fast import library\n\n\ndef register(ctx):\n    ctx.hook('greet', library.words)\n"


@pytest.fixture
def declared(workspace: Workspace) -> Workspace:
    """Return a workspace with the plugin ``greet``, whose library in plain C is declared."""
    workspace["greet"] = CALLS
    workspace["greet/lib/fast.c"] = PLAIN_C
    workspace["greet/lib/words.c"] = WORDS_C
    workspace["greet/headers/words.h"] = WORDS_H
    workspace["greet/native.toml"] = DECLARED
    return workspace


@pytest.mark.terminal
def test_plain_c_is_a_library_for_ctypes(declared: Workspace, run: Run) -> None:
    """A declared library has several sources, include folders and flags; a save of each goes live."""
    running = run(declared.config(enable_watch=True))
    assert running.host.call("greet", b"three words here") == [3], running.said()
    old = running.host.handlers_of("greet")[0].call
    declared["greet/native.toml"] = DECLARED.replace("=0", "=10")
    assert running.wait_for(lambda: running.host.call("greet", b"three words here") == [13])
    declared["greet/lib/words.c"] = WORDS_C.replace("' '", "'-'")
    assert running.wait_for(lambda: running.host.call("greet", b"three words here") == [11])
    assert old(b"three words here") == 3


@pytest.mark.terminal
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("native.toml", DECLARED.replace('"-O1"', '"-lnot_there"'), "cannot find -lnot_there"),
        (
            "lib/words.c",
            f"{WORDS_C}int words(const char *text) {{ return 0; }}\n",
            "multiple definition of `words'",
        ),
        ("native.toml", DECLARED.replace('"-O1"', '"-not-a-flag"'), "-not-a-flag"),
    ],
    ids=["library", "symbol", "flag"],
)
def test_an_error_without_a_line_is_named(
    declared: Workspace, run: Run, file: str, content: str, message: str
) -> None:
    """An error of the linker is the message of the fault, and the notes have the end of the output."""
    declared[f"greet/{file}"] = content
    fault = run(declared.config()).fault("greet")
    assert fault.message.startswith("lib/fast.c does not compile: ")
    assert message in fault.message
    (note,) = fault.notes
    assert note.startswith("the end of the output:\n")
    assert message in note


@pytest.mark.terminal
def test_an_extension_can_have_several_sources(written: Workspace, run: Run) -> None:
    """A declaration adds further C files to a C extension, and to a Cython module."""
    written["greet/fast.c"] = C.replace('#include "word.h"', "extern const char *word;").replace(
        "WORD", "word"
    )
    written["greet/more.c"] = 'const char *word = "more";\n'
    written["greet/quick.pyx"] = (
        "cdef extern from *:\n    const char *word\n\n\ndef answer():\n    return word.decode()\n"
    ).replace("*:", "'more.h':")
    written["greet/more.h"] = "extern const char *word;\n"
    both = '[fast]\nsources = ["more.c", "fast.c"]\n[quick]\nsources = ["more.c", "quick.pyx"]\n'
    written["greet/native.toml"] = both
    written["greet"] = f"from . import quick\n{PLUGIN}    ctx.hook('greet', quick.answer)\n"
    running = run(written.config())
    assert running.host.call("greet") == ["more", "more"], running.said()


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("[fast\n", "native.toml: not valid TOML: Expected ']'", 1),
        ("[fast]\nkinds = 1\n", 'native.toml: fast.kinds: unknown key; did you mean "kind"?', 0),
        ("[fast]\nkind = 'c'\n", 'native.toml: fast.kind: must be "extension" or "ctypes"', 0),
        ("[fast]\nsources = ['a.c']\n", "native.toml: fast: there is no file a.c in the plugin", 0),
        ("[fast]\n", "native.toml: fast: there is no file fast.c in the plugin", 0),
    ],
)
def test_a_wrong_declaration_is_a_fault(
    workspace: Workspace, run: Run, text: str, message: str, line: int
) -> None:
    """The fault names the file, the key and the fix."""
    workspace["greet"] = PLUGIN
    workspace["greet/native.toml"] = text
    running = run(workspace.config())
    fault = running.fault("greet")
    assert fault.phase == "compile"
    assert fault.message.startswith(message)
    assert running.manager.plan().plugins[0].fault is not None
    assert fault.place is not None
    assert (fault.place.file, fault.place.line) == (str(workspace.plugins / "greet" / "native.toml"), line)


CRATE = """\
[package]
name = "fast-words"
version = "0.1.0"
edition = "2021"

[lib]
crate-type = ["cdylib"]
"""
RUST = """\
mod parts;

#[no_mangle]
pub extern "C" fn words(number: i32) -> i32 {
    number + parts::MORE
}
"""
PARTS = "pub const MORE: i32 = {};\n"


@pytest.mark.terminal
@pytest.mark.parametrize("folder", ["", "crates/words/"])
def test_a_crate_of_rust_is_a_library_for_ctypes(workspace: Workspace, run: Run, folder: str) -> None:
    """A crate is built without a declaration; a mistake is a fault at its line, and its fix goes live."""
    workspace["greet"] = CALLS.replace(".fast", f".{folder.replace('/', '.')}fast_words")
    workspace[f"greet/{folder}Cargo.toml"] = CRATE
    workspace[f"greet/{folder}src/lib.rs"] = RUST
    workspace[f"greet/{folder}src/parts.rs"] = PARTS.format(1)
    running = run(workspace.config(enable_watch=True))
    assert running.host.call("greet", 1) == [2], running.said()
    workspace[f"greet/{folder}src/parts.rs"] = PARTS.format(2)
    assert running.wait_for(lambda: running.host.call("greet", 1) == [3])
    workspace[f"greet/{folder}src/lib.rs"] = RUST.replace("number +", "numbers +")
    assert running.wait_for(lambda: running.status("greet").state is PluginState.STALE)
    fault = running.fault("greet")
    message = f"{folder}src/lib.rs:5:5: cannot find value `numbers` in this scope"
    assert fault.message.startswith(message)
    frame = fault.place
    assert frame is not None
    assert (frame.file, frame.line) == (str(workspace.plugins / f"greet/{folder}src/lib.rs"), 5)
    assert frame.lines[frame.line - frame.first_line][frame.column : frame.end_column] == "numbers"
    workspace[f"greet/{folder}src/lib.rs"] = RUST.replace("number +", "number -")
    assert running.wait_for(lambda: running.host.call("greet", 1) == [-1])
    assert "no module named" not in running.said()
    assert running.manager.plan().plugins[0].obstacles == ()
    digest = read_source("greet", workspace.plugins / "greet").digest
    subprocess.run(["cargo", "build", "-q"], cwd=workspace.plugins / "greet" / folder, check=True)
    assert (workspace.plugins / "greet" / folder / "target").is_dir()
    assert read_source("greet", workspace.plugins / "greet").digest == digest


def test_without_cargo_the_fault_names_it(workspace: Workspace, run: Run, no_compiler: Path) -> None:
    """A crate needs cargo; a crate that is no library for other languages needs nothing."""
    assert not list(no_compiler.iterdir())
    workspace["greet"] = CALLS
    workspace["greet/Cargo.toml"] = CRATE
    workspace["other"] = "def register(ctx): ...\n"
    workspace["other/Cargo.toml"] = CRATE.replace("cdylib", "rlib")
    running = run(workspace.config())
    fault = running.fault("greet")
    assert fault.message == "Cargo.toml needs cargo, and there is none on the PATH: install cargo"
    assert fault.missing_program == "cargo"
    assert running.status("other").state is PluginState.OK


def test_without_a_compiler_the_fault_names_the_package(
    written: Workspace, run: Run, no_compiler: Path
) -> None:
    """The fault and the plan name gcc, in the place of the source that needs it."""
    assert not list(no_compiler.iterdir())
    plan = Running(written.config()).manager.plan()
    advice = "fast.c needs a C compiler, and there is none on the PATH: install gcc"
    (obstacle,) = plan.plugins[0].obstacles
    assert obstacle.startswith(advice)
    assert plan.plugins[0].compiles == ("plugin.py", "fast.c")
    running = run(written.config())
    fault = running.fault("greet")
    assert (fault.phase, fault.message, fault.missing_program) == ("compile", advice, "gcc")
    assert fault.place is not None
    assert fault.place.file == str(written.plugins / "greet" / "fast.c")


def test_without_cython_the_fault_names_the_extra(
    workspace: Workspace, run: Run, no_compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault gives the command for the extra, and says that a compiler is missing, too."""
    assert not list(no_compiler.iterdir())
    monkeypatch.setattr(native_build, "installed_spec", lambda _: None)
    workspace["greet"] = PLUGIN
    workspace["greet/fast.pyx"] = PYX
    fault = run(workspace.config()).fault("greet")
    assert fault.message == "fast.pyx is translated to C by Cython, which is not installed"
    assert (fault.phase, fault.missing_module) == ("compile", "Cython")
    install, compiler = fault.notes
    assert install.startswith("install hotload-tui[cython], which provides 'Cython': ")
    assert install.endswith(" 'hotload-tui[cython]'")
    assert compiler == "it also needs a C compiler, and there is none on the PATH: install gcc"


@pytest.mark.terminal
def test_a_plugin_loads_once_the_compiler_is_installed(
    written: Workspace, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that lacked a compiler is built by itself when there is one; until then it is tried once."""
    tools = {name: shutil.which(name) for name in ("as", "ld", "gcc")}
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    running = run(written.config(enable_watch=True, sweep_interval=0.2))
    assert running.fault("greet").missing_program == "gcc"
    for name, path in tools.items():
        assert path is not None
        (folder / name).symlink_to(path)
    assert running.wait_for(lambda: running.host.call("greet") == ["one"])
    assert len(running.told(PluginFailed, "greet")) == 1


@pytest.mark.terminal
def test_what_was_built_needs_no_compiler(written: Workspace, run: Run, tmp_path: Path) -> None:
    """On a machine without a compiler, the artifact is used, and an edit of a Python file goes live."""
    run(written.config()).manager.stop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        running = run(written.config())
        assert running.host.call("greet") == ["one"]
        assert built(running) == []
        written["greet"] = PLUGIN.replace("fast.answer", "lambda: fast.answer() + '!'")
        running.manager.rebuild()
        assert running.host.call("greet") == ["one!"]
        written["greet/word.h"] = HEADER.format("two")
        running.manager.rebuild()
        assert running.status("greet").state is PluginState.STALE
        assert running.fault("greet").missing_program == "gcc"


INSTALLS = """
import os, sys
from pathlib import Path
from hotload_tui import Config, HookHost, HotloadManager
from tests.waiting import until

folder, plugins, compiled, cython = sys.argv[1:]
host = HookHost()
config = Config(runtime_dir=plugins, compiled_dir=compiled, sweep_interval=0.2)
with HotloadManager(host, config) as manager:
    print(manager.snapshot().plugins[0].fault.missing_module)
    for place in Path(cython).parent.glob("[Cc]ython*"):
        Path(folder, place.name).symlink_to(place)
    until(lambda: host.call("greet") == ["one"], lambda: str(list(manager.log())))
    print(*host.call("greet"))
"""


@pytest.mark.terminal
def test_a_plugin_loads_once_cython_is_installed(workspace: Workspace, tmp_path: Path) -> None:
    """A plugin that lacked Cython is built by itself once the package is there."""
    workspace["greet"] = PLUGIN
    workspace["greet/fast.pyx"] = PYX
    packages = tmp_path / "packages"
    packages.mkdir()
    for place in (path for folder in site.getsitepackages() for path in Path(folder).iterdir()):
        if not place.name.lower().startswith("cython") and place.suffix != ".pth":
            (packages / place.name).symlink_to(place)
    cython = __import__("Cython").__path__[0]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-S", "-c", INSTALLS, packages, workspace.plugins, workspace.compiled, cython],
        env={**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{root}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "Cython\none\n", done.stdout + done.stderr


@pytest.mark.terminal
def test_a_build_that_takes_too_long_ends_with_all_its_processes(
    written: Workspace, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler that does not end is killed after the time limit, with a fault that says so."""
    endless = tmp_path / "endless"
    endless.write_text('#!/bin/sh\n[ "$1" = --version ] && exit\necho $$ > "$0.pid"\nsleep 1000\n')
    endless.chmod(0o755)
    monkeypatch.setenv("CC", str(endless))
    monkeypatch.setattr(native_build, "_PATIENCE", 15.0)
    running = run(written.config())
    assert running.fault("greet").message == "fast.c: the build took longer than 15 s"
    pid = int((tmp_path / "endless.pid").read_text())
    assert running.wait_for(lambda: _state(pid) == "Z")


@pytest.mark.terminal
def test_a_host_that_stops_does_not_wait_for_a_build(
    workspace: Workspace, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build ends with its processes when the host stops."""
    endless = tmp_path / "endless"
    endless.write_text('#!/bin/sh\n[ "$1" = --version ] && exit\necho $$ > "$0.pid"\nsleep 1000\n')
    endless.chmod(0o755)
    monkeypatch.setenv("CC", str(endless))
    workspace["greet"] = "def register(ctx): ...\n"
    running = run(workspace.config(enable_watch=True))
    workspace["greet/fast.c"] = C
    written = tmp_path / "endless.pid"
    assert running.wait_for(lambda: written.exists() and written.read_text() != "")
    running.manager.stop()
    assert running.wait_for(lambda: _state(int(written.read_text())) == "Z")


def _state(pid: int) -> str:
    """Return the state of a process, as Linux writes it; that of an ended one if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_module_for_another_python_is_no_obstacle_if_its_source_is_there(workspace: Workspace) -> None:
    """A plan does not object to a module for another Python that hotload builds for this one."""
    workspace["greet"] = PLUGIN
    workspace["greet/fast.c"] = C
    workspace["greet/fast.cpython-27-other.so"] = "other"
    (plan,) = Running(workspace.config()).manager.plan().plugins
    assert not any("for another Python" in obstacle for obstacle in plan.obstacles)
    assert plan.compiles == ("plugin.py", "fast.c")


def test_a_c_file_without_an_entry_point_is_data(workspace: Workspace, no_compiler: Path) -> None:
    """A C file that defines no ``PyInit_`` of its name is not built, so it needs no compiler."""
    assert not list(no_compiler.iterdir())
    workspace["greet"] = PLUGIN
    workspace["greet/fast.c"] = "int PyInit_slow(void);\nint PyInit_faster(void);\n"
    workspace["greet/my-fast.c"] = "int PyInit_fast(void);\n"
    assert Compiler(workspace.compiled).compile(workspace.plugins / "greet").compiled == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("fast.c:3:5: error: no\n", ("fast.c", 3, 5, "error", "no")),
        ("./sub/fast.h:3:5: fatal error: no\n", ("sub/fast.h", 3, 5, "error", "no")),
        ("fast.c:3: warning: old\n", ("fast.c", 3, 0, "warning", "old")),
        ("fast.pyx:3:5: odd\n", ("fast.pyx", 3, 6, "error", "odd")),
        ("warning: fast.pyx:3:5: odd\n", ("fast.pyx", 3, 6, "warning", "odd")),
    ],
)  # fmt: skip
def test_messages_of_compilers_are_understood(message: str, expected: tuple[object, ...]) -> None:
    """File, line, column, level and text are found in what gcc, clang and Cython print."""
    (found,) = native_build._messages(f"fast.c: In function 'f':\n{message}    3 | int a;\n")  # noqa: SLF001
    assert tuple(found) == expected


def test_a_damaged_module_in_an_artifact_is_not_used(workspace: Workspace) -> None:
    """Each native module in an artifact is verified before it is used."""
    from hotload_tui.core.artifact import Artifact, NativeModule, write_artifact

    module = NativeModule(f"fast{SUFFIX}", b"machine code", "inputs", "gcc")
    path, _ = write_artifact(workspace.root, "greet", "0" * 64, (), natives=[module])
    assert Artifact(path).native(module.path) == module
    path.write_bytes(path.read_bytes().replace(b"machine code", b"machine cod3"))
    with pytest.raises(HotloadError, match="does not match its SHA-256"):
        Artifact(path).native(module.path)
