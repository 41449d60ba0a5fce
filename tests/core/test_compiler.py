import ast
import contextlib
import marshal
import os
import random
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest

from hotload_tui.core import checks
from hotload_tui.core.checks import is_module
from hotload_tui.core.compiler import Build, Compiler
from hotload_tui.core.errors import ArtifactError, CompileError, DiscoverError
from hotload_tui.core.source import read_source
from tests.conftest import Workspace

ENTRY = '"""Greets.\n\nAt length."""\n\n\ndef register(ctx): ...\n'


def build(workspace: Workspace, name: str = "greet", *, fresh: bool = False) -> Build:
    """Compile a plugin of the workspace."""
    return Compiler(workspace.compiled).compile(workspace.plugins / name, fresh=fresh)


def test_an_unchanged_source_compiles_nothing(workspace: Workspace) -> None:
    """A second build of the same files uses the existing artifact."""
    workspace["greet"] = ENTRY
    first, second = build(workspace), build(workspace)
    assert (first.compiled, first.reused, second.compiled, second.reused) == (1, 0, 0, 0)
    assert second.artifact.path == first.artifact.path
    assert build(workspace, fresh=True).compiled == 1


def test_only_changed_files_are_compiled(workspace: Workspace) -> None:
    """If one of ten files is edited, the compiler compiles that file and reuses the code of the others."""
    workspace["greet"] = ENTRY
    for number in range(9):
        workspace[f"greet/part{number}.py"] = f"x = {number}\n"
    build(workspace)
    workspace["greet/part3.py"] = "x = 33\n"
    again = build(workspace)
    assert (again.compiled, again.reused) == (1, 9)


@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_where_the_newest_artifact_is_lost_an_older_one_is_taken_over_from(
    workspace: Workspace, harm: str
) -> None:
    """If the newest artifact is removed or damaged, the compiler reuses code from an older one."""
    compiler = Compiler(workspace.compiled)
    workspace["greet"] = ENTRY
    workspace["greet/part.py"] = "x = 1\n"
    compiler.compile(workspace.plugins / "greet")
    workspace["greet/part.py"] = "x = 2\n"
    newest = compiler.compile(workspace.plugins / "greet").artifact.path
    newest.unlink() if harm == "removed" else newest.write_bytes(b"PK")
    workspace["greet/part.py"] = "x = 3\n"
    again = compiler.compile(workspace.plugins / "greet")
    assert (again.compiled, again.reused) == (1, 1)


def test_a_changed_data_file_compiles_nothing(workspace: Workspace) -> None:
    """A changed data file makes a new artifact, but no Python file is compiled for it."""
    workspace["greet"] = ENTRY
    workspace["greet/words.txt"] = "Hello"
    first = build(workspace)
    workspace["greet/words.txt"] = "Good day"
    again = build(workspace)
    assert (again.compiled, again.reused) == (0, 1)
    assert again.artifact.path != first.artifact.path
    assert again.artifact.source("words.txt") == b"Good day"


def test_needs_recompile_compares_digests(workspace: Workspace) -> None:
    """``needs_recompile`` compares the source with the digest of the last build."""
    workspace["greet"] = ENTRY
    compiler = Compiler(workspace.compiled)
    digest = compiler.compile(workspace.plugins / "greet").artifact.manifest.digest
    assert not compiler.needs_recompile(workspace.plugins / "greet", digest)
    workspace["greet"] = ENTRY + "\n"
    assert compiler.needs_recompile(workspace.plugins / "greet", digest)


@pytest.mark.parametrize(
    ("source", "message"),
    [("", "is empty"), ("  \n\n", "is empty"), ("x = 1\n", "defines no register"),
     ("x = 1\0\n", "NUL byte in line 1"), ("def register(ctx)\n", "does not compile"),
     (b"# coding: no-such\n", "does not compile"), (b"x = '\xe9'\n", "does not compile"),
     ("ä = 1\n".encode("utf-16"), "NUL byte"), ("x = " + "(" * 5000, "does not compile"),
     ("x = " + "-" * 200_000 + "1", "does not compile"), ("def register(ctx):\nreturn", "does not compile"),
     ("#" * (5 << 20), "over 4,194,304 are not compiled")],
)  # fmt: skip
def test_what_cannot_be_compiled_is_named(workspace: Workspace, source: str | bytes, message: str) -> None:
    """Each kind of unusable plugin.py raises an error that names the problem."""
    workspace["greet"] = source
    with pytest.raises(CompileError, match=message):
        build(workspace)
    assert not list(workspace.compiled.glob("*")) if workspace.compiled.exists() else True


