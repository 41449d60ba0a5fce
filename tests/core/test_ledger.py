import asyncio
import atexit
import builtins
import codecs
import colorsys  # noqa: F401 - a module that nobody else uses
import copyreg
import csv
import decimal
import email.charset
import encodings.aliases
import faulthandler
import gc
import gettext
import inspect
import io
import json
import locale
import logging
import logging.config
import logging.handlers
import mimetypes
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.request
import warnings
import weakref
import webbrowser
import xml.etree.ElementTree as ET
import zoneinfo
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from hotload_tui import Config
from hotload_tui.core.events import PluginFailed, PluginRetired
from hotload_tui.core.interpreter import in_main_thread
from tests.conftest import Running, Workspace
from tests.counts import RELOADS

Run = Callable[[Config], Running]

CLEAN = "def register(ctx):\n    ctx.hook('late', lambda: 'clean')\n"


def a_plugin(setup: str, *, late: bool = False) -> str:
    """Return a plugin that runs ``setup`` while it loads, or when its hook is called."""
    lines = "".join(f"    {line}\n" for line in setup.splitlines())
    head = "import host_of_the_test as host\nclass C: ...\n"
    if late:
        return f"{head}def act():\n{lines}\ndef register(ctx):\n    ctx.hook('late', act)\n"
    return f"{head}def register(ctx):\n{lines}    ctx.hook('late', lambda: None)\n"


class Tool:
    """A class of the host."""

    def run(self) -> object:
        """Return the names of those that ran."""
        return ["host"]

    def stop(self) -> object:
        """Return what stopped."""
        return "host"


class Logger(logging.Logger):
    """A class of loggers of the host."""


