"""Whole packages beside ``plugin.py``: jinja2 with its requirement, and metadata of distributions."""

import builtins
import importlib
import importlib.metadata
import logging
import multiprocessing.spawn
import pickle
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from hotload_tui import Config
from hotload_tui.core.events import PluginRetired
from hotload_tui.core.hooks.inflight import CallRecord
from tests.conftest import Running, Workspace
from tests.core.conftest import Bench, Stage, retired
from tests.waiting import PATIENCE, until

Run = Callable[[Config], Running]

JINJA = """
import jinja2
from jinja2 import Environment, PackageLoader, DictLoader, sandbox
import markupsafe

pages = Environment(loader=PackageLoader("pages"), autoescape=True)

def greet(name):
    return pages.get_template("hello.txt").render(name=name)

def late(name):
    from jinja2 import nativetypes, ext
    import jinja2.meta
    return nativetypes.NativeEnvironment().from_string("{{ [name] }}").render(name=name)[0]

def facts():
    own = {jinja2.__name__, markupsafe.Markup.__module__, sandbox.SandboxedEnvironment.__module__}
    return all(name.startswith(__package__) for name in own), jinja2.MARK

def register(ctx):
    for handler in (greet, late, facts):
        ctx.hook(handler.__name__, handler)
"""


def vendor(workspace: Workspace, *names: str) -> None:
    """Copy installed packages and their metadata into the plugin ``greet``."""
    for name in names:
        distribution = importlib.metadata.distribution(name)
        tops = {Path(str(file)).parts[0] for file in distribution.files or () if ".." not in str(file)}
        for top in tops:
            source = Path(str(distribution.locate_file(top)))
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, workspace.plugins / "greet" / top, ignore=ignored)


def mark(workspace: Workspace, word: str) -> None:
    """Append a mark that distinguishes this copy of jinja2 from others."""
    with (workspace.plugins / "greet/jinja2/__init__.py").open("a") as file:
        file.write(f"\nMARK = {word!r}\n")


@pytest.fixture
def jinja(workspace: Workspace, run: Run) -> Running:
    """Return a host whose plugin uses its own copy of jinja2."""
    workspace["greet"] = JINJA
    workspace["greet/pages/__init__.py"] = ""
    workspace["greet/pages/templates/hello.txt"] = "Hello, {{ name }}!"
    vendor(workspace, "jinja2", "markupsafe")
    mark(workspace, "one")
    return run(workspace.config())


def test_a_whole_jinja2_works_and_is_reloaded_and_freed(workspace: Workspace, jinja: Running) -> None:
    """Each version has its own jinja2 with templates, late imports and native code, and the host another.

    The vendored jinja2 does not keep an old version alive.
    """
    assert jinja.host.call("greet", "<Ada>") == ["Hello, &lt;Ada&gt;!"], jinja.status("greet").fault
    assert jinja.host.call("facts") == [(True, "one")]
    old = {handler.point: handler.call for handler in jinja.host.handlers_of("greet")}
    mark(workspace, "two")
    jinja.manager.rebuild("greet")
    assert jinja.wait_for(lambda: bool(jinja.told(PluginRetired, "greet")))
    assert jinja.host.call("facts") == [(True, "two")]
    assert old["facts"]() == (True, "one")
    assert (jinja.host.call("late", "Ada"), old["late"]("Ada")) == (["Ada"], "Ada")
    assert old["greet"]("Ada") == "Hello, Ada!"
    import jinja2

    assert not hasattr(jinja2, "MARK")
    mark(workspace, "three")
    jinja.manager.rebuild("greet")
    assert jinja.wait_for(lambda: len(jinja.told(PluginRetired, "greet")) > 1)
    assert [event.memory == "freed" for event in jinja.told(PluginRetired, "greet")] == [False, True]


METADATA = """
from importlib import metadata
import importlib.metadata as m

def facts():
    points = metadata.entry_points(group="things")
    point = next(iter(points.select(name="word")))
    return (
        metadata.version("Own_Thing"), m.metadata("own.thing")["Summary"],
        point.load(), point.value, point.dist.name,
        [file.locate().name for file in metadata.files("own-thing")], metadata.version("pytest"),
    )

def register(ctx):
    ctx.hook("facts", facts)
"""