@pytest.mark.parametrize(
    "source",
    ["def register(ctx): ...", "register = print", "from os import register", "from os import *",
     "if True:\n    def register(ctx): ...", "import os as register",
     "def f():\n    global register\n    register = 1",
     "for register in []: ...", "class register: ...", "(register := print)",
     "with open('x') as register: ..."],
)  # fmt: skip
def test_every_way_to_bind_register_is_accepted(workspace: Workspace, source: str) -> None:
    """The compiler accepts each way to bind ``register``; the loader checks whether it can be called."""
    workspace["greet"] = source
    assert build(workspace).compiled == 1


def test_an_empty_module_beside_the_entry_is_fine(workspace: Workspace) -> None:
    """A module other than plugin.py may be empty."""
    workspace["greet"] = ENTRY
    workspace["greet/sub/__init__.py"] = ""
    assert build(workspace).compiled == 2


def test_files_that_no_import_statement_can_name_are_data(workspace: Workspace) -> None:
    """A script with a dash in its name is stored as data, even if it does not compile."""
    workspace["greet"] = ENTRY
    workspace["greet/my-script.py"] = "print 'old'\n"
    assert build(workspace).compiled == 1
    assert is_module("a/b.py")
    assert not is_module("a-b/c.py")
    assert not is_module("py")


def test_warnings_stay_with_the_file_that_is_reused(workspace: Workspace) -> None:
    """A compiler warning is reported with file and line, even for a file that was not compiled again."""
    workspace["greet"] = ENTRY
    workspace["greet/odd.py"] = 'x = 1\nx is "one"\n'
    assert build(workspace).warnings == (
        'odd.py:2: SyntaxWarning: "is" with \'str\' literal. Did you mean "=="?',
    ) or ("odd.py:2: SyntaxWarning" in build(workspace).warnings[0])
    workspace["greet"] = ENTRY + "\n"
    again = build(workspace)
    assert again.reused == 1
    assert "odd.py:2: SyntaxWarning" in again.warnings[0]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from pathlib import Path\nText = (Path(__file__).parent / 'a').read_text()\n", "2: read_text()"),
        (
            "from pathlib import Path\nH = Path(__file__).parent\nF = H / 'a'\ndef f():\n    open(F)\n",
            "5: open()",
        ),
        ("import os\nwith open(os.path.join(os.path.dirname(__file__), 'a')) as f: ...\n", "2: open()"),
        ("import os\ndef f(name):\n    print(__file__)\n    return open(name)\n", ""),
        ("from importlib.resources import files\nT = files(__package__).joinpath('a').read_text()\n", ""),
    ],
)
def test_data_that_is_read_past_the_artifact_is_warned_about(
    workspace: Workspace, source: str, said: str
) -> None:
    """A read beside ``__file__`` is reported with its line and a fix; other reads are not reported."""
    workspace["greet"] = ENTRY
    workspace["greet/more.py"] = source
    text = "\n".join(build(workspace).warnings)
    assert text.startswith(f"more.py:{said} of a path made from __file__") if said else not text
    assert ("importlib.resources" in text) == bool(said)


def test_a_file_named_like_the_standard_library_is_warned_about(workspace: Workspace) -> None:
    """A module that shadows the standard library's ``json`` causes a warning that says how to import it."""
    workspace["greet"] = ENTRY
    workspace["greet/json.py"] = "x = 1\n"
    assert build(workspace).warnings == (
        "json.py: `import json` is the standard library's; `from . import json` is this one",
    )


@pytest.mark.parametrize(
    ("source", "description"),
    [(ENTRY, "Greets."), ("def register(ctx): ...", ""), ('"""\n  Ädds. \n"""\nregister = 1', "Ädds."),
     ('""\nregister = 1', ""),
     ("'x'.upper()\nregister = 1", ""), ("1\nregister = 1", ""),
     ('# coding: utf-8\n\n"""Adds."""  # all\nregister = 1', "Adds."),
     ("# c\r'Adds.'\nregister = 1", "Adds."),
     ('"""Adds""" " up."\nregister = 1', "Adds up."), ('"""Adds""".upper()\nregister = 1', ""),
     ('"""A\\x64ds."""\nregister = 1', "Adds."), ('"""A "b" c."""\nregister = 1', 'A "b" c.'),
     ('r"""Adds."""\nregister = 1', "Adds."), ('"""\tA\tb."""\nregister = 1', "A       b."),
     ('import os\n"""No."""\nregister = 1', ""), ('@len\nclass register:\n    """No."""\n', "")],
)  # fmt: skip
def test_the_first_line_of_the_docstring_is_the_description(
    workspace: Workspace, source: str, description: str
) -> None:
    """The first line of the module docstring is the plugin's description."""
    workspace["greet"] = source
    assert build(workspace).artifact.manifest.description == description