def helper(value: int = 1, *, more: int = 2) -> object:
    """Return the arguments."""
    return value, more


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a module of the host that plugins import as ``host``."""
    module = ModuleType("host_of_the_test")
    vars(module).update(
        greeting=len, cache={}, tools=[], parts=([],), number=1, Tool=Tool, wake=threading.Event()
    )
    vars(module).update(load_dotenv=lambda: os.environ.setdefault("HOTLOAD_FILE", "1"))
    vars(module).update(helper=helper, in_main_thread=in_main_thread, Logger=Logger)
    monkeypatch.setitem(sys.modules, "host_of_the_test", module)
    return module


def retire(running: Running, times: int = 1) -> PluginRetired:
    """Wait until a generation of the plugin has retired, and return the last event."""
    assert running.wait_for(lambda: len(running.told(PluginRetired, "greet")) >= times)
    return running.told(PluginRetired, "greet")[-1]


class Counter:
    """An object that counts comparisons and equals nothing."""

    def __init__(self) -> None:
        self.compared = 0

    def __call__(self) -> None:
        """Do nothing; atexit accepts only callables."""

    def __eq__(self, _: object) -> bool:
        self.compared += 1
        return False

    __hash__ = None  # type: ignore[assignment]


def exit_functions() -> int:
    """Return the number of atexit functions: atexit compares each one with the function to unregister."""
    counter = Counter()
    atexit.unregister(counter)
    return counter.compared


def finalizers() -> int:
    """Return the number of pending finalizers."""
    return len(weakref.finalize._registry)  # type: ignore[attr-defined]  # noqa: SLF001 - the interpreter's


def known_to_codecs(name: str) -> bool:
    """Return whether a codec with this name exists."""
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True


def knows_error_handler(name: str) -> bool:
    """Return whether an error handler with this name exists."""
    try:
        codecs.lookup_error(name)
    except LookupError:
        return False
    return True


def umask() -> int:
    """Return the umask, which can only be read by setting it."""
    os.umask(now := os.umask(0o077))
    return now


# The plugin's code, the state of the process that shows its effect, and the ledger's category.
UNDONE: dict[str, tuple[str, Callable[[], object], str]] = {
    "environment variable": (
        "import os\nos.environ['HOTLOAD_TEST'] = '1'", lambda: os.environ.get("HOTLOAD_TEST"), "environment",
    ),
    "variable taken out": ("import os\ndel os.environ['HOTLOAD_KEPT']", lambda: os.environ["HOTLOAD_KEPT"],
                           "environment"),
    "variable of a file": ("host.load_dotenv()", lambda: os.environ.get("HOTLOAD_FILE"), "environment"),
    "working directory": ("import os\nos.chdir('/')", os.getcwd, "working directory"),
    "locale": ("import locale\nlocale.setlocale(locale.LC_ALL, 'C.UTF-8')",
               lambda: locale.setlocale(locale.LC_ALL), "locale"),
    "recursion limit": ("import sys\nsys.setrecursionlimit(5000)", sys.getrecursionlimit, "recursion limit"),
    "switch interval": ("import sys\nsys.setswitchinterval(0.004)", sys.getswitchinterval, "switch interval"),
    "collector off": ("import gc\ngc.disable()", gc.isenabled, "garbage collection"),
    "logging off": ("import logging\nlogging.disable(10)", lambda: logging.root.manager.disable,
                    "logging threshold"),
    "sys.path": ("import sys\nsys.path.insert(0, '/nowhere')", lambda: list(sys.path), "sys.path"),
    "sys.meta_path": (
        "import sys\nclass F:\n    def find_spec(self, *a): return None\nsys.meta_path.append(F())",
        lambda: [each for each in sys.meta_path if type(each).__name__ == "F"], "sys.meta_path",
    ),
    "sys.path_hooks": ("import sys\ndef hook(p): raise ImportError\nsys.path_hooks.append(hook)",
                       lambda: len(sys.path_hooks), "sys.path_hooks"),
    "gc callback": ("import gc\ngc.callbacks.append(lambda *a: None)", lambda: len(gc.callbacks),
                    "gc.callbacks"),
    "warnings filter": ("import warnings\nwarnings.filterwarnings('ignore', 'hotload test')",
                        lambda: list(warnings.filters), "warnings filter"),
    "warnings filter of its own": (
        "import warnings\nclass W(Warning): ...\nwarnings.simplefilter('ignore', W)",
        lambda: list(warnings.filters), "warnings filter",
    ),
    "logging handler": (
        ("import logging\nclass H(logging.Handler):\n    def emit(self, r): ...\n"
        "logging.getLogger().addHandler(H())"), lambda: list(logging.getLogger().handlers), "logging",
    ),
    "logging handler of the standard library": (
        "import logging\nlogging.getLogger('host').addHandler(logging.StreamHandler())",
        lambda: list(logging.getLogger("host").handlers), "logging",
    ),
    "logging filter": ("import logging\nlogging.getLogger('host').addFilter(lambda r: True)",
                       lambda: list(logging.getLogger("host").filters), "logging"),
    "formatter on the host's handler": (
        ("import logging\nclass F(logging.Formatter): ...\n"
        "logging.getLogger('formatted').handlers[0].setFormatter(F())"),
        lambda: logging.getLogger("formatted").handlers[0].formatter, "logging",
    ),
    "logging level": ("import logging\nlogging.getLogger('host').setLevel(5)",
                      lambda: logging.getLogger("host").level, "logging"),
    "atexit": ("import atexit\natexit.register(lambda: None)", exit_functions, "atexit"),
    "atexit with another's function": ("import atexit, time\natexit.register(time.time)", exit_functions,
                                       "atexit"),
    "finalizer": ("import weakref\nweakref.finalize(host.wake, lambda: None)", finalizers, "finalizer"),
    "codec": (
        ("import codecs\n"
         "codecs.register(lambda name: codecs.lookup('utf-8') if name == 'hotload_test' else None)"),
        lambda: known_to_codecs("hotload_test"), "codec",
    ),
    "codec error handler": ("import codecs\ncodecs.register_error('hotload-test', lambda e: ('', 1))",
                            lambda: knows_error_handler("hotload-test"), "codec error handler"),
    "copyreg": ("import copyreg\ncopyreg.pickle(C, lambda c: (C, ()))", lambda: len(copyreg.dispatch_table),
                "copyreg"),
    "sqlite3 adapter": ("import sqlite3\nsqlite3.register_adapter(C, str)", lambda: len(sqlite3.adapters),
                        "sqlite3 adapter"),
    "sqlite3 converter": ("import sqlite3\nsqlite3.register_converter('hot', bytes.upper)",
                          lambda: dict(sqlite3.converters), "sqlite3 converter"),
    "sys.excepthook": ("import sys\nsys.excepthook = lambda *a: None", lambda: sys.excepthook, "attribute"),
    "sys.unraisablehook": ("import sys\nsys.unraisablehook = lambda *a: None",
                           lambda: inspect.unwrap(sys.unraisablehook), "attribute"),
    "sys.displayhook": ("import sys\nsys.displayhook = lambda *a: None", lambda: sys.displayhook,
                        "attribute"),
    "sys.stdout": ("import io, sys\nsys.stdout = io.StringIO()", lambda: sys.stdout, "attribute"),
    "threading.excepthook": ("import threading\nthreading.excepthook = lambda *a: None",
                             lambda: inspect.unwrap(threading.excepthook), "attribute"),
    "threading.settrace": ("import threading\nthreading.settrace(lambda *a: None)", threading.gettrace,
                           "attribute"),
    "threading.setprofile": ("import threading\nthreading.setprofile(lambda *a: None)", threading.getprofile,
                             "attribute"),
    "patched function": ("import json\njson.dumps = lambda *a, **k: 'patched'", lambda: json.dumps,
                         "attribute"),
    "patched host": ("host.greeting = lambda: 1", lambda: sys.modules["host_of_the_test"].greeting,
                     "attribute"),
    "patched with a plain value": ("host.number = 2", lambda: sys.modules["host_of_the_test"].number,
                                   "attribute"),
    "patched with an equal list": ("host.tools = []", lambda: id(sys.modules["host_of_the_test"].tools),
                                   "attribute"),
    "patched with an equal tuple of lists": (
        "host.parts = ([],)", lambda: id(sys.modules["host_of_the_test"].parts), "attribute",
    ),
    "attribute added": ("host.extra = C()", lambda: hasattr(sys.modules["host_of_the_test"], "extra"),
                        "attribute"),
    "attribute deleted": ("del host.number", lambda: sys.modules["host_of_the_test"].number, "attribute"),
    "patched builtin": ("import builtins\nbuiltins.hotload_test = C",
                        lambda: hasattr(builtins, "hotload_test"),
                        "attribute"),
    "mock.patch": ("import unittest.mock\nunittest.mock.patch('json.loads').start()", lambda: json.loads,
                   "attribute"),
    "patched class": ("host.Tool.run = lambda self: 'patched'",
                      lambda: vars(sys.modules["host_of_the_test"].Tool).get("run"), "attribute"),
    "patched class by name": ("setattr(host.Tool, 'extra', 1)",
                              lambda: hasattr(sys.modules["host_of_the_test"].Tool, "extra"), "attribute"),
    "attribute of a class deleted": ("vars(host.Tool).get('run') and delattr(host.Tool, 'run')",
                                     lambda: vars(sys.modules["host_of_the_test"].Tool).get("run"),
                                     "attribute"),
    "socket timeout": ("import socket\nsocket.setdefaulttimeout(7)", socket.getdefaulttimeout,
                       "socket timeout"),
    "umask": ("import os\nos.umask(0o027)", umask, "umask"),
    "resource limit": (
        ("import resource\nsoft, hard = resource.getrlimit(resource.RLIMIT_CORE)\n"
         "resource.setrlimit(resource.RLIMIT_CORE, (soft - 1 if soft > 0 else 0 if soft else 1, hard))"),
        lambda: resource.getrlimit(resource.RLIMIT_CORE), "resource limit",
    ),
    "digits of a number": ("import sys\nsys.set_int_max_str_digits(5000)", sys.get_int_max_str_digits,
                           "limit of digits"),
    "start method": ("import multiprocessing\nmultiprocessing.set_start_method('spawn', force=True)",
                     lambda: multiprocessing.get_start_method(allow_none=True), "start method"),
    "captured warnings": ("import logging\nlogging.captureWarnings(True)", lambda: warnings.showwarning,
                          "captured warnings"),
    "gettext": ("import gettext\ngettext.install('hotload_test')", lambda: hasattr(builtins, "_"),
                "attribute"),
    "opener": ("import urllib.request\nurllib.request.install_opener(urllib.request.OpenerDirector())",
               lambda: vars(urllib.request)["_opener"], "attribute"),
    "csv dialect": ("import csv\ncsv.register_dialect('hotload-test', delimiter=';')", csv.list_dialects,
                    "csv dialect"),
    "csv dialect taken out": ("import csv\ncsv.unregister_dialect('unix')",
                              lambda: sorted(csv.list_dialects()), "csv dialect"),
    "mimetype": ("import mimetypes\nmimetypes.add_type('text/hotload-test', '.hotload')",
                 lambda: (mimetypes.guess_type("x.hotload"), mimetypes.guess_extension("text/hotload-test")),
                 "mimetype"),
    "mimetype of others": ("import mimetypes\nmimetypes.add_type('text/hotload-test', '.html')",
                           lambda: (mimetypes.guess_type("x.html"),
                                    sorted(mimetypes.guess_all_extensions("text/html"))), "mimetype"),
    "csv field limit": ("import csv\ncsv.field_size_limit(7)", csv.field_size_limit, "csv field limit"),
    "decimal defaults": ("import decimal\ndecimal.DefaultContext.prec = 5",
                         lambda: decimal.DefaultContext.prec, "decimal context"),
    "decimal traps": ("import decimal\ndecimal.DefaultContext.traps[decimal.Inexact] = True",
                      lambda: decimal.DefaultContext.traps[decimal.Inexact], "decimal context"),
    "level name": ("import logging\nlogging.addLevelName(7, 'SEVEN')",
                   lambda: (logging.getLevelName(7), logging.getLevelName("SEVEN")), "level name"),
    "interval timer": ("import signal\nsignal.setitimer(signal.ITIMER_VIRTUAL, 1000)",
                       lambda: signal.getitimer(signal.ITIMER_VIRTUAL), "interval timer"),
    "stack size": ("import threading\nthreading.stack_size(1 << 20)", threading.stack_size, "stack size"),
    "fault handler": (
        "import faulthandler as f\n(f.disable if f.is_enabled() else lambda: f.enable(open('f', 'w')))()",
        faulthandler.is_enabled, "fault handler",
    ),
    "collector threshold": ("import gc\ngc.set_threshold(7, 7, 7)", gc.get_threshold, "collector threshold"),
    "origin tracking": ("import sys\nsys.set_coroutine_origin_tracking_depth(3)",
                        sys.get_coroutine_origin_tracking_depth, "origin tracking"),
    "memory tracing": ("import tracemalloc\ntracemalloc.start()", tracemalloc.is_tracing, "memory tracing"),
    "codec alias": ("import encodings.aliases as a\na.aliases['hotload_test'] = 'utf_8'",
                    lambda: "hotload_test" in encodings.aliases.aliases, "codec alias"),
    "email charset": ("import email.charset as c\nc.add_charset('hotload-test')",
                      lambda: "hotload-test" in email.charset.CHARSETS, "email charset"),
    "web browser": ("import webbrowser\nwebbrowser.register('hotload-test', C)",
                    lambda: "hotload-test" in vars(webbrowser)["_browsers"], "web browser"),
    "pickle extension": ("import copyreg\ncopyreg.add_extension('hotload', 'test', 7777)",
                         lambda: 7777 in vars(copyreg)["_inverted_registry"], "pickle extension"),
    "XML namespace": (
        "import xml.etree.ElementTree as tree\ntree.register_namespace('hotload', 'urn:hotload-test')",
        lambda: b"hotload:" in ET.tostring(ET.Element("{urn:hotload-test}x")), "XML namespace",
    ),
    "archive format": ("import shutil\nshutil.register_archive_format('hotload-test', lambda *a, **k: None)",
                       shutil.get_archive_formats, "archive format"),
    "unpack format": ("import shutil\nshutil.register_unpack_format('hotload', ['.hot'], lambda *a: None)",
                      shutil.get_unpack_formats, "unpack format"),
    "code of a function": ("host.helper.__code__ = (lambda *a: 'patched').__code__", helper, "attribute"),
    "code of a function by name": ("setattr(host.helper, '__code__', (lambda *a: 'new').__code__)", helper,
                                   "attribute"),
    "defaults of a function": ("host.helper.__defaults__ = (7,)", helper, "attribute"),
    "keyword defaults": ("host.helper.__kwdefaults__ = {'more': 7}", helper, "attribute"),
    "attribute of a function": ("host.helper.cache = {}", lambda: {**vars(helper)}, "attribute"),
    "class in a function": ("host.helper.kind = C", lambda: {**vars(helper)}, "attribute"),
    "code of a method": ("host.Tool.stop.__code__ = (lambda self: 'patched').__code__", lambda: Tool().stop(),
                         "attribute"),
    "disabled logger": ("import logging\nlogging.getLogger('formatted').disabled = True",
                        lambda: logging.getLogger("formatted").disabled, "logging"),
    "level of a handler": ("import logging\nlogging.getLogger('formatted').handlers[0].setLevel(50)",
                           lambda: logging.getLogger("formatted").handlers[0].level, "logging"),
    "stream of a handler": (
        "import io, logging\nlogging.getLogger('streaming').handlers[0].setStream(io.StringIO())",
        lambda: id(vars(logging.getLogger("streaming").handlers[0])["stream"]), "logging",
    ),
    "own stream of a handler": (
        ("import io, logging\nclass S(io.StringIO): ...\n"
         "logging.getLogger('streaming').handlers[0].stream = S()"),
        lambda: id(vars(logging.getLogger("streaming").handlers[0])["stream"]), "logging",
    ),
    "target of a handler": (
        "import logging\nlogging.getLogger('streaming').handlers[1].setTarget(logging.NullHandler())",
        lambda: vars(logging.getLogger("streaming").handlers[1])["target"], "logging",
    ),
    "logger class of another": ("import logging\nlogging.setLoggerClass(host.Logger)", logging.getLoggerClass,
                                "attribute"),
    "time zones": ("import zoneinfo\nzoneinfo.reset_tzpath(['/nowhere'])", lambda: zoneinfo.TZPATH,
                   "attribute"),
    "text domain": ("import gettext\ngettext.textdomain('hotload')", gettext.textdomain, "attribute"),
    "folder of a text domain": ("import gettext\ngettext.bindtextdomain('hotload', '/nowhere')",
                                lambda: gettext.bindtextdomain("hotload"), "text domain"),
    "flags of dlopen": ("import sys\nsys.setdlopenflags(sys.getdlopenflags() | 256)", sys.getdlopenflags,
                        "flags of dlopen"),
    "standard output": ("import sys\nsys.__stdout__.reconfigure(errors='replace')",
                        lambda: getattr(sys.__stdout__, "errors", ""), "standard stream"),
    "replaced module": ("import sys, types\nsys.modules['colorsys'] = types.ModuleType('mine')",
                        lambda: sys.modules["colorsys"], "module"),
    "module of another name": ("import sys, json\nsys.modules['hotload_test'] = json",
                               lambda: sys.modules.get("hotload_test"), "module"),
    "object as a module": ("import sys\nsys.modules['hotload_test'] = C()",
                           lambda: sys.modules.get("hotload_test"), "module"),
    "module taken out": ("import sys\nsys.modules.pop('colorsys', None)",
                         lambda: sys.modules.get("colorsys"), "module"),
    "timer": ("import threading\nt = threading.Timer(60, C)\nt.daemon = True\nt.start()",
              lambda: [t for t in threading.enumerate() if type(t) is threading.Timer and not
                       t.finished.is_set()], "timer"),
}  # fmt: skip

if sys.version_info < (3, 14):  # where it is deprecated
    UNDONE["event loop policy"] = (
        "import asyncio\nasyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())",
        lambda: vars(asyncio.events)["_event_loop_policy"],
        "attribute",
    )

if sys.version_info >= (3, 12):
    UNDONE["monitoring tool"] = (
        """import sys
