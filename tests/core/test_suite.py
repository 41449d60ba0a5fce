import os
import sys
import threading
from pathlib import Path

import pytest

from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.model import Fault
from hotload_tui.core.suite import CheckRun, SuiteRun, own_tests
from tests.conftest import Workspace, answering
from tests.waiting import PATIENCE, until

TEST = "from plugin import answer\n\n\ndef test_answer():\n    told = answer()\n    assert told == {!r}\n"


def greet(workspace: Workspace) -> PluginDirectory:
    """Return the directory of the plugin ``greet``, which answers 1."""
    workspace["greet"] = answering(1)
    return PluginDirectory("greet", workspace.plugins / "greet", enabled=True)


def paths(directory: PluginDirectory) -> tuple[str, ...]:
    """Return the plugin's tests."""
    files = [path for path in directory.path.rglob("*") if path.is_file()]
    return own_tests(directory, [path.relative_to(directory.path).as_posix() for path in files])


def fault(directory: PluginDirectory, limit: float = PATIENCE) -> Fault:
    """Run the plugin's tests, which must not pass; return the fault."""
    found = SuiteRun(directory, paths(directory), limit).verdict().fault
    assert found is not None
    assert (found.phase, found.plugin) == ("test", "greet")
    return found


def test_the_tests_of_a_plugin_are_in_it_or_beside_it(workspace: Workspace) -> None:
    """A plugin's tests are its test files, its folder ``tests`` and the file that ``hotload new`` creates."""
    directory = greet(workspace)
    assert paths(directory) == ()
    workspace["greet/helper.py"] = workspace["greet/vendored/test_other.py"] = ""
    assert paths(directory) == ()
    workspace["greet/test_it.py"] = workspace["greet/it_test.py"] = workspace["greet/tests/test_more.py"] = ""
    beside = workspace.plugins / "test_greet.py"
    beside.touch()
    names = {os.path.relpath(path, workspace.plugins) for path in paths(directory)}
    assert names == {"greet/test_it.py", "greet/it_test.py", "greet/tests", "test_greet.py"}


def test_tests_that_pass_give_no_fault(workspace: Workspace) -> None:
    """The result of tests that pass is what pytest says at the end; an expected failure is none."""
    workspace["greet"] = answering(1)
    workspace["greet/test_it.py"] = (
        f"import pytest\n{TEST.format(1)}\n\n@pytest.mark.xfail\ndef test_later():\n    assert False\n"
    )
    verdict = SuiteRun(greet(workspace), paths(greet(workspace)), PATIENCE).verdict()
    assert verdict.fault is None
    assert verdict.text.startswith("1 passed, 1 xfailed")


def test_a_failing_test_is_a_fault_at_the_line_of_its_assert(workspace: Workspace) -> None:
    """The fault has the test, pytest's text of the assertion, the line with its source, and the locals."""
    directory = greet(workspace)
    workspace["greet/test_it.py"] = TEST.format("two")
    found = fault(directory)
    assert found.type == "AssertionError"
    assert found.message == "test_it.py::test_answer: assert 1 == 'two'"
    assert found.place is not None
    assert (found.place.file, found.place.line) == (str(directory.path / "test_it.py"), 6)
    assert found.place.lines[found.place.line - found.place.first_line] == "    assert told == 'two'"
    assert ("told", "1") in found.place.locals


def test_a_test_that_fails_in_the_plugin_shows_the_plugins_line(workspace: Workspace) -> None:
    """If the plugin's own code raises in a test, the fault leads from the test to that line."""
    directory = greet(workspace)
    workspace["greet"] = "def answer():\n    return 1 / 0\n\n\ndef register(ctx): ...\n"
    workspace["greet/tests/test_it.py"] = TEST.format(1).replace("from plugin", "from greet.plugin")
    workspace["greet/tests/conftest.py"] = "import sys\n\nsys.path.insert(0, 'plugins')\n"
    found = fault(directory)
    assert (found.type, found.message) == ("ZeroDivisionError", "test_it.py::test_answer: division by zero")
    files = [(Path(frame.file).name, frame.line, frame.owner) for frame in found.frames]
    assert files == [("test_it.py", 5, "plugin"), ("plugin.py", 2, "plugin")]


def test_the_other_failing_tests_are_named(workspace: Workspace) -> None:
    """The fault is that of the first failing test, and its notes name the others."""
    directory = greet(workspace)
    workspace["greet/test_it.py"] = "".join(f"def test_{n}():\n    assert {n} == 0\n" for n in range(3))
    found = fault(directory)
    assert found.message == "test_it.py::test_1: assert 1 == 0"
    assert found.notes == ("also failed: test_it.py::test_2: assert 2 == 0",)


@pytest.mark.parametrize(
    ("text", "kind", "message", "line"),
    [
        ("def test_it(:\n", "SyntaxError", "test_it.py: invalid syntax", 1),
        ("import no_such_one\n", "ModuleNotFoundError", "test_it.py: No module named 'no_such_one'", 1),
        ("\n\ndef test_it(no_such_one): ...\n", "FixtureLookupError", "fixture 'no_such_one' not found", 3),
    ],
)
def test_a_file_that_pytest_cannot_run_is_a_fault(
    workspace: Workspace, text: str, kind: str, message: str, line: int
) -> None:
    """A file of tests that does not compile, an import or a fixture that is missing: a fault at its line."""
    directory = greet(workspace)
    workspace["greet/test_it.py"] = text
    found = fault(directory)
    assert found.type == kind
    assert message in found.message
    assert found.place is not None
    assert (Path(found.place.file).name, found.place.line) == ("test_it.py", line)
    assert found.missing_module == ("no_such_one" if kind == "ModuleNotFoundError" else "")