def test_metadata_of_a_vendored_distribution(workspace: Workspace, run: Run) -> None:
    """A plugin finds version, files and entry points of a vendored distribution; the host does not."""
    workspace["greet"] = METADATA
    workspace["other"] = METADATA
    workspace["greet/own_thing/words.py"] = "WORD = 'one'\n"
    folder = "greet/own_thing-1.2.dist-info"
    workspace[f"{folder}/METADATA"] = "Metadata-Version: 2.1\nName: own-thing\nVersion: 1.2\nSummary: Mine.\n"
    workspace[f"{folder}/RECORD"] = "own_thing/words.py,,\n"
    workspace[f"{folder}/entry_points.txt"] = "[things]\nword = own_thing.words:WORD\n"
    running = run(workspace.config())
    here = importlib.metadata.version("pytest")
    expected = ("1.2", "Mine.", "one", "own_thing.words:WORD", "own-thing", ["words.py"], here)
    assert running.host.call("facts") == [expected], running.said()
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("own-thing")
    old = running.host.handlers_of("greet")[0].call
    workspace["greet/own_thing/words.py"] = "WORD = 'two'\n"
    running.manager.rebuild("greet")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "greet")))
    assert (running.host.call("facts")[0][2], old()[2]) == ("two", "one")  # type: ignore[index]


STEPS = """
import importlib, pkgutil, steps

def step(name):
    return importlib.import_module(f".{name}", steps.__name__).WORD

def names():
    return [each.name for each in pkgutil.iter_modules(steps.__path__)]

def register(ctx):
    ctx.hook("step", step)
    ctx.hook("names", names)
"""


def test_modules_whose_names_are_no_identifiers_can_be_imported(workspace: Workspace, run: Run) -> None:
    """Such a file, as ``0001_initial.py`` of Django or a table of rich, runs when ``import_module`` names it.

    One that does not compile, such as a template, is no fault before that.
    """
    workspace["greet"] = STEPS
    workspace["greet/steps/__init__.py"] = ""
    workspace["greet/steps/0001_first.py"] = "WORD = 'one'\n"
    workspace["greet/steps/{{ name }}.py"] = "class {{ name }}: ...\n"
    running = run(workspace.config())
    assert running.host.call("step", "0001_first") == ["one"], running.status("greet").fault
    assert running.host.call("names") == [["0001_first", "{{ name }}"]]
    assert running.host.call("step", "{{ name }}") == []
    assert running.fault("greet").type == "SyntaxError"
    workspace["greet/steps/0001_first.py"] = "WORD = 'two'\n"
    running.manager.rebuild("greet")
    assert running.host.call("step", "0001_first") == ["two"]
    assert retired(running).memory == "freed"


def test_listing_a_plugins_folder_leaves_nothing_in_the_interpreter(workspace: Workspace, run: Run) -> None:
    """The import system's cache of a plugin's folder is removed with the version that caused it."""
    workspace["greet"] = (
        "import sys\nfrom os import path\n"
        "def register(ctx):\n"
        "    for hook in sys.path_hooks:\n        pass\n"
        "    sys.path.append(path.dirname(__file__))\n"
        "    try:\n        __import__('nowhere_at_all')\n    except ImportError:\n        pass\n"
        "    sys.path.pop()\n"
    )
    running = run(workspace.config())
    folder = str(workspace.plugins / "greet")
    assert folder in sys.path_importer_cache
    running.manager.disable("greet")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "greet")))
    assert folder not in sys.path_importer_cache


class Names(NamedTuple):
    """A package beside ``plugin.py``, and code that returns the word of its version."""

    package: str
    code: str
    files: Mapping[str, str] = {}


_LIKE_SIX = """
import sys, types
from importlib.machinery import ModuleSpec

class Importer:
    known = {__name__ + ".moves": 'WORD', __name__ + ".moves.deep": 'WORD'}

    def find_spec(self, name, path, target=None):
        return ModuleSpec(name, self, is_package=True) if name in self.known else None

    def create_module(self, spec):
        if spec.name in sys.modules:
            return sys.modules[spec.name]
        module = sys.modules[spec.name] = types.ModuleType(spec.name)
        module.WORD, module.__path__ = self.known[spec.name], []
        return module

    def exec_module(self, module): ...

sys.meta_path[:] = [each for each in sys.meta_path if type(each).__name__ != "Importer"]
sys.meta_path.append(Importer())

def lazy():
    __import__(__name__ + ".moves.deep")
    return sys.modules[__name__ + ".moves.deep"].WORD
"""