m, event = sys.monitoring, sys.monitoring.events.PY_START
m.use_tool_id(2, 'mine')
m.register_callback(2, event, lambda *a: None)
m.set_events(2, event)""",
        lambda: sys.monitoring.get_tool(2),
        "monitoring tool",
    )

LATE = [
    name
    for name in UNDONE
    if name
    not in (
        # Without a function, class or object of the plugin, a later change cannot be attributed to it.
        "environment variable", "variable of a file", "variable taken out", "working directory", "locale",
        "recursion limit",
        "switch interval", "collector off", "logging off", "sys.path", "warnings filter", "logging level",
        "logging handler of the standard library", "sqlite3 converter",
        "patched class", "patched class by name", "attribute of a class deleted",
        "code of a function", "code of a function by name", "defaults of a function", "keyword defaults",
        "attribute of a function", "class in a function", "code of a method",
        "socket timeout", "umask", "resource limit", "digits of a number", "start method", "opener",
        "csv field limit", "decimal defaults", "decimal traps", "level name", "interval timer", "stack size",
        "fault handler", "collector threshold", "origin tracking", "memory tracing", "codec alias",
        "email charset", "pickle extension", "web browser",
        "stream of a handler", "target of a handler", "monitoring tool",
        "level of a handler", "event loop policy", "logger class of another", "time zones",
        "text domain", "folder of a text domain", "flags of dlopen", "standard output", "replaced module",
        "module of another name", "module taken out",
        "captured warnings", "gettext", "csv dialect", "csv dialect taken out", "mimetype",
        "mimetype of others", "XML namespace", "disabled logger",
        "sys.stdout", "patched with a plain value", "attribute deleted", "mock.patch",
        "patched with an equal list", "patched with an equal tuple of lists",
        # The earlier values of these are unknown.
        "patched function", "patched host", "attribute added", "patched builtin",
    )
]  # fmt: skip


@pytest.fixture
def tidy(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[None]:
    """Set up some state of the host, and restore it after a failing test."""
    monkeypatch.setenv("HOTLOAD_KEPT", "kept")
    weakref.finalize(handler := logging.NullHandler(), len, "").detach()  # the first call uses atexit
    monkeypatch.chdir(str(tmp_path))
    handler.setFormatter(logging.Formatter("%(message)s"))
    others = logging.StreamHandler(io.StringIO()), logging.handlers.MemoryHandler(1)
    logging.getLogger("formatted").handlers[:] = [handler]
    logging.getLogger("streaming").handlers[:] = others
    with warnings.catch_warnings():
        yield
    logging.getLogger("formatted").handlers.clear()
    logging.getLogger("streaming").handlers.clear()


@pytest.mark.usefixtures("tidy", "host")
@pytest.mark.parametrize("kind", UNDONE)
def test_what_a_load_changed_is_undone_with_it(workspace: Workspace, run: Run, kind: str) -> None:
    """A retirement undoes the load's changes, and the ledger names each one with its line."""
    setup, look, category = UNDONE[kind]
    before = look()
    workspace["greet"] = a_plugin(setup)
    running = run(workspace.config())
    (standing,) = [e for e in running.manager.detail("greet").ledger if e.category == category]
    assert (standing.outcome, standing.generation) == ("stands", 1)
    assert standing.file == str(workspace.plugins / "greet" / "plugin.py")
    workspace["greet"] = CLEAN
    running.manager.scan_and_load_all()
    event = retire(running)
    assert look() == before
    assert {e.outcome for e in event.ledger} == {"undone"}
    assert {e.category for e in event.ledger} - {"mock patcher"} == {category}
    assert "; undone: " in event.describe()
    assert event.memory == "freed"
    assert running.manager.detail("greet").ledger == event.ledger
    assert running.status("greet").left == ()


@pytest.mark.usefixtures("tidy", "host")
@pytest.mark.parametrize("kind", LATE)
def test_what_was_changed_later_is_undone_too(workspace: Workspace, run: Run, kind: str) -> None:
    """Changes that a handler makes after the load are recognized by the plugin's module names, and undone."""
    setup, look, category = UNDONE[kind]
    before = look()
    workspace["greet"] = a_plugin(setup, late=True)
    running = run(workspace.config())
    running.host.call("late")
    running.manager.disable("greet")
    event = retire(running)
    assert look() == before
    assert (category, "undone") in [(e.category, e.outcome) for e in event.ledger]
    assert event.memory == "freed"


@pytest.mark.usefixtures("tidy", "host")
@pytest.mark.parametrize("kind", UNDONE)
def test_a_load_that_fails_leaves_nothing(workspace: Workspace, run: Run, kind: str) -> None:
    """A failed load's changes are undone by the time the command returns."""
    setup, look, _ = UNDONE[kind]
    before = look()
    workspace["greet"] = a_plugin(f"{setup}\nraise ValueError")
    running = run(workspace.config())
    assert running.fault("greet").type == "ValueError"
    assert look() == before