def test_a_docstring_that_is_no_text_ends_no_build(workspace: Workspace) -> None:
    """A lone surrogate is shown escaped; from Python 3.13 on it is a compile error."""
    workspace["greet"] = '"""\\ud800 lone"""\nregister = 1'
    if sys.version_info >= (3, 13):
        with pytest.raises(CompileError):
            build(workspace)
    else:
        assert build(workspace).artifact.manifest.description == "\\ud800 lone"


def test_clean_removes_the_artifacts_of_one_plugin(workspace: Workspace) -> None:
    """``clean`` removes a plugin's artifacts, but not those of a plugin whose name begins the same."""
    for name in ("a", "a-b"):
        workspace[name] = ENTRY
        build(workspace, name)
    compiler = Compiler(workspace.compiled)
    assert compiler.clean("a") == {"a": 1}
    assert compiler.clean("a") == {}
    assert len(compiler.artifacts("a-b")) == 1


def test_prune_keeps_the_newest_and_the_one_in_use(workspace: Workspace) -> None:
    """``prune`` removes old builds, but never one that is in use."""
    workspace["greet"] = ENTRY
    oldest = build(workspace).artifact
    os.utime(oldest.path, (1, 1))
    for number in range(5):
        workspace["greet"] = ENTRY + f"x = {number}\n"
        build(workspace)
    compiler = Compiler(workspace.compiled)
    assert compiler.prune(2, {"greet": [oldest.manifest.digest]}) == 3
    assert len(compiler.artifacts("greet")) == 3
    assert oldest.path.exists()


def test_a_file_in_the_place_of_compiled_is_named(workspace: Workspace) -> None:
    """If artifacts cannot be written, the error names the folder and the setting to change."""
    workspace["greet"] = ENTRY
    workspace.compiled.write_text("in the way")
    with pytest.raises(ArtifactError, match=r"cannot write .*compiled.*compiled_dir"):
        build(workspace)


@pytest.mark.parametrize("name", ["a" * 250, "ä" * 120])
def test_the_longest_directory_name_works(workspace: Workspace, name: str) -> None:
    """The longest name that the file system allows still leaves room for the artifact's name."""
    workspace[name] = ENTRY
    assert build(workspace, name).compiled == 1
    assert build(workspace, name).compiled == 0
    assert Compiler(workspace.compiled).clean(name) == {name: 1}


def test_a_missing_directory_is_no_plugin(workspace: Workspace) -> None:
    """Compiling a directory without plugin.py raises an error that says so."""
    with pytest.raises(DiscoverError, match=r"no plugin.py"):
        build(workspace)


def test_a_moved_project_shows_its_new_place(workspace: Workspace, tmp_path: Path) -> None:
    """Code that was compiled in another folder reports the current path of its source."""
    workspace["greet"] = ENTRY
    artifact = build(workspace).artifact
    code = artifact.code_object("plugin.py", str(tmp_path / "new" / "plugin.py"))
    inner = [constant for constant in code.co_consts if hasattr(constant, "co_filename")]
    assert {each.co_filename for each in (code, *inner)} == {str(tmp_path / "new" / "plugin.py")}


