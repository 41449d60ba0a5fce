import bdb
import functools
import inspect
import io
import linecache
import logging
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, FunctionType
from typing import cast

import pytest

from hotload_tui import Config, Fault
from hotload_tui.core.events import PluginRetired
from hotload_tui.core.faults import fault_of
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]

OLD = '''"""The old one."""


class Greeter:
    """Greets."""

    def greet(self):
        return "old"  # the old method


def broken():
    raise ValueError("old")  # the old line


def stream():
    yield broken
    broken()


def register(ctx):
    ctx.hook("parts", lambda: (Greeter, broken, stream()))
'''
NEW = "\n\n\n\n# the new one\n\n\n" + OLD.replace("old", "new")


Parts = tuple[type, FunctionType, Iterator[object]]


def parts(running: Running) -> Parts:
    """Return a class, a function and a generator of the plugin."""
    return cast("Parts", running.host.call("parts")[0])


def retired(running: Running, times: int) -> bool:
    """Return whether this many generations have retired."""
    return len(running.told(PluginRetired, "greet")) == times


class Kept:
    """Objects of an old generation that the host keeps after a reload."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.greeter, self.broken, self.stream = parts(running)
        next(self.stream)

    def reload(self) -> None:
        """Load the source on disk, and wait until the old generation has retired."""
        before = len(self.running.told(PluginRetired, "greet"))
        self.running.manager.rebuild("greet")
        assert self.running.wait_for(lambda: len(self.running.told(PluginRetired, "greet")) > before)

    def error(self) -> Exception:
        """Return the exception that the old generator raises."""
        with pytest.raises(ValueError, match="old") as caught:
            next(self.stream)
        return caught.value


@pytest.fixture
def kept(workspace: Workspace, run: Run) -> Kept:
    """Return objects of a retired first generation; the second one has other lines."""
    workspace["greet"] = OLD
    kept = Kept(run(workspace.config()))
    workspace["greet"] = NEW
    kept.reload()
    return kept


def test_a_traceback_of_old_code_shows_old_lines(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback of a generator that raises after the swap shows the lines that ran."""
    try:
        next(kept.stream)
    except ValueError:
        traceback.print_exc()
    shown = capsys.readouterr().err
    assert 'raise ValueError("old")  # the old line' in shown
    assert "plugin.py@g1" in shown
    assert "new" not in shown


def test_new_code_keeps_its_real_file(kept: Kept, workspace: Workspace) -> None:
    """The live version's code has the real file name and the new source."""
    greeter, broken, _ = parts(kept.running)
    assert broken.__code__.co_filename == str(workspace.plugins / "greet" / "plugin.py")
    assert "the new line" in inspect.getsource(broken)
    assert "the new method" in inspect.getsource(greeter)


def test_the_source_of_old_functions_and_classes_is_the_old_one(kept: Kept) -> None:
    """``inspect.getsource`` of kept functions and classes shows the source that was loaded."""
    assert inspect.getsource(kept.broken) == 'def broken():\n    raise ValueError("old")  # the old line\n'
    assert "the old method" in inspect.getsource(vars(kept.greeter)["greet"])
    assert inspect.getsource(kept.greeter).startswith("class Greeter:")
    assert "the old method" in inspect.getsource(kept.greeter)


def test_a_fault_of_old_code_shows_old_lines_at_the_real_file(kept: Kept, workspace: Workspace) -> None:
    """The fault of old code names the real file, and shows the lines that ran."""
    fault = fault_of(kept.error(), phase="hook", plugin="greet", module_path="hotplug")
    place = fault.place
    assert place is not None
    assert place.file == str(workspace.plugins / "greet" / "plugin.py")
    assert place.lines[place.line - place.first_line] == '    raise ValueError("old")  # the old line'