LISTS: dict[str, tuple[str, Callable[[], list[object]]]] = {
    "a path that is there": ("import sys\nsys.path.insert(0, sys.path[-1])", lambda: [*sys.path]),
    "a path that is there at the end": ("import sys\nsys.path.append(sys.path[0])", lambda: [*sys.path]),
    "a new path": ("import sys\nsys.path.insert(0, '/nowhere')", lambda: [*sys.path]),
    "paths taken out": ("import sys\ndel sys.path[:2]", lambda: [*sys.path]),
    "paths turned round": ("import sys\nsys.path.reverse()", lambda: [*sys.path]),
    "a filter that is there": (
        "import warnings\nwarnings.simplefilter('ignore', BytesWarning)",
        lambda: [*warnings.filters],
    ),
    "filters taken out": ("import warnings\nwarnings.resetwarnings()", lambda: [*warnings.filters]),
}


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("kind", LISTS)
def test_a_list_has_its_old_order_again(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """After a failed load and after the retirement, each item is where it was, and as often."""
    setup, look = LISTS[kind]
    monkeypatch.setattr(sys, "path", [*dict.fromkeys(sys.path)])
    warnings.simplefilter("ignore", BytesWarning, append=True)
    before = look()
    workspace["greet"] = f"{setup}\nraise ValueError\n{CLEAN}"
    running = run(workspace.config())
    assert running.fault("greet").type == "ValueError"
    assert look() == before
    workspace["greet"] = f"{setup}\n{CLEAN}"
    running.manager.scan_and_load_all()
    during = look()
    assert during != before
    if "taken" not in kind and "round" not in kind:
        for version in (1, 2, 3):
            workspace["greet"] = f"{setup}\n# {version}\n{CLEAN}"
            running.manager.scan_and_load_all()
            retire(running, version)
            assert sorted(map(str, look())) == sorted(map(str, during))
    running.manager.disable("greet")
    assert running.wait_for(lambda: look() == before)


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("fails", [False, True])
def test_the_time_zone_is_undone_with_its_variable(workspace: Workspace, run: Run, fails: bool) -> None:  # noqa: FBT001
    """After ``TZ`` and ``time.tzset()``, the process has its time zone again."""
    before = time.tzname, time.localtime(0)
    setup = "import os, time\nos.environ['TZ'] = 'Asia/Tokyo'\ntime.tzset()\n"
    source = f"{setup}def register(ctx):\n    ctx.hook('late', lambda: 'x')\n"
    workspace["greet"] = f"{source}raise ValueError\n" if fails else source
    running = run(workspace.config())
    if not fails:
        assert time.localtime(0).tm_hour == 9
        told = {entry.category for entry in running.manager.detail("greet").ledger}
        assert told == {"environment", "time zone"}
        running.manager.disable("greet")
        assert {entry.outcome for entry in retire(running).ledger} == {"undone"}
    assert (time.tzname, time.localtime(0)) == before


CONFIGURES = {
    "dictConfig": "logging.config.dictConfig({'version': 1})",
    "dictConfig by name": "dictConfig(dict(version=1))",
    "fileConfig": "logging.config.fileConfig(io.StringIO(INI))",
}
_INI = (
    "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nlevel=WARNING\nhandlers=\n"
)


@pytest.mark.usefixtures("tidy", "host")
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("kind", CONFIGURES)
def test_a_plugin_that_configures_logging_silences_nobody(
    workspace: Workspace,
    run: Run,
    kind: str,
    is_late: bool,  # noqa: FBT001
) -> None:
    """``dictConfig`` and ``fileConfig`` in a plugin leave the loggers of hotload and of the host enabled."""
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    workspace["greet"] = (
        f"import io, logging.config\nfrom logging.config import dictConfig\nINI = {_INI!r}\n"
        + a_plugin(CONFIGURES[kind], late=is_late)
    )
    running = run(workspace.config())
    running.host.call("late")
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("formatted", "hotload.engine", "hotload.plugin", "hotload.plugin.greet", "hotload.config"):
        assert not logging.getLogger(name).disabled
    workspace["greet"] = "def register(ctx):\n    ctx.log.error('heard')\n"
    running.manager.scan_and_load_all()
    assert "error greet: heard" in running.said()


@pytest.mark.usefixtures("host")
def test_a_host_that_configures_logging_still_hears_hotload(workspace: Workspace, run: Run) -> None:
    """Hotload reports failures even after the host has disabled all existing loggers."""
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    workspace["greet"] = CLEAN
    running = run(workspace.config())
    others = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    disabled = [one for one in others if one.disabled]
    logging.config.dictConfig({"version": 1})
    for other in others:
        other.disabled = other in disabled
    root.handlers[:] = handlers
    root.setLevel(level)
    assert not logging.getLogger("hotload.engine").isEnabledFor(logging.NOTSET)
    logging.getLogger("hotload.engine").error("heard")
    assert "heard" in running.said()


LOGGED = [
    "logging.getLogger('formatted').level = 5",
    "logging.getLogger('formatted').propagate = False",
    "logging.getLogger('formatted').handlers.clear()",
    "logging.getLogger('formatted').addHandler(logging.lastResort)",
    "logging.getLogger('formatted').filters.append(len)\nlogging.getLogger('formatted').removeFilter(print)",
]


@pytest.mark.usefixtures("tidy", "host")
@pytest.mark.parametrize("line", LOGGED)
def test_a_change_of_a_logger_is_undone_however_it_is_written(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """A failed load leaves a logger unchanged in a host with many loggers, however the change is written."""
    for number in range(500):
        name = f"of_the_test.{number}"
        monkeypatch.setitem(logging.root.manager.loggerDict, name, logging.Logger(name))  # noqa: LOG001 - goes with the test
    logger = logging.getLogger("formatted")

    def look() -> tuple[object, ...]:
        return logger.level, logger.propagate, [*logger.handlers], [*logger.filters]

    before = look()
    workspace["greet"] = a_plugin(f"import logging\n{line}\nraise ValueError")
    assert run(workspace.config()).fault("greet").type == "ValueError"
    assert look() == before


def test_a_failed_load_is_freed_without_waiting_for_the_hosts_collector(
    workspace: Workspace, run: Run
) -> None:
    """A failed load's modules are freed without a collection by the host."""

    def kept() -> int:
        return sum(type(each).__name__ == "GenerationLoader" for each in gc.get_objects())

    gc.collect()
    before = kept()
    gc.disable()
    try:
        workspace["greet"] = a_plugin("raise ValueError").replace("import host_of_the_test as host", "")
        running = run(workspace.config())
        assert running.fault("greet").type == "ValueError"
        running.manager.stop()
        assert kept() == before
    finally:
        gc.enable()


# ---- functions for the program's end

ENDS = {
    "atexit": ("atexit.register(act, 1, b=2)", ["act (1,) {'b': 2}"]),
    "atexit as a decorator": ("from atexit import register as at\n@at\ndef bye(): act(1)", ["act (1,) {}"]),
    "atexit with another's function": ("atexit.register(host.told.append, 'x')", ["x"]),
    "atexit twice, the newest first": ("atexit.register(act, 1)\natexit.register(act, 2)",
                                       ["act (2,) {}", "act (1,) {}"]),
    "atexit taken back": ("atexit.register(act)\natexit.unregister(act)", []),
    "finalizer of the host's object": ("weakref.finalize(host.wake, act, 1)", ["act (1,) {}"]),
    "finalizer of its own object": ("weakref.finalize(kept, act).atexit = False", ["act () {}"]),
    "finalizer that is not for the program's end": ("weakref.finalize(host.wake, act).atexit = False", []),
}  # fmt: skip


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", ENDS)
def test_what_was_to_run_at_the_programs_end_runs_when_its_version_goes(
    workspace: Workspace, run: Run, host: ModuleType, kind: str, *, late: bool
) -> None:
    """A retired version's atexit functions and finalizers run once, after ``on_unload``."""
    line, told = ENDS[kind]
    source = (
        a_plugin(f"import atexit, weakref\n{line}", late=late)
        .replace(
            "class C: ...\n",
            "class C: ...\nkept = C()\ndef act(*a, **k): host.told.append(f'act {a} {k}')\n",
        )
        .replace("def act():", "def start():")
        .replace("'late', act", "'late', start")
        .replace(
            "def register(ctx):\n",
            "def register(ctx):\n    ctx.on_unload(lambda: host.told.append('unloaded'))\n",
        )
    )
    vars(host)["told"] = []
    before = exit_functions(), finalizers()
    workspace["greet"] = source
    running = run(workspace.config())
    if late:
        running.host.call("late")
    workspace["greet"] = f"{source}# newer"
    running.manager.scan_and_load_all()
    event = retire(running)
    assert sys.modules["host_of_the_test"].told == ["unloaded", *told]
    assert len([entry for entry in event.ledger if entry.outcome == "undone"]) == max(
        len(told), "not for" in kind
    )
    assert event.memory == "freed"
    running.manager.disable("greet")
    retire(running, 2)
    assert (exit_functions(), finalizers()) == before


def test_a_function_for_the_programs_end_that_fails_is_a_fault_of_the_old_version_only(
    workspace: Workspace, run: Run, host: ModuleType
) -> None:
    """If one atexit function fails, the others still run and the new version stays live."""
    vars(host)["told"] = []
    workspace["greet"] = a_plugin(
        "import atexit\natexit.register(host.told.append, 'first')\natexit.register(lambda: 1 / 0)"
    )
    running = run(workspace.config())
    workspace["greet"] = CLEAN
    running.manager.scan_and_load_all()
    retire(running)
    assert vars(host)["told"] == ["first"]
    (failed,) = running.told(PluginFailed, "greet")
    assert (failed.fault.phase, failed.fault.type) == ("unload", "ZeroDivisionError")
    assert running.host.call("late") == ["clean"]


def test_a_load_that_fails_runs_what_it_left_for_the_programs_end(
    workspace: Workspace, run: Run, host: ModuleType
) -> None:
    """A failed load runs its atexit functions, as Python does when a program fails."""
    vars(host)["told"] = []
    workspace["greet"] = a_plugin("import atexit\natexit.register(host.told.append, 1)\nraise ValueError")
    assert run(workspace.config()).fault("greet").type == "ValueError"
    assert vars(host)["told"] == [1]


def test_what_a_library_leaves_for_the_programs_end_stays(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An atexit function of a library that a plugin imports first stays registered."""
    (workspace.root / "library_of_the_test.py").write_text("import atexit\natexit.register(len, '')\n")
    monkeypatch.syspath_prepend(workspace.root)
    before = exit_functions()
    workspace["greet"] = "import atexit, library_of_the_test\n" + CLEAN
    running = run(workspace.config())
    running.manager.disable("greet")
    assert retire(running).ledger == ()
    assert exit_functions() == before + 1
    atexit.unregister(len)
    del sys.modules["library_of_the_test"]


# ---- open files and the like

_POPEN = "import subprocess as s, sys; kept.it = s.Popen([sys.executable, '-c', 'input()'], stdin=s.PIPE)"
_POOL = "from concurrent.futures import ThreadPoolExecutor as T; kept.it = T(1); kept.it.submit(int).result()"
OPEN = {
    "file": ("kept.it = open(host.path, 'w'); kept.it.write('all of it')", "file"),
    "socket": ("import socket; kept.it = socket.socketpair()", "socket"),
    "process": (_POPEN, "process"),
    "executor": (_POOL, "executor"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OPEN)
def test_what_is_left_open_is_closed(workspace: Workspace, run: Run, host: ModuleType, kind: str) -> None:
    """Retirement closes and reports the old version's open objects, but not a file that the host shares."""
    line, category = OPEN[kind]
    path = workspace.root / "written"
    with (workspace.root / "shared").open("w") as shared:
        vars(host).update(path=path, shared=shared)
        workspace["greet"] = (
            "import host_of_the_test as host\nclass Kept: ...\nkept = Kept()\nkept.other = host.shared\n"
            f"def register(ctx):\n    {line}\n"
        )
        running = run(workspace.config())
        workspace["greet"] = CLEAN
        running.manager.scan_and_load_all()
        event = retire(running)
        assert not shared.closed
    found = {(entry.category, entry.outcome) for entry in event.ledger}
    assert found - {("file", "undone")} == {(category, "undone")} - {("file", "undone")}
    assert (("file", "undone") in found) == (kind in ("file", "process"))
    assert event.memory == "freed"
    assert kind != "file" or path.read_text() == "all of it"


ZONE = """
import datetime as d

class Zone(d.tzinfo):
    def utcoffset(self, when): return d.timedelta(0)
    dst = tzname = utcoffset

class Named(Zone):
    since = {value}

def register(ctx):
    ctx.hook("when", lambda: Named.since)
"""


@pytest.mark.parametrize("value", ["d.datetime(2000, 1, 1, tzinfo=Zone())", "[d.time(1, tzinfo=Zone())]"])
def test_a_date_in_the_plugins_own_zone_does_not_hold_an_old_version(
    workspace: Workspace, run: Run, value: str
) -> None:
    """A held date keeps its zone's version alive and usable; once it is released, the version is freed."""
    workspace["greet"] = ZONE.replace("{value}", value)
    running = run(workspace.config())
    held = running.host.call("when")
    workspace["greet"] = ZONE.replace("{value}", value) + "# newer"
    running.manager.scan_and_load_all()
    assert retire(running).memory.startswith("alive: greet.plugin.Zone")
    assert ".plugin.Zone object" in repr(held)
    held.clear()
    workspace["greet"] = CLEAN
    running.manager.scan_and_load_all()
    assert retire(running, 2).memory == "freed"
    assert running.wait_for(
        lambda: not [name for name in sys.modules if name.startswith("hotplug.greet.g1_")]
    )


# ---- changes that others rely on


def test_another_plugins_change_of_the_same_is_not_trodden_on(workspace: Workspace, run: Run) -> None:
    """In any unload order the last live plugin's patch is in place, and finally the host's function."""
    original = json.dumps
    for name in ("first", "second"):
        workspace[name] = (
            f"import json\ndef register(ctx):\n    json.dumps = lambda x: {name!r}\n"
            "    ctx.hook('greet', lambda: json.dumps(1))\n"
        )
    running = run(workspace.config())
    assert json.dumps(1) == "second"
    running.manager.disable("first")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "first")))
    assert json.dumps(1) == "second"
    running.manager.enable("first")
    assert json.dumps(1) == "first"
    running.manager.disable("first")
    assert running.wait_for(lambda: len(running.told(PluginRetired, "first")) == 2)
    assert json.dumps(1) == "second"
    running.manager.disable("second")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "second")))
    assert json.dumps is original