NAMES: dict[str, Names] = {
    "a module that the package's importer makes": Names(
        _LIKE_SIX, "import pack.moves\n    from pack.moves import WORD\n"
        "    assert pack.lazy() == 'WORD'\n    return pack.moves.WORD",
    ),
    "sys.modules": Names("", "import sys, pack.x\n    return sys.modules['pack.x'].WORD"),
    "sys.modules, imported from sys": Names("", "from sys import modules\n    import pack.x\n"
        "    assert 'pack' in modules and 'pack.x' in [*modules]\n    return modules.get('pack').x.WORD",
    ),
    "an alias of a package": Names(
        "import sys, other.x\nfor name in [each for each in sys.modules if each in ('other', 'other.x')]:\n"
        "    sys.modules[f'pack.alias.{name}'] = sys.modules['hotload_alias'] = sys.modules[name]\n",
        "import pack.alias.other.x\n    from pack.alias.other.x import WORD\n    return WORD",
        {"other/__init__.py": "", "other/x.py": "WORD = 'WORD'\n"},
    ),
    "pickle by the short name": Names("", "import pickle\n"
        "    return pickle.loads(b'cpack.x\\nWORD\\n.')"),
    "pickle of a renamed class": Names(
        "class Kind:\n    word = 'WORD'\n\ndef word():\n    return 'WORD'\n"
        "for thing in (Kind, word):\n    thing.__module__ = 'pack'\n",
        "import pickle, inspect, typing\n    assert inspect.getmodule(pack.Kind).Kind is pack.Kind\n"
        "    assert pickle.loads(pickle.dumps(pack.word))() == pack.Kind.word\n"
        "    return pickle.loads(pickle.dumps(pack.Kind())).word",
    ),
    "resources.as_file": Names("", "from importlib import resources\n"
        "    with resources.as_file(resources.files(pack) / 'texts') as folder:\n"
        "        assert folder.name == 'texts'\n"
        "        return (folder / 'deep' / 'word.txt').read_text()",
    ),
    "an entry point from a cache": Names("", "from importlib.metadata import EntryPoint, entry_points\n"
        "    assert all(isinstance(point, EntryPoint) for point in entry_points(group='pytest11'))\n"
        "    return EntryPoint('word', 'pack.x:WORD', 'things').load()",
    ),
    "the source of a running version": Names(
        "def word():\n    return 'WORD'\n\nclass Kind:\n    word = 'WORD'\n",
        "import inspect\n    assert 'WORD' in inspect.getsource(pack.Kind), inspect.getsource(pack.Kind)\n"
        "    return inspect.getsource(pack.word).split(chr(39))[1]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", NAMES)
def test_names_of_a_vendored_package_mean_the_own_version(
    bench: Bench, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is found by its short name, also in a call that began before the swap; it is freed."""
    package, code, files = NAMES[what]

    def load(word: str) -> None:
        sources = {"pack/__init__.py": package, "pack/x.py": "WORD = 'WORD'\n", **files}
        for path, content in sources.items():
            bench.workspace[f"greet/{path}"] = content.replace("'WORD'", repr(word))
        bench.workspace["greet/pack/texts/deep/word.txt"] = word
        source = (
            f"import pack\n\ndef answer():\n    {code}\n\ndef register(ctx):\n    ctx.hook('greet', answer)\n"
        )
        bench.load(source.replace("'WORD'", repr(word)))

    answers: list[object] = []
    load("one")
    assert bench.host.call("greet") == ["one"]
    waiting = [bench.host.handlers_of("greet")[0].call]
    load("two")
    assert bench.host.call("greet") == ["two"]
    drain = bench.host.drain

    def drain_after_call(limit: float, leaving: set[tuple[str, int]]) -> tuple[CallRecord, ...]:
        answers.append(waiting.pop()())
        return drain(limit, leaving)

    monkeypatch.setattr(bench.host, "drain", drain_after_call)
    bench.loader.retire()
    assert answers == ["one"]
    monkeypatch.undo()
    assert bench.host.call("greet") == ["two"]
    bench.loader.unload("greet")
    assert [each.memory for each in bench.loader.retire()] == ["freed"]


BY_IMPORTER = """
import sys
from importlib.machinery import ModuleSpec

class Importer:
    def find_spec(self, name, path, target=None):
        return ModuleSpec(name, self) if name.endswith("pack.moves") else None

    def create_module(self, spec):
        __import__("hotload_shared")
        module = sys.modules[spec.name] = sys.modules["hotload_shared"]
        return module

    def exec_module(self, module): ...

sys.meta_path.append(Importer())
"""


BY_ALIAS = "import sys, hotload_shared\nsys.modules[f'{__name__}.moves'] = hotload_shared\n"


@pytest.mark.parametrize("package", [BY_IMPORTER, BY_ALIAS], ids=["importer", "alias"])
def test_a_shared_module_under_a_name_of_a_package_stays_as_it_is(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    """A shared module with another name in a package, as ``six.moves.queue``, is not the plugin's."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/hotload_shared.py").write_text("WORD = 'shared'\n")
    monkeypatch.syspath_prepend(str(tmp_path / "shared"))
    bench.workspace["greet/pack/__init__.py"] = package
    source = "import pack.moves\n\ndef register(ctx):\n    ctx.hook('greet', get)\n"
    for number in range(2):
        bench.load(f"{source}\ndef get():\n    from pack.moves import WORD\n    return WORD, {number}\n")
        assert {each.memory for each in bench.loader.retire()} <= {"freed"}
        assert bench.host.call("greet") == [("shared", number)]
        shared = importlib.import_module("hotload_shared")
        assert shared.__spec__ is not None
        assert shared.__spec__.name == "hotload_shared"
    kept = sys.modules["hotload_shared"]
    bench.loader.unload("greet")
    assert [each.memory for each in bench.loader.retire()] == ["freed"]
    assert sys.modules.pop("hotload_shared") is kept


TRACES = {
    "typing's cleanups": "import typing\n@typing._tp_cache\ndef kind(x): return x\nkind(1)\n",
    "overloads": "import typing\n@typing.overload\ndef f(x: int): ...\nf.words = ACT = lambda: 1\n",
    "quoted strings": "import fnmatch, re, time, urllib.parse\nclass Word(str): ...\n"
        "re.compile(Word('hotload'))\n"
        "fnmatch.fnmatch('a', Word('*.a'))\ntime.strptime(Word('1970'), Word('%Y'))\n"
        "re.sub(Word('a'), Word('b'), 'a')\n"
        "urllib.parse.urlsplit(Word('http://a.example/'))\nurllib.parse.quote('a b', safe=Word('/'))\n",
    "context variables": "import contextvars\nclass Kind: ...\n"
        "var = contextvars.ContextVar('v', default=Kind())\nvar.set(Kind())\n",
    "aliases": "import sys\nfrom . import plugin\nsys.modules['hotload_alias'] = plugin\n",
}  # fmt: skip


@pytest.mark.parametrize("what", TRACES)
def test_what_a_package_leaves_in_the_standard_library_is_removed(bench: Bench, what: str) -> None:
    """Caches and registers of the standard library, and contexts, do not keep a retired version."""
    source = TRACES[what] + "def register(ctx):\n    ctx.hook('greet', print)\n"
    for number in range(3):
        bench.load(f"{source}# {number}\n")
        assert {each.memory for each in bench.loader.retire()} <= {"freed"}
    bench.loader.unload("greet")
    assert [each.memory for each in bench.loader.retire()] == ["freed"]


LOGGER = """
import logging

class Own(logging.Logger):
    word = 'WORD'

logging.setLoggerClass(Own)
log = logging.getLogger("hotload_logger")

def register(ctx):
    ctx.hook("greet", lambda: (log.word, type(log) is Own))
"""


def test_a_logger_of_a_packages_own_class_goes_to_the_next_version(bench: Bench) -> None:
    """A logger stays for the program, with the class of the live version, and at last one of other code."""
    bench.load(LOGGER)
    log = logging.getLogger("hotload_logger")
    for word in ("one", "two"):
        bench.load(LOGGER.replace("WORD'", f"{word}'"))
        assert [each.memory for each in bench.loader.retire()] == ["freed"]
        assert bench.host.call("greet") == [(word, True)]
    bench.refusal(LOGGER + "    1 / 0\n")
    assert bench.host.call("greet") == [("two", True)]
    bench.loader.unload("greet")
    assert {each.memory for each in bench.loader.retire()} == {"freed"}
    assert logging.getLogger("hotload_logger") is log
    assert type(logging.root.manager.loggerDict.pop("hotload_logger")) is logging.Logger


OVERLOADED = """
import typing

class Kind:
    @typing.overload
    @staticmethod
    def word(x: int): ...
    @typing.overload
    @staticmethod
    def word(x: str): ...
    @staticmethod
    def word(x): ...

def register(ctx):
    ctx.hook("greet", lambda: len(typing.get_overloads(Kind.word)))
"""


def test_a_failed_load_keeps_the_overloads_of_the_live_version(bench: Bench) -> None:
    """The live version's overloads are at the same lines as those of the failed load."""
    bench.load(OVERLOADED)
    error = bench.refusal(OVERLOADED + "    1 / 0\n")
    assert getattr(error, "__notes__", []) == []
    assert bench.host.call("greet") == [2]
    bench.loader.unload("greet")
    assert [each.memory for each in bench.loader.retire()] == ["freed"]


COPIED = """
import importlib.util, sys

spec = importlib.util.find_spec("html.parser")
copy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(copy)
sys.modules["hotload_copy"] = copy

class Parser(copy.HTMLParser): ...

def register(ctx):
    ctx.hook("greet", lambda: Parser().convert_charrefs)
"""


def test_a_failed_load_with_a_copy_of_a_shared_module_leaves_nothing_behind(bench: Bench) -> None:
    """The functions of a package's own copy of a standard module are not reported as references."""
    bench.load(COPIED)
    error = bench.refusal(COPIED + "    1 / 0\n")
    assert getattr(error, "__notes__", []) == []
    assert bench.host.call("greet") == [True]
    bench.loader.unload("greet")
    assert {each.memory for each in bench.loader.retire()} == {"freed"}


GENERATED = """
class Kind: ...

names = {"Kind": Kind}
exec("def made(): return Kind", names)

def register(ctx):
    ctx.hook("greet", lambda: names["made"])
"""


def test_a_generated_function_belongs_to_its_version(bench: Bench) -> None:
    """The holder of a function whose namespace has no ``__name__`` is named, not the function."""
    bench.load(GENERATED)
    kept = bench.host.call("greet")
    bench.loader.unload("greet")
    (retirement,) = bench.loader.retire()
    assert "held by local 'kept'[0]" in retirement.memory
    del kept


LATE = """
import stage, typing

def answer():
    stage.wait()
    @typing.overload
    def late(x: int) -> int: ...

def register(ctx):
    ctx.hook("greet", answer)
"""


def test_an_overload_made_after_the_retirement_is_forgotten(workspace: Workspace, stage: Stage) -> None:
    """A call that outlasts the retirement leaves no overload that keeps its version."""
    bench = Bench(workspace, drain_timeout=0.01)
    bench.load(LATE)
    caller = threading.Thread(target=bench.host.call, args=("greet",))
    caller.start()
    assert stage.entered.wait(PATIENCE)
    bench.loader.unload("greet")
    assert bench.loader.retire()[0].memory.startswith("alive")
    stage.gate.set()
    caller.join()
    bench.host.drain(0, set())  # forgets the hook table of the call that has ended
    until(
        lambda: bench.loader.held.look_again() == [("greet", 1)], lambda: bench.loader.held.memory_of("greet")
    )


POOL = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from tasks import Task, work

def answer(method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, Task(2)).result()

def register(ctx):
    ctx.hook("greet", answer)
"""
TASKS = """
class Task:
    def __init__(self, number):
        self.number = number

def work(task):
    from helper import WORD
    import hotplug.greet
    assert type(task) is Task
    assert type(hotplug.greet.answer) is type(work)
    return WORD * task.number
"""


def test_spawned_children_find_the_plugins_modules(bench: Bench) -> None:
    """Spawned processes of the old and of the new version run the code of their version."""
    bench.workspace["greet/tasks.py"] = TASKS
    bench.workspace["greet/helper.py"] = "WORD = 'one'\n"
    bench.load(POOL)
    old = bench.host.handlers_of("greet")[0].call
    kept = pickle.dumps(importlib.import_module("hotplug.greet.tasks").Task(1))
    bench.workspace["greet/helper.py"] = "WORD = 'two'\n"
    bench.load(POOL)
    assert bench.host.call("greet", "spawn") == ["twotwo"]
    assert old("spawn") == "oneone"
    if "forkserver" in multiprocessing.get_all_start_methods():
        assert bench.host.call("greet", "forkserver") == ["twotwo"]
    del old
    bench.loader.retire()
    assert type(pickle.loads(kept)) is importlib.import_module("hotplug.greet.tasks").Task
    bench.loader.unload("greet")
    bench.loader.retire()
    assert "hotload" not in multiprocessing.spawn.get_preparation_data("process")


HOSTILE = """
import io, logging, socket, subprocess

OUT = io.TextIOWrapper(io.BytesIO())
GIVEN_AWAY = io.TextIOWrapper(io.BytesIO())
GIVEN_AWAY.detach()

class Refuses(BaseException):
    pass

class Stream(io.FileIO):
    @property
    def closed(self):
        raise Refuses

class Socket(socket.socket):
    def fileno(self):
        raise Refuses

class Process(subprocess.Popen):
    def __init__(self):
        pass
    def __del__(self):
        pass

class Handler(logging.NullHandler):
    @property
    def formatter(self):
        raise Refuses
    formatter = formatter.setter(lambda *_: None)

logging.getLogger("of the plugin").addHandler(Handler())

THINGS = [Stream(0, closefd=False), Socket(), Process()]
THINGS[1].close()

def register(ctx):
    ctx.hook("greet", lambda: "WORD")
"""


def test_an_object_that_raises_does_not_stop_the_end_of_its_version(workspace: Workspace, run: Run) -> None:
    """Streams without a descriptor, and sockets and processes that raise, are freed with their version."""
    workspace["greet"] = HOSTILE
    running = run(workspace.config())
    workspace["greet"] = HOSTILE.replace("WORD", "new")
    running.manager.rebuild("greet")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "greet")))
    assert running.told(PluginRetired, "greet")[0].memory == "freed"
    assert running.status("greet").fault is None


HOOK = """
import sys
from importlib.abc import Loader
from importlib.machinery import PathFinder

class Rewriting(Loader):
    def find_spec(self, name, path=None, target=None):
        if not name.startswith("shared_by_hook"):
            return None
        spec = PathFinder.find_spec(name, path)
        spec.loader = self
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        with open(module.__spec__.origin) as file:
            RUN

sys.meta_path.insert(0, Rewriting())
import shared_by_hook
sys.meta_path.pop(0)

def register(ctx):
    pass
"""


@pytest.mark.parametrize(
    "statement",
    ["exec(file.read(), module.__dict__)", "exec(file.read(), module.__dict__, module.__dict__)",
     "eval(compile(file.read(), module.__name__, 'exec'), vars(module))"],
)  # fmt: skip
def test_a_shared_module_that_a_plugins_import_hook_runs_gets_the_interpreters_builtins(
    workspace: Workspace, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """A hook of a vendored package that runs a shared module does not give it the plugin's import."""
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "shared_by_hook.py").write_text(
        "import importlib\nimport logging.config\n\n\ndef imports():\n    return __import__\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    workspace["greet"] = HOOK.replace("RUN", statement)
    running = run(workspace.config())
    assert running.status("greet").fault is None, running.fault("greet")
    module = sys.modules.pop("shared_by_hook")
    assert vars(module)["__builtins__"] is vars(builtins)
    assert module.imports() is builtins.__import__
    assert module.importlib is importlib
    assert module.logging is logging


RUNS = """
word = "module"
exec("made = word + ' made'")
exec("more = word", None)
names = {}
exec("import part; inside = part.WORD", names)
own = {"a": 1}
exec("b = a + 1", globals(), own)

class Body:
    exec("attribute = word")

def inside(word="function"):
    exec("made_here = word")
    return eval("word"), eval("word", {"word": "given"}), eval("other", None, {"other": word})

def handler():
    own_builtins = inside.__builtins__ is __builtins__
    return made, more, names["inside"], own["b"], Body.attribute, inside(), own_builtins

def register(ctx):
    ctx.hook("greet", handler)
"""


def test_exec_and_eval_of_a_plugin_mean_what_they_mean_elsewhere(workspace: Workspace, run: Run) -> None:
    """``exec`` and ``eval`` find the names of the calling code, and imports reach the plugin's modules."""
    workspace["greet/part.py"] = "WORD = 'part'\n"
    workspace["greet"] = RUNS
    running = run(workspace.config())
    expected = ("module made", "module", "part", 2, "module", ("function", "given", "function"), True)
    assert running.host.call("greet") == [expected]