def test_a_logged_traceback_of_old_code_shows_old_lines(kept: Kept) -> None:
    """A logged traceback of old code shows the lines that ran."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("test_of_old_lines")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        logger.error("it failed", exc_info=kept.error())
    finally:
        logger.removeHandler(handler)
    assert "the old line" in stream.getvalue()


def test_a_thread_of_old_code_shows_old_lines(workspace: Workspace, run: Run) -> None:
    """A thread that fails after the swap shows the lines that it ran."""
    workspace["greet"] = (
        "def loop(gate, told):\n    gate.wait(20)\n    try:\n        1 / 0  # the old line\n"
        "    except ZeroDivisionError as error:\n        told.append(error)\n\n\n"
        "def register(ctx):\n    ctx.hook('parts', lambda: loop)\n"
    )
    running = run(workspace.config())
    gate, told = threading.Event(), list[Exception]()
    loop = running.host.call("parts")[0]
    assert inspect.isfunction(loop)
    thread = threading.Thread(target=loop, args=(gate, told))
    thread.start()
    del loop
    workspace["greet"] = NEW
    running.manager.rebuild("greet")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "greet")))
    gate.set()
    thread.join()
    assert "1 / 0  # the old line" in "".join(traceback.format_exception(told.pop()))


def test_unchanged_files_keep_their_name_until_they_change(workspace: Workspace, run: Run) -> None:
    """Old code keeps its file name, and so its breakpoints, until that file changes."""
    workspace["greet"] = "import part\n\ndef register(ctx):\n    ctx.hook('parts', lambda: part.work)\n"
    workspace["greet/part.py"] = "def work():\n    return 'part one'\n"
    running = run(workspace.config())
    work = running.host.call("parts")[0]
    assert inspect.isfunction(work)
    file = str(workspace.plugins / "greet" / "part.py")
    for number, part in enumerate(["def work():\n    return 'part one'\n", "# changed\n"], start=1):
        workspace["greet"] = f"import part\n\ndef register(ctx):\n    {number}\n"
        workspace["greet/part.py"] = part
        running.manager.rebuild("greet")
        assert running.wait_for(functools.partial(retired, running, number))
        assert work.__code__.co_filename == (file if number == 1 else f"{file}@g1")
        assert inspect.getsource(work) == "def work():\n    return 'part one'\n"


def test_unloaded_code_shows_its_lines_after_the_file_changed(workspace: Workspace, run: Run) -> None:
    """Kept code of a disabled plugin shows the lines that were loaded."""
    workspace["greet"] = OLD
    kept = Kept(run(workspace.config()))
    kept.running.manager.disable("greet")
    assert kept.running.wait_for(lambda: bool(kept.running.told(PluginRetired, "greet")))
    workspace["_greet/plugin.py"] = NEW
    assert "the old line" in "".join(traceback.format_exception(kept.error()))


def test_old_lines_go_with_the_old_generation(kept: Kept, workspace: Workspace) -> None:
    """The cached old lines are removed once the old generation is freed."""
    name = f"{workspace.plugins / 'greet' / 'plugin.py'}@g1"
    assert name in linecache.cache
    del kept.stream, kept.broken, kept.greeter
    kept.running.manager.snapshot()  # a request for a snapshot triggers another check
    assert kept.running.wait_for(lambda: "generation 1 is freed now" in kept.running.said())
    # Another thread may be collecting it at this moment.
    assert kept.running.wait_for(lambda: name not in linecache.cache)


WITHOUT = """
import _imp, linecache, sys
from pathlib import Path
from types import ModuleType

# What the import system itself renames code with is not there for others.
sys.modules["_imp"] = ModuleType("_imp")
vars(sys.modules["_imp"]).update(vars(_imp))
del sys.modules["_imp"]._fix_co_filename

from hotload_tui import Config, HookHost, HotloadManager

host, entry = HookHost(), Path(sys.argv[1], "greet", "plugin.py")
config = Config(runtime_dir=sys.argv[1], compiled_dir=sys.argv[2], enable_watch=False)
with HotloadManager(host, config) as manager:
    (kept,) = host.call("give")
    entry.write_text(entry.read_text().replace("one", "two"))
    manager.rebuild("greet")
    (new,) = host.call("give")
    print(kept(), new(), {kept.__code__.co_filename, new.__code__.co_filename} == {str(entry)})
    print([name for name in linecache.cache if name.startswith(f"{entry}@")])
"""


def test_without_the_private_function_code_keeps_its_name(workspace: Workspace) -> None:
    """If the interpreter cannot rename code, the old lines are lost, and everything else works."""
    workspace["greet"] = (
        "def answer():\n    return 'one'\n\n\ndef register(ctx):\n    ctx.hook('give', lambda: answer)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(workspace.plugins), str(workspace.compiled)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout == "one two True\n[]\n"


def test_code_keeps_its_name_while_it_is_traced(
    workspace: Workspace, run: Run, request: pytest.FixtureRequest
) -> None:
    """While a trace function is set, old code keeps its file name; it is renamed after tracing ends."""
    workspace["greet"] = OLD
    kept = Kept(run(workspace.config()))
    workspace["greet"] = NEW
    request.addfinalizer(lambda: threading.settrace(None))
    threading.settrace(lambda *_: None)
    kept.reload()
    assert kept.broken.__code__.co_filename.endswith("plugin.py")
    threading.settrace(None)
    kept.reload()
    assert kept.broken.__code__.co_filename.endswith("plugin.py@g1")


class Stops(bdb.Bdb):
    """A debugger that records where it stops."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def user_line(self, frame: FrameType) -> None:
        """Record the line, and continue to the next breakpoint."""
        self.lines.append(linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip())
        self.set_continue()


@pytest.fixture
def debugger() -> Iterator[Stops]:
    """Yield a debugger without breakpoints, and clear its breakpoints afterwards."""
    debugger = Stops()
    yield debugger
    debugger.clear_all_breaks()


def test_a_breakpoint_binds_to_the_real_file_after_each_reload(
    workspace: Workspace, run: Run, debugger: Stops
) -> None:
    """A breakpoint at a file and line stops the live code after each reload."""
    workspace["greet"] = answering("first")
    running = run(workspace.config())
    file = workspace.plugins / "greet" / "plugin.py"
    assert debugger.set_break(str(file), 2) is None
    debugger.runcall(running.host.call, "greet")
    workspace["greet"] = Path(file).read_text().replace("first", "second")
    running.manager.rebuild("greet")
    debugger.runcall(running.host.call, "greet")
    assert [line for line in debugger.lines if "return" in line and "'" in line] == [
        "return 'first'",
        "return 'second'",
    ]


def test_a_syntax_error_shows_the_bytes_that_were_compiled(workspace: Workspace, run: Run) -> None:
    """The fault shows the compiled line, although the file has changed since."""
    workspace["greet"] = "x = 1\ny = (  # the compiled line\ndef register(ctx): ...\n"
    running = run(workspace.config())
    fault: Fault = running.fault("greet")
    workspace["greet"] = NEW
    place = fault.place
    assert place is not None
    assert place.lines[place.line - place.first_line] == "y = (  # the compiled line"