def test_what_one_plugin_of_a_batch_changed_is_not_taken_for_the_next_ones(
    workspace: Workspace, run: Run, host: ModuleType
) -> None:
    """A plugin that only reads a value is not credited with a change by an earlier plugin of the batch."""
    workspace["first"] = a_plugin("host.number = 2")
    workspace["second"] = a_plugin("host.number")
    running = run(workspace.config())
    told = {name: running.manager.detail(name).ledger for name in ("first", "second")}
    assert [entry.what for entry in told["first"]] == ["host_of_the_test.number = 2"]
    assert told["second"] == ()
    running.manager.disable("first")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "first")))
    assert host.number == 1


# Changes by the failing plugin of a batch, to a module of the host or to the process.
BETWEEN = {
    "another value": "host.number = 2",
    "a value of the same size": "host.number = -5",
    "a new name": "host.other = 0",
    "a name less": "del host.number",
    "set by a function": (
        "import types\ndef change():\n    global number\n    number = 2\n"
        "change = types.FunctionType(change.__code__, vars(host))\nfor _ in range(50): change()"
    ),
    "set by its name": "setattr(host, 'number', 3)",
    "set in the dictionary": "vars(host).update(number=4)",
    "popped": "vars(host).pop('number')",
    "changed back and on": "host.number = 5\nhost.number = 1\nhost.number = 6",
    "environment": "import os\nos.environ['HOTLOAD_TEST'] = '1'",
    "sys.path": "import sys\nsys.path.insert(0, '/nowhere')",
    "copyreg": "import copyreg\ncopyreg.dispatch_table[C] = len",
}  # fmt: skip


def process_of(host: ModuleType) -> tuple[object, ...]:
    """Return the attributes of the host's module and the other state that the batch's plugins change."""
    attributes = {name: value for name, value in vars(host).items() if name != "__builtins__"}
    return attributes, dict(os.environ), list(sys.path), dict(copyreg.dispatch_table)