def test_tests_that_do_not_end_are_ended(workspace: Workspace) -> None:
    """After the time limit, the tests and their processes are killed, and the fault names the test."""
    directory = greet(workspace)
    pid = workspace.root / "pid"
    workspace["greet/test_it.py"] = (
        "import os, subprocess, sys, time\n\ndef test_it():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        f"    open({str(pid)!r}, 'w').write(str(child.pid))\n    time.sleep(1000)\n"
    )
    found = fault(directory, limit=10)
    assert found.type == "TimeoutError"
    assert found.message == "test_it.py::test_it: the tests did not end within gate_timeout = 10 s"
    assert until(lambda: _is_gone(int(pid.read_text())))


def test_a_run_can_be_ended(workspace: Workspace) -> None:
    """``end`` kills the process of a run, from any thread."""
    directory = greet(workspace)
    mark = workspace.root / "mark"
    workspace["greet/test_it.py"] = (
        f"import os, time\n\ndef test_it():\n    open({str(mark)!r}, 'w').write(str(os.getpid()))\n"
        "    time.sleep(1000)\n"
    )
    run = SuiteRun(directory, paths(directory), 1000)
    thread = threading.Thread(target=run.verdict)
    thread.start()
    until(lambda: mark.exists() and mark.read_text())
    run.end()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert until(lambda: _is_gone(int(mark.read_text())))


def test_pytest_that_crashes_is_a_fault_with_its_output(workspace: Workspace) -> None:
    """If pytest ends without a failing test, the fault has its exit code and the end of its output."""
    directory = greet(workspace)
    workspace["greet/test_it.py"] = (
        "import os\n\ndef test_it():\n    os.write(2, b'last words\\n')\n    os._exit(9)\n"
    )
    found = fault(directory)
    assert found.type == "TestError"
    assert found.message.startswith("pytest ended with exit code 9")


def test_without_pytest_the_fault_says_what_to_install(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If pytest is not installed, the fault has the command, and hotload tries again once it is there."""
    directory = greet(workspace)
    workspace["greet/test_it.py"] = TEST.format(1)
    site = next(path for path in sys.path if (Path(path) / "pytest").is_dir())
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != site])
    for name in [name for name in sys.modules if name.partition(".")[0] == "pytest"]:
        monkeypatch.delitem(sys.modules, name)
    found = fault(directory)
    assert found.missing_module == "pytest"
    assert "pytest is not installed" in found.message
    assert "-m pip install pytest" in found.notes[0] or "uv pip install" in found.notes[0]


def _is_gone(process: int) -> bool:
    try:
        return Path("/proc", str(process), "stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


def checker(workspace: Workspace, *lines: str) -> str:
    """Return a check that prints these lines, and fails if there are any."""
    script = workspace.root / "checker.py"
    script.write_text(f"import sys\nprint({chr(10).join(lines)!r})\nsys.exit({int(bool(lines))})\n")
    return f"{sys.executable} {script}"


def test_what_a_check_finds_has_its_file_and_line(workspace: Workspace) -> None:
    """The lines of a linter or type checker that begin with file and line are its findings."""
    directory = greet(workspace)
    lines = ["plugins/greet/plugin.py:2:5: F401 unused", "plugins/greet/plugin.py:3: error: no"]
    lines += ["Found 2.", "12:30:05 done"]
    command = checker(workspace, *lines)
    found = CheckRun(directory, command, PATIENCE).findings()
    file = str(directory.path / "plugin.py")
    assert [(each.file, each.line, each.text.removeprefix(f"{command}: ")) for each in found] == [
        (file, 2, "F401 unused"),
        (file, 3, "error: no"),
    ]


def test_the_first_finding_is_a_fault_with_its_line(workspace: Workspace) -> None:
    """The fault of a check is that of its first finding, with the source line; the notes name the others."""
    directory = greet(workspace)
    assert CheckRun(directory, checker(workspace), PATIENCE).verdict().fault is None
    workspace["greet"] = answering(1) + "import os\nimport re\n"
    lines = [f"{directory.path}/plugin.py:{line}:8: F401 [*] unused" for line in (7, 8)]
    found = CheckRun(directory, checker(workspace, *lines), PATIENCE).verdict().fault
    assert found is not None
    assert (found.phase, found.type, found.plugin) == ("compile", "CheckError", "greet")
    assert found.message.endswith("F401 [*] unused")
    assert found.place is not None
    assert (found.place.file, found.place.line) == (str(directory.path / "plugin.py"), 7)
    assert found.place.lines[found.place.line - found.place.first_line] == "import os"
    assert [note for note in found.notes if "plugin.py:8: " in note]


def test_a_check_that_is_not_installed_says_so(workspace: Workspace) -> None:
    """A command that does not exist is a fault that names the command and what to do."""
    found = CheckRun(greet(workspace), "no-such-check --all", PATIENCE).verdict().fault
    assert found is not None
    assert found.message == (
        "no-such-check --all cannot run: No such file or directory; install it, or correct checks"
    )


def test_a_check_that_fails_without_a_line_is_a_fault(workspace: Workspace) -> None:
    """If a check fails and names no line, the fault has its exit code and its last line."""
    found = CheckRun(greet(workspace), checker(workspace, "no configuration"), PATIENCE).verdict().fault
    assert found is not None
    assert found.message.endswith("ended with exit code 1: no configuration")