@pytest.mark.parametrize("python", ["this one", "none", "another program", "one that fails", "nonsense"])
def test_a_large_file_gives_the_same_wherever_it_is_compiled(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    """A large file gives the same code and warnings, even if no other process can compile it."""
    programs = {"none": "", "another program": "/bin/cat", "one that fails": str(tmp_path / "python3")}
    programs |= {"nonsense": str(tmp_path / "python3.99")}
    for name, text in {"python3": "exit 3", "python3.99": "echo nonsense"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\ncat >/dev/null\n{text}\n")
        (tmp_path / name).chmod(0o755)
    text = "".join(f"def step_{n}(x):\n    return x + {n}\n\n" for n in range(2000)) + "1 is 1\n" + ENTRY
    workspace["large"] = text
    if python in programs:
        monkeypatch.setattr(sys, "executable", programs[python])
    path = workspace.plugins / "large"
    made = Compiler(workspace.compiled).compile(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = compile(text, str(path / "plugin.py"), "exec")
    assert marshal.loads(made.artifact.code("plugin.py")) == expected
    assert [warning.partition(": ")[0] for warning in made.warnings] == ["plugin.py:6001"]


def test_mistakes_in_a_large_file_are_reported_as_in_a_small_one(workspace: Workspace) -> None:
    """A syntax error in a large file names its line, although another process found it."""
    workspace["large"] = "x = 1\n" * 9000 + "def register(ctx)\n"
    with pytest.raises(CompileError) as raised:
        Compiler(workspace.compiled).compile(workspace.plugins / "large")
    cause = raised.value.__cause__
    assert isinstance(cause, SyntaxError)
    assert (cause.lineno, cause.text) == (9001, "def register(ctx)\n")


@pytest.mark.parametrize(
    "tail", ["x = = 1\n", "REQUIRES = 7\n", "HERE = open(__file__)\nimport gone_from_here\n"]
)
def test_a_large_file_is_neither_compiled_nor_parsed_in_this_process(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tail: str
) -> None:
    """Whatever a large file contains, this process does not stall to compile or parse it as a whole."""
    sizes: list[int] = []

    def compile_here(content: str | bytes, *rest: object, **named: object) -> object:
        sizes.append(len(content))
        return compile(content, *rest, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(checks, "compile", compile_here, raising=False)
    parse = checks._parsed  # noqa: SLF001 - the one place where the checks parse

    def parse_here(text: str | bytes) -> ast.Module:
        sizes.append(len(text))
        return parse(text)

    monkeypatch.setattr(checks, "_parsed", parse_here)
    workspace["large"] = "DATA=[\n" + "1,\n" * 100_000 + "]\n" + ENTRY + tail
    with contextlib.suppress(CompileError):
        build(workspace, "large")
        assert "open" in tail
    assert max(sizes, default=0) < checks.LARGE


def test_a_large_file_that_takes_too_long_to_compile_is_a_fault(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose compilation does not end in time is not compiled in this process instead."""
    monkeypatch.setattr(checks, "_PATIENCE", 0.001)
    workspace["large"] = "x = 1\n" * 9000 + ENTRY
    with pytest.raises(CompileError, match=r"plugin.py does not compile") as raised:
        build(workspace, "large")
    assert "move its data to a data file" in str(raised.value.__cause__)


def test_a_file_over_the_limit_is_a_fault_that_names_file_size_and_key(workspace: Workspace) -> None:
    """A data file that is larger than ``max_file_size`` is refused with the names that its author needs."""
    workspace["greet"] = ENTRY
    workspace["greet/data/words.bin"] = bytes(3 << 20)
    compiler = Compiler(workspace.compiled, max_file_size=2.5)
    with pytest.raises(CompileError, match=r"data/words\.bin has 3 MiB, more than max_file_size = 2\.5 MiB"):
        compiler.compile(workspace.plugins / "greet")
    assert Compiler(workspace.compiled, max_file_size=3).compile(workspace.plugins / "greet").compiled == 1


def test_a_large_data_file_is_not_held_in_memory(workspace: Workspace) -> None:
    """A data file is copied into the artifact in blocks, and the artifact has its bytes."""
    content = random.Random(1).randbytes(1 << 20) * 12 + b"end"
    workspace["greet"] = ENTRY
    workspace["greet/words.bin"] = content
    tracemalloc.start()
    artifact = build(workspace).artifact
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(content) / 2
    assert artifact.source("words.bin") == content
    assert build(workspace).compiled == 0
    with zipfile.ZipFile(artifact.path) as archive:
        assert archive.testzip() is None


def test_a_large_data_file_that_changes_during_the_build_is_not_published(workspace: Workspace) -> None:
    """An artifact never has other bytes than those that were read for its digest."""
    workspace["greet"] = ENTRY
    workspace["greet/words.bin"] = bytes(3 << 20)
    source = read_source("greet", workspace.plugins / "greet")
    workspace["greet/words.bin"] = b"x" + bytes(3 << 20)
    with pytest.raises(ArtifactError, match=r"words\.bin changed"):
        Compiler(workspace.compiled).compile(workspace.plugins / "greet", source)
    assert list(workspace.compiled.glob("*.hotplug*")) == []