@pytest.mark.parametrize("kind", BETWEEN)
def test_what_a_failed_plugin_of_a_batch_changed_is_undone_however_it_did_it(
    workspace: Workspace, run: Run, host: ModuleType, kind: str
) -> None:
    """A failed plugin's changes are undone before the next plugin of the batch loads."""
    before = process_of(host)
    for name in ("a", "b", "d"):
        workspace[name] = a_plugin("host.tools.append(host.number)")
    workspace["c"] = a_plugin(f"{BETWEEN[kind]}\nraise ValueError")
    running = run(workspace.config())
    assert [event.name for event in running.told(PluginFailed)] == ["c"]
    assert process_of(host) == before
    assert host.tools == [1, 1, 1]


COMES = (
    "import sys\nfrom types import ModuleType\n"
    "sys.modules[{0!r}] = ModuleType({0!r})\nsys.modules[{0!r}].number = 1"
)


def test_modules_that_come_go_and_change_places_within_a_batch_are_looked_after(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed plugin's changes to modules that earlier plugins of the batch added are undone."""
    names = ("first_of_the_test", "second_of_the_test", "third_of_the_test")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        del sys.modules[name]
    monkeypatch.setitem(sys.modules, "host_of_the_test", ModuleType("host_of_the_test"))
    workspace["a"] = a_plugin(COMES.format(names[0]))
    workspace["b"] = a_plugin(COMES.format(names[1]))
    workspace["c"] = a_plugin(
        f"import sys\nagain = sys.modules.pop({names[1]!r})\n"
        f"{COMES.format(names[2])}\nsys.modules[{names[1]!r}] = again"
    )
    changes = "".join(f"sys.modules[{name!r}].number = 2\n" for name in names)
    workspace["d"] = a_plugin(f"import sys\n{changes}raise ValueError")
    running = run(workspace.config())
    assert [event.name for event in running.told(PluginFailed)] == ["d"]
    assert [getattr(sys.modules[name], "number", None) for name in names] == [1, 1, 1]


# Ways in which a patch can keep the original: ``now`` returns the current function, ``put`` sets the new one.
WRAPS = {
    "closure": "def wrap(old):\n    return lambda: [N, *old()]\nput(wrap(now()))",
    "functools.wraps": ("import functools\ndef wrap(old):\n    @functools.wraps(old)\n"
                        "    def new(): return [N, *old()]\n    return new\nput(wrap(now()))"),
    "global": "old = now()\ndef new(): return [N, *old()]\nput(new)",
    "object": ("class Wrapper:\n    def __init__(self): self.old = now()\n"
               "    def __call__(self): return [N, *self.old()]\nput(Wrapper())"),
    "method": ("class Wrapper:\n    def __init__(self): self.old = now()\n"
               "    def call(self): return [N, *self.old()]\nput(Wrapper().call)"),
    "two of its own": ("def wrap(old, n):\n    return lambda: [n, *old()]\nput(wrap(now(), 0))\n"
                       "put(wrap(now(), N))"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRAPS)
def test_a_patch_that_calls_what_was_there_does_not_pile_up(
    workspace: Workspace, run: Run, host: ModuleType, kind: str
) -> None:
    """After each reload only the live version's wrapper is called, and after unloading none."""
    vars(host)["act"] = original = list

    def version(number: int) -> str:
        return (
            "import host_of_the_test as host\ndef now(): return host.act\ndef put(new): host.act = new\n"
            f"N = {number}\n{WRAPS[kind]}\n{CLEAN}"
        )

    more = [0] if kind == "two of its own" else []
    workspace["greet"] = version(1)
    running = run(workspace.config())
    for number in (2, 3):
        workspace["greet"] = version(number)
        running.manager.scan_and_load_all()
        assert retire(running, number - 1).memory == "freed"
        assert vars(host)["act"]() == [number, *more]
    workspace["greet"] = f"{version(4)}raise ValueError"
    running.manager.scan_and_load_all()
    assert vars(host)["act"]() == [3, *more]
    running.manager.disable("greet")
    retire(running, 3)
    assert vars(host)["act"] is original


@pytest.mark.usefixtures("host")
def test_the_code_of_a_shared_function_is_that_of_the_live_version(workspace: Workspace, run: Run) -> None:
    """After each reload the function has the live version's code, and after unloading its own."""

    def version(number: int) -> str:
        return (
            f"from host_of_the_test import helper\nhelper.__code__ = (lambda *a: {number}).__code__\n{CLEAN}"
        )

    workspace["greet"] = version(1)
    running = run(workspace.config())
    for number in (2, 3):
        workspace["greet"] = version(number)
        running.manager.scan_and_load_all()
        retire(running, number - 1)
        assert helper() == number
    workspace["greet"] = f"{version(4)}raise ValueError"
    running.manager.scan_and_load_all()
    assert helper() == 3
    running.manager.disable("greet")
    (entry,) = retire(running, 3).ledger
    assert entry.what.endswith(".helper.__code__ = <lambda>")
    assert (entry.outcome, helper()) == ("undone", (1, 2))


def test_classes_and_functions_of_one_name_are_told_apart(
    workspace: Workspace, run: Run, host: ModuleType
) -> None:
    """Each patch is undone, also of objects that a factory or ``wraps`` gives the name of another one."""
    exec(
        "from functools import wraps\n"
        "def made():\n    class Base:\n        size = 1\n    return Base\n"
        "First, Second = made(), made()\n"
        "def run(): ...\n"
        "@wraps(run)\ndef other(): ...\n",
        vars(host),
    )
    workspace["greet"] = a_plugin("host.First.size = host.Second.size = host.run.size = host.other.size = 2")
    running = run(workspace.config())
    running.manager.disable("greet")
    told = {entry.what: entry.outcome for entry in retire(running).ledger}
    names = ("First", "Second", "run", "other")
    assert told == {f"host_of_the_test.{name}.size = 2": "undone" for name in names}
    assert (host.First.size, host.Second.size, {**vars(host.run)}) == (1, 1, {})
    assert "size" not in vars(host.other)


def test_a_patch_of_a_shared_class_does_not_pile_up(workspace: Workspace, run: Run, host: ModuleType) -> None:
    """After each reload only the live version's wrapper of a method is called, and after unloading none."""

    def version(number: int) -> str:
        return (
            "from host_of_the_test import Tool\nold = Tool.run\ndef wrap(old):\n"
            f"    return lambda self: [{number}, *old(self)]\nTool.run = wrap(old)\n{CLEAN}"
        )

    original = Tool.run
    workspace["greet"] = version(1)
    running = run(workspace.config())
    for number in (2, 3):
        workspace["greet"] = version(number)
        running.manager.scan_and_load_all()
        assert retire(running, number - 1).memory == "freed"
        assert host.Tool().run() == [number, "host"]
    workspace["greet"] = f"{version(4)}raise ValueError"
    running.manager.scan_and_load_all()
    assert host.Tool().run() == [3, "host"]
    running.manager.disable("greet")
    retire(running, 3)
    assert Tool.run is original


FIRST = {
    "import": "import {0} as lib\n",
    "from": "from {0} import other\nimport sys\nlib = sys.modules[{0!r}]\n",
    "import_module": "import importlib\nlib = importlib.import_module({0!r})\n",
    "in another module": "import {0}\nfrom .second import lib\n",
}


@pytest.mark.parametrize("kind", FIRST)
def test_a_module_that_the_plugin_imports_first_keeps_its_original(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Patches of a module and a class that no other code has imported are undone when the plugin goes."""
    name = f"lib_of_the_test_{kind.replace(' ', '_')}"
    (workspace.root / f"{name}.py").write_text(
        "def act(): return ['lib']\ndef other(): ...\nclass Session:\n    def get(self): return ['lib']\n"
    )
    monkeypatch.syspath_prepend(str(workspace.root))
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    del sys.modules[name]

    def version(number: int) -> None:
        patch = (
            "def wrap(old):\n    return lambda *a: [N, *old(*a)]\n"
            "lib.act = wrap(lib.act)\nlib.Session.get = wrap(lib.Session.get)\n"
        )
        head = FIRST[kind].format(name)
        if kind == "in another module":
            workspace["greet/second.py"] = f"import {name} as lib\nN = {number}\n{patch}"
            patch = ""
        workspace["greet"] = f"{head}N = {number}\n{patch}{CLEAN}"

    version(1)
    running = run(workspace.config())
    lib = sys.modules[name]
    assert (lib.act(), lib.Session().get()) == ([1, "lib"], [1, "lib"])
    version(2)
    running.manager.scan_and_load_all()
    assert retire(running).memory == "freed"
    assert (lib.act(), lib.Session().get()) == ([2, "lib"], [2, "lib"])
    running.manager.disable("greet")
    assert retire(running, 2).memory == "freed"
    assert (lib.act(), lib.Session().get()) == (["lib"], ["lib"])


def test_patches_of_two_plugins_on_one_another_go_one_by_one(
    workspace: Workspace, run: Run, host: ModuleType
) -> None:
    """Unloading one of two nested patches leaves the other one and the host's original."""
    vars(host)["act"] = original = list
    for name in ("first", "greet"):
        workspace[name] = (
            "import host_of_the_test as host\ndef wrap(old):\n"
            f"    return lambda: [{name!r}, *old()]\nhost.act = wrap(host.act)\n{CLEAN}"
        )
    running = run(workspace.config())
    assert vars(host)["act"]() == ["greet", "first"]
    running.manager.rebuild("first", force=True)
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "first")))
    assert vars(host)["act"]() == ["first", "greet"]
    running.manager.disable("greet")
    assert retire(running).memory == "freed"
    assert vars(host)["act"]() == ["first"]
    running.manager.disable("first")
    assert running.wait_for(lambda: len(running.told(PluginRetired, "first")) == 2)
    assert vars(host)["act"] is original


def test_a_patch_on_one_that_came_unseen_is_named_where_nobody_knows_the_original(
    workspace: Workspace, run: Run, host: ModuleType
) -> None:
    """If the original of a patched attribute is unknown, the patch is named and left in place."""
    vars(host)["act"] = list
    workspace["greet"] = a_plugin("host.act = lambda: ['late']", late=True)
    running = run(workspace.config())
    running.host.call("late")
    workspace["greet"] = a_plugin("host.act = lambda: ['newer']")
    running.manager.scan_and_load_all()
    retire(running)
    running.manager.disable("greet")
    (entry, *_) = retire(running, 2).ledger
    assert (entry.category, entry.outcome) == ("attribute", "named")
    assert "not known" in entry.now
    assert vars(host)["act"]() == ["newer"]


@pytest.mark.usefixtures("tidy", "host")
def test_what_the_host_changed_since_stays(workspace: Workspace, run: Run) -> None:
    """A value that the host sets after the plugin is not reset, and the ledger does not say that it was."""
    workspace["greet"] = a_plugin("import os\nos.environ['HOTLOAD_KEPT'] = 'of the plugin'")
    running = run(workspace.config())
    os.environ["HOTLOAD_KEPT"] = "of the host"
    running.manager.disable("greet")
    (entry,) = retire(running).ledger
    assert (entry.outcome, os.environ["HOTLOAD_KEPT"]) == ("named", "of the host")
    assert "changed since" in entry.now


@pytest.mark.usefixtures("tidy")
def test_what_is_set_as_it_was_is_no_change(workspace: Workspace, run: Run, host: ModuleType) -> None:
    """A value that the plugin sets again, or an equal text or number, stays the host's to change."""
    workspace["greet"] = a_plugin(
        "import os\nos.environ['HOTLOAD_KEPT'] = 'kept'\nhost.greeting = host.greeting\nhost.number = 1"
    )
    running = run(workspace.config())
    os.environ["HOTLOAD_KEPT"] = "of the host"
    vars(host).update(greeting=max, number=2)
    running.manager.disable("greet")
    assert retire(running).ledger == ()
    assert (os.environ["HOTLOAD_KEPT"], vars(host)["greeting"], vars(host)["number"]) == (
        "of the host",
        max,
        2,
    )


ENVIRONMENTS = {
    "all taken out": "os.environ.clear()",
    "all replaced": "os.environ.clear()\nos.environ.update(HOTLOAD_KEPT='x', HOTLOAD_MORE='y')",
    "computed names": "for name in ('KEPT', 'MORE'):\n    os.environ['HOTLOAD_' + name] = 'x'",
    "names that it found": "[os.environ.pop(each) for each in [*os.environ] if each.startswith('HOTLOAD')]",
    "names in one text": "os.environ |= dict(n.split('=') for n in 'HOTLOAD_KEPT=x HOTLOAD_MORE='.split())",
    "bytes": "os.environb[b'HOTLOAD_KEPT'] = b'x'",
    "child processes": "os.unsetenv('HOTLOAD_KEPT')\nos.putenv('HOTLOAD_MORE', 'x')",
}


@pytest.mark.usefixtures("tidy", "host")
@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_the_environment_is_as_it_was_however_it_was_changed(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A failed load and a retirement restore all variables but those that the host has set since."""

    def look() -> tuple[object, ...]:
        children = subprocess.run(["/usr/bin/env"], capture_output=True, check=True).stdout
        return dict(os.environ), sorted(children.split(b"\n"))

    monkeypatch.setenv("HOTLOAD_OWN", "1")
    before = look()
    workspace["greet"] = a_plugin(f"import os\n{ENVIRONMENTS[kind]}\nraise ValueError")
    running = run(workspace.config())
    assert running.fault("greet").notes == ()
    assert look() == before
    workspace["greet"] = a_plugin(f"import os\n{ENVIRONMENTS[kind]}")
    running.manager.rebuild("greet")
    assert look() != before
    os.environ["HOTLOAD_OWN"] = "2"
    running.manager.disable("greet")
    named = [entry.what for entry in retire(running).ledger if entry.outcome == "named"]
    assert {*named} <= {"variable HOTLOAD_OWN, removed"}
    assert os.environ["HOTLOAD_OWN"] == "2"
    os.environ["HOTLOAD_OWN"] = "1"
    assert look() == before


@pytest.mark.usefixtures("tidy")
def test_a_variable_of_a_library_stays(workspace: Workspace, run: Run, host: ModuleType) -> None:
    """What a library sets stays, also if the plugin reads, sets and removes variables of its own."""
    vars(host)["set_up"] = lambda: os.environ.setdefault("HOTLOAD_LIBRARY", "1")
    workspace["greet"] = a_plugin(
        "import os\nhost.set_up()\nos.environ['HOTLOAD_KEPT'] = 'x'\n"
        "os.environ.setdefault('HOTLOAD_TEST', 'x')\n"
        "os.environ.pop('HOTLOAD_TEST')\n[os.environ.get(each) for each in os.environ]\n"
        "own = {**os.environ}; own[host] = os.environ['HOTLOAD_KEPT']; own.update(a='x'); own.clear()"
    )
    running = run(workspace.config())
    running.manager.disable("greet")
    (entry,) = retire(running).ledger
    assert entry.what == "variable HOTLOAD_KEPT"
    assert os.environ.pop("HOTLOAD_LIBRARY") == "1"


RELIED_ON = {
    "set again": "os.environ['HOTLOAD_KEPT'] = 'x'",
    "set where missing": "os.environ.setdefault('HOTLOAD_TEST', 'x')",
    "the same directory": "os.chdir('/')",
    "path where missing": "'/nowhere' in sys.path or sys.path.append('/nowhere')",
    "collector off": "import gc as g; g.disable()",
    "mimetype": "import mimetypes; mimetypes.add_type('text/hotload', '.hotload')",
    "function of the host": "host.helper.__defaults__ = (7,)",
    "logging level": "import logging; logging.getLogger('hotload_one').setLevel(10)",
}


@pytest.mark.usefixtures("tidy", "host")
@pytest.mark.parametrize("kind", RELIED_ON)
def test_what_the_next_version_wants_as_well_stays(workspace: Workspace, run: Run, kind: str) -> None:
    """A change that the next version repeats stays until no live version makes it any more."""

    def look() -> tuple[object, ...]:
        logger = logging.getLogger("hotload_one")
        others = gc.isenabled(), mimetypes.guess_type("x.hotload"), helper(), logger.level
        return dict(os.environ), os.getcwd(), list(sys.path), *others  # noqa: PTH109

    before = look()
    workspace["greet"] = a_plugin(f"import os, sys\n{RELIED_ON[kind]}")
    running = run(workspace.config())
    during = look()
    for version in ("# 2", "# 3"):
        workspace["greet"] = a_plugin(f"import os, sys\n{RELIED_ON[kind]}  {version}")
        running.manager.scan_and_load_all()
    retire(running, 2)
    assert look() == during != before
    (standing,) = [e for e in running.manager.detail("greet").ledger if e.outcome == "stands"]
    assert standing.generation == 1
    workspace["greet"] = CLEAN
    running.manager.scan_and_load_all()
    retire(running, 3)
    assert look() == before


@pytest.mark.usefixtures("tidy", "host")
def test_an_empty_text_tells_no_change_from_others(workspace: Workspace, run: Run) -> None:
    """A directory that both versions ask for stays, although only the first one has an empty string."""
    workspace["greet"] = f"import os\nSEPARATOR = ''\nos.chdir('/')\n{CLEAN}"
    running = run(workspace.config())
    workspace["greet"] = f"import os\nos.chdir('/')\n{CLEAN}"
    running.manager.scan_and_load_all()
    assert (retire(running).ledger, os.getcwd()) == ((), "/")  # noqa: PTH109 - as the plugin does it


# What a version changes, what the next one does, and the state that shows the change.
NOT_RELIED_ON: dict[str, tuple[str, str, Callable[[], object]]] = {
    "collector off": ("import gc\ngc.disable()", "import gc\ngc.collect()", gc.isenabled),
    "mimetype": (
        "import mimetypes\nmimetypes.add_type('text/hotload', '.hotload')",
        "import mimetypes\nmimetypes.guess_type('x.html')",
        lambda: mimetypes.guess_type("x.hotload"),
    ),
    "computed mimetype": (
        "import mimetypes\nmimetypes.add_type('text/hotload', '.hot' + str(host.number))",
        "import mimetypes\nmimetypes.guess_type('x.html')",
        lambda: mimetypes.guess_type("x.hot1"),
    ),
    "another mimetype": (
        "import mimetypes\nmimetypes.add_type('text/hotload', '.hotload')",
        "import mimetypes\nmimetypes.add_type('text/hotload', '.other')",
        lambda: mimetypes.guess_type("x.hotload"),
    ),
    "warnings filter": (
        "import warnings\nwarnings.filterwarnings('ignore', 'hotload test')",
        "import warnings\nwarnings.filterwarnings('ignore', 'another test')",
        lambda: "hotload test" in str(warnings.filters),
    ),
    "fault handler": (UNDONE["fault handler"][0], "import faulthandler", faulthandler.is_enabled),
    "memory tracing": (
        "import tracemalloc\ntracemalloc.start()",
        "import tracemalloc\ntracemalloc.is_tracing()",
        tracemalloc.is_tracing,
    ),
    "copyreg": (
        "import copyreg\ncopyreg.pickle(host.Tool, len)",
        "import copyreg\ncopyreg.dispatch_table",
        lambda: Tool in copyreg.dispatch_table,
    ),
    "function of the host": ("host.helper.__defaults__ = (7,)", "host.Tool.stop.__defaults__", helper),
    "logging level": (
        "import logging\nlogging.getLogger('hotload_one').setLevel(10)",
        "import logging\nlogging.getLogger('hotload_two').setLevel(10)",
        lambda: logging.getLogger("hotload_one").level,
    ),
}


@pytest.mark.usefixtures("tidy", "host")
@pytest.mark.parametrize("kind", NOT_RELIED_ON)
def test_what_the_next_version_does_not_ask_for_is_undone(workspace: Workspace, run: Run, kind: str) -> None:
    """A change does not stay because the next version imports the module or changes something else in it."""
    setup, other, look = NOT_RELIED_ON[kind]
    before = look()
    workspace["greet"] = a_plugin(setup)
    running = run(workspace.config())
    assert look() != before
    workspace["greet"] = a_plugin(other)
    running.manager.scan_and_load_all()
    assert {entry.outcome for entry in retire(running).ledger} == {"undone"}
    assert look() == before
    running.manager.disable("greet")
    retire(running, 2)


@pytest.mark.usefixtures("tidy", "host")
def test_a_failed_reload_restores_the_patch_of_the_previous_version(workspace: Workspace, run: Run) -> None:
    """After a failed reload, the previous version's patch is in place again."""
    workspace["greet"] = a_plugin("import json\njson.dumps = lambda x: 'first'")
    running = run(workspace.config())
    workspace["greet"] = a_plugin("import json\njson.dumps = lambda x: 'second'\nraise ValueError")
    running.manager.scan_and_load_all()
    assert (running.status("greet").state, json.dumps(1)) == ("STALE", "first")


def test_what_cannot_be_undone_is_a_fault_of_the_old_version_only(workspace: Workspace, run: Run) -> None:
    """A change that cannot be undone is reported for the old version, and the new version is live."""
    gone = workspace.root / "gone"
    gone.mkdir()
    before = os.getcwd()  # noqa: PTH109
    os.chdir(gone)
    try:
        workspace["greet"] = a_plugin("import os\nos.chdir('/')").replace(
            "import host_of_the_test as host\n", ""
        )
        running = run(workspace.config())
        gone.rmdir()
        workspace["greet"] = CLEAN
        running.manager.scan_and_load_all()
        (entry,) = retire(running).ledger
        assert (entry.category, entry.outcome) == ("working directory", "named")
        assert "FileNotFoundError" in running.status("greet").left[0]
        assert running.host.call("late") == ["clean"]
    finally:
        os.chdir(before)


# ---- many reloads

# Changes that can be made only once are made by the first version only.
_ONCE = {
    "unpack format": (
        "import shutil\n'hotload' in str(shutil.get_unpack_formats()) or "
        "shutil.register_unpack_format('hotload', ['.hot'], lambda *a: None)"
    ),
    "csv dialect taken out": "import csv\n'unix' in csv.list_dialects() and csv.unregister_dialect('unix')",
    "variable taken out": "import os\nos.environ.pop('HOTLOAD_KEPT', None)",
    "attribute deleted": "vars(host).pop('number', None)",
    "monitoring tool": "import sys\nsys.monitoring.get_tool(2) or sys.monitoring.use_tool_id(2, 'mine')",
}
# No executor: its thread would keep the previous version's ``threading`` hook for its whole life.
_LEFT_OPEN = (
    "import socket, subprocess, tempfile\nC.sockets, C.file = socket.socketpair(), tempfile.TemporaryFile()\n"
    "C.process = subprocess.Popen(['cat'], stdin=subprocess.PIPE)"
)


# From 3.12 on, a tracer for new threads makes the interpreter instrument all code again: twice the time.
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("tidy")
def test_nothing_accumulates_over_many_reloads(workspace: Workspace, run: Run, host: ModuleType) -> None:
    """A plugin that makes every kind of change leaves the process unchanged after many reloads."""
    used = {kind: _ONCE.get(kind, setup) for kind, (setup, *_) in UNDONE.items()}
    setups = "".join(
        f"def do_{number}():\n" + "".join(f"    {line}\n" for line in setup.splitlines())
        for number, setup in enumerate([_LEFT_OPEN, *used.values()])
    )
    calls = "".join(f"    do_{number}()\n" for number in range(len(used) + 1))
    source = (
        f"import host_of_the_test as host\nclass C: ...\n{setups}async def poll():\n    import asyncio\n"
        "    await asyncio.sleep(1000)\n"
        f"def register(ctx):\n{calls}    ctx.task(poll)\n    ctx.thread(lambda stop: stop.wait())\n"
    )

    def look() -> list[object]:
        gc.collect()
        names = [name for name in sys.modules if name.startswith("hotplug")]
        return [[UNDONE[kind][1]() for kind in used], names, len(host.tools)]

    def kept() -> int:
        gc.collect()
        return sum(type(each).__name__ in ("GenerationLoader", "Ledger") for each in gc.get_objects())

    before, kept_before = look(), kept()
    running = run(workspace.config())
    workspace["greet"] = source
    running.manager.scan_and_load_all()
    held = []
    for number in range(RELOADS // 3):  # leftovers of single reloads add up until the end
        workspace["greet"] = f"{source}# {number}\n"
        running.manager.rebuild("greet")
        held += [retire(running).memory]
        running.events.clear()  # because the events would accumulate
    running.manager.disable("greet")
    retire(running)
    assert set(held) == {"freed"}
    running.manager.stop()
    assert look() == before
    assert kept() == kept_before
    assert not [name for name in map(str, threading.enumerate()) if "greet" in name]
