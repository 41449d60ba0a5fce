"""Every form of import of DESIGN.md §4, each before, during and after a swap."""

import gc
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest

from hotload_tui import HookHost
from hotload_tui.core.compiler import Compiler
from hotload_tui.core.errors import PluginError
from hotload_tui.core.hooks.point import Handler
from hotload_tui.core.runtime.context import LivePlugin
from hotload_tui.core.runtime.loader import Loader
from tests.conftest import Workspace
from tests.counts import ALL_CASES


class Form(NamedTuple):
    """A way to reach the plugin's own modules; the expression returns the word of their version."""

    imports: str
    expression: str


FORMS = [
    # the statements
    Form("from . import part", "part.WORD"),
    Form("from .part import WORD", "WORD"),
    Form("from .sub import deep", "deep.WORD"),
    Form("from .sub.deep import part", "part.WORD"),
    Form("import part", "part.WORD"),
    Form("from part import WORD", "WORD"),
    Form("import sub.deep", "sub.deep.WORD"),
    Form("import sub.deep as d", "d.WORD"),
    Form("from sub import deep", "deep.WORD"),
    Form("import greet.part", "greet.part.WORD"),
    Form("import greet.part as p", "p.WORD"),
    Form("import greet.sub.deep as d", "d.WORD"),
    Form("from greet import part", "part.WORD"),
    Form("from greet.sub.deep import WORD", "WORD"),
    Form("import greet, greet.part", "greet.part.WORD"),
    Form("import starred", "starred.WORD"),
    Form("import starred_absolute", "starred_absolute.WORD"),
    # functions
    Form("import importlib", "importlib.import_module('part').WORD"),
    Form("import importlib", "importlib.import_module('greet.part').WORD"),
    Form("import importlib", "importlib.import_module('.part', __package__).WORD"),
    Form("import importlib", "importlib.import_module('.deep', 'greet.sub').WORD"),
    Form("from importlib import import_module", "import_module('sub.deep').WORD"),
    Form("", "__import__('part').WORD"),
    Form("", "__import__('sub.deep').deep.WORD"),
    Form("", "__import__('greet.part', fromlist=['WORD']).WORD"),
    Form("", "__import__('part', globals(), None, ['WORD'], 1).WORD"),
    Form("import importlib", "importlib.__import__('part').WORD"),
    Form("names = {}\nexec('import part', names)", "names['part'].WORD"),
    Form("names = {}\nexec('from .part import *', globals(), names)", "names['WORD']"),
    Form("", "eval(\"__import__('part')\").WORD"),
    # circular imports, packages without __init__.py, modules with __getattr__, threads
    Form("import circle_a", "circle_a.circle_b.word()"),
    Form("from . import round_a", "round_a.round_b.word()"),
    Form("import bare.inner", "bare.inner.WORD"),
    Form("from .bare import inner", "inner.WORD"),
    Form("import importlib", "importlib.import_module('bare.inner').WORD"),
    Form("import lazy", "lazy.PROMISED"),
    Form("from lazy import PROMISED", "PROMISED"),
    Form("import threads", "threads.word()"),
    # searches for modules
    Form("import importlib.util", "last_word(importlib.util.find_spec('part'))"),
    Form("from importlib.util import find_spec", "last_word(find_spec('.part', __package__))"),
    Form("from importlib import util", "last_word(util.find_spec('greet.part'))"),
    Form("import importlib.util", "own() if importlib.util.find_spec('nowhere') is None else ''"),
    Form("import importlib.util", "own() if importlib.util.find_spec('sub.nowhere') is None else ''"),
    Form("import pkgutil, many", "next(pkgutil.iter_modules(many.__path__)).name"),
    Form("import pkgutil, many", "next(pkgutil.iter_modules(many.__path__, 'greet.many.')).name[11:]"),
    Form("import listed", "listed.word()"),
    Form("import listed", "listed.walked()"),
    Form("import sys", "sys.modules[__name__].own()"),
    Form("import plugin", "plugin.own()"),
    Form("from greet.plugin import own as entry", "entry()"),
    # files
    Form("from importlib.resources import files", "files(__package__).joinpath('word.txt').read_text()"),
    Form("from importlib.resources import files", "files('sub').joinpath('word.txt').read_text()"),
    Form("import importlib.resources", "text_in(importlib.resources.files('greet.sub'))"),
    Form("from importlib import resources", "resources.files('bare').joinpath('word.txt').read_text()"),
    Form("from importlib import resources; import sub", "text_in(resources.files(sub))"),
    Form("import pkgutil", "pkgutil.get_data(__package__, 'word.txt').decode()"),
    Form("import pkgutil", "pkgutil.get_data('sub', 'word.txt').decode()"),
    Form("import pkgutil", "pkgutil.get_data('greet.bare', 'word.txt').decode()"),
    Form("import part", "part.WORD if part.__file__ == __file__.replace('plugin.py', 'part.py') else ''"),
    Form("from pathlib import Path", "own() if (Path(__file__).parent / 'word.txt').read_text() else ''"),
    # libraries that look up modules by the name of a class
    Form("import pickle, part", "pickle.loads(pickle.dumps(part.Point())).tell()"),
    Form("import pickle, part", "pickle.loads(pickle.dumps(part.Pair(1, part.WORD))).word"),
    Form("import pickle, part", "pickle._loads(pickle._dumps(part.Point())).tell()"),
    Form("import pickle, part", "pickle.loads(pickle.dumps(part.Colour.RED)).tell()"),
    Form("import pickle, part", "pickle.loads(pickle.dumps(part.word))()"),
    Form("import copy, part", "copy.deepcopy(part.Point()).tell()"),
    Form("import copy, part", "copy.copy(part.Colour.RED).tell()"),
    Form("import dataclasses, shapes", "dataclasses.asdict(shapes.Spot())['word']"),
    Form("import shapes", "shapes.made_now()().word"),
    Form("import typing, shapes", "typing.get_type_hints(shapes.Spot)['point'].tell(None)"),
    Form("import typing, shapes", "typing.get_type_hints(shapes.where)['return'].tell(None)"),
    Form("import inspect, part", "inspect.getsource(part.Point).split(chr(39))[1]"),
    Form("import inspect, part", "inspect.getsource(part.word).split(chr(39))[1]"),
    Form("import inspect, part", "inspect.getsource(inspect.getmodule(part.word)).split()[-1][1:-1]"),
    Form("import part", "part.tell_of(part.Point())"),
    Form("import part", "part.Point().tell() if isinstance(part.Child(), part.Base) else ''"),
    Form("import patching", "patching.word()"),
    Form("import logging.config", "configured(logging.config)"),
    Form("from logging import config", "configured(config)"),
    Form("import logging.config", "configured_by_file(logging.config)"),
    Form("from logging.config import fileConfig", "configured_by_file(fileConfig)"),
]  # fmt: skip

WAYS = ["at once", "late", "late, and first after the swap"]
"""When a plugin imports: every second form is tried in one way; with ``ALL_CASES``, each in all ways."""

_ENTRY = """
def own():
    from . import part
    return part.WORD

def last_word(spec):
    return spec.loader.get_source("").split()[-1][1:-1]

def text_in(folder):
    return folder.joinpath("word.txt").read_text()

def configured(config):
    handlers = {"h": {"class": "part.Handler"}, "g": {"class": "greet.part.Handler"}}
    config.dictConfig({"version": 1, "disable_existing_loggers": False, "incremental": False,
                       "handlers": handlers, "loggers": {"import_forms": {"handlers": ["h", "g"]}}})
    return what_handlers_tell()

def configured_by_file(config):
    import configparser
    parser = configparser.ConfigParser()
    parser.read_dict({
        "loggers": {"keys": "root,import_forms"}, "handlers": {"keys": "h,g"}, "formatters": {"keys": ""},
        "logger_root": {"handlers": ""},
        "logger_import_forms": {"handlers": "h,g", "qualname": "import_forms"},
        "handler_h": {"class": "part.Handler"}, "handler_g": {"class": "greet.part.Handler"},
    })
    getattr(config, "fileConfig", config)(parser, disable_existing_loggers=False)
    return what_handlers_tell()

def what_handlers_tell():
    import logging
    told = {handler.tell() for handler in logging.getLogger("import_forms").handlers}
    logging.getLogger("import_forms").handlers.clear()
    return ", ".join(told)
"""
_REGISTER = "\n\ndef register(ctx):\n    ctx.hook('greet', answer)\n"
AT_ONCE = _ENTRY + "IMPORTS\n\ndef answer():\n    return EXPRESSION" + _REGISTER
LATE = _ENTRY + "def answer():\n    IMPORTS\n    return EXPRESSION" + _REGISTER

_FILES = {
    "part.py": """
import abc, enum, functools, logging, typing

class Point:
    told = 'WORD'
    def tell(self):
        return WORD

class Pair(typing.NamedTuple):
    number: int
    word: str

class Colour(enum.Enum):
    RED = 1
    def tell(self):
        return WORD

def word():
    return 'WORD'

@functools.singledispatch
def tell_of(value):
    return "nothing known"

@tell_of.register
def _(value: Point):
    return value.tell()

class Base(abc.ABC):
    @abc.abstractmethod
    def go(self): ...

class Child(Base):
    def go(self): ...

class Handler(logging.NullHandler):
    def tell(self):
        return WORD

WORD = 'WORD'
""",
    "shapes.py": """
from __future__ import annotations
import dataclasses
from typing import ClassVar
from . import part

@dataclasses.dataclass(slots=True)
class Spot:
    count: ClassVar[int] = 0
    point: part.Point | None = None
    word: str = part.WORD

Spot.__annotations__["point"] = "part.Point"

def where() -> part.Point: ...

def made_now():
    @dataclasses.dataclass
    class Late:
        count: ClassVar[int] = 0
        word: str = part.WORD
    assert [field.name for field in dataclasses.fields(Late)] == ["word"]
    return Late
""",
    "patching.py": """
from unittest import mock
import part

def word():
    with mock.patch("hotplug.greet.part.WORD", "patched"):
        assert part.WORD == "patched"
    with mock.patch(f"{part.__name__}.WORD", "patched"):
        assert part.WORD == "patched"
    return part.WORD
""",
    "threads.py": """
from concurrent.futures import ThreadPoolExecutor

def word():
    with ThreadPoolExecutor(4) as pool:
        modules = set(pool.map(lambda _: fetch(), range(8)))
    assert len(modules) == 1
    return modules.pop().WORD

def fetch():
    import fetched
    return fetched
""",
    "listed.py": """
import pkgutil
import many

def word():
    info = next(pkgutil.iter_modules(many.__path__))
    return info.module_finder.find_spec(info.name).loader.get_source("").split("'")[1]

def walked():
    import greet
    below = [info.name for info in pkgutil.walk_packages(greet.__path__, "greet.")]
    return next(name for name in below if name.startswith("greet.many.")).removeprefix("greet.many.")
""",
    "fetched.py": "from part import WORD\n",
    "starred.py": "from .part import *\n",
    "starred_absolute.py": "from greet.part import *\n",
    "lazy.py": """
def __getattr__(name):
    if name != "PROMISED":
        raise AttributeError(name)
    import part
    return part.WORD
""",
    "circle_a.py": "import greet.circle_b\nimport circle_b\nfrom part import WORD\n",
    "circle_b.py": "import circle_a\ndef word():\n    return circle_a.WORD\n",
    "round_a.py": "from . import round_b\nfrom .part import WORD\n",
    "round_b.py": "from . import round_a\ndef word():\n    return round_a.WORD\n",
    "sub/__init__.py": "",
    "sub/deep.py": "from .. import part\nfrom ..part import WORD\n",
    "sub/word.txt": "WORD",
    "bare/inner.py": "from part import WORD\n",
    "bare/word.txt": "WORD",
    "word.txt": "WORD",
    "many/__init__.py": "",
}  # fmt: skip


class Stage:
    """One plugin for each form, named ``f0000`` and so on; its files contain the word of their version."""

    def __init__(self, workspace: Workspace) -> None:
        self.loader = Loader(HookHost(), workspace.config())
        self._workspace = workspace

    def trial(self, name: str, source: str, word: str) -> LivePlugin:
        """Save all files of a plugin with ``word``, compile and load it without making it live."""
        for path, content in _FILES.items():
            self._workspace[f"{name}/{path}"] = (
                content.replace("WORD'", f"{word}'").replace("greet", name) if path.endswith(".py") else word
            )
        folder = self._workspace.plugins / name
        for module in (folder / "many").glob("[!_]*.py"):
            module.unlink()
        self._workspace[f"{name}/many/{word}.py"] = f"'{word}'\n"
        self._workspace[name] = source.replace("greet", name)
        return self.loader.trial(name, Compiler(self._workspace.compiled).compile(folder).artifact)

    def fail(self, name: str, source: str, word: str) -> None:
        """Load a version that fails after its imports."""
        with pytest.raises(PluginError):
            self.trial(name, source, word)

    def swap(self, trials: list[LivePlugin]) -> None:
        """Make these versions live, and retire the previous ones."""
        self.loader.swap(trials)
        self.loader.retire()


@pytest.fixture
def stage(workspace: Workspace) -> Iterator[Stage]:
    """Yield a loader, and check afterwards that unloading leaves no finder and no module."""
    finders, known = sys.meta_path.copy(), set(sys.modules)
    stage = Stage(workspace)
    yield stage
    for name in stage.loader.names():
        stage.loader.unload(name)
    stage.loader.retire()
    gc.collect()
    assert sys.meta_path == finders
    assert [name for name in set(sys.modules) - known if name.startswith("hotplug")] == []


def answer(handler: Handler) -> object:
    """Return the handler's answer, or its error as text so that the other forms are still checked."""
    try:
        return handler.call()
    except Exception as error:
        return repr(error)


@pytest.mark.timeout(600)  # eighty plugins, four times
@pytest.mark.parametrize("way", WAYS)
def test_every_form_of_import_reaches_the_own_generation(stage: Stage, way: str) -> None:
    """Before, during and after a swap, and after failed loads, each version sees its own modules."""
    template = AT_ONCE if way == "at once" else LATE
    forms, sources = {}, {}
    for number, (imports, expression) in enumerate(FORMS if ALL_CASES else FORMS[WAYS.index(way) :: 6]):
        indented = imports.replace("\n", "\n    ") if template is LATE else imports
        forms[f"f{number:04}"] = f"{imports}; {expression}"
        sources[f"f{number:04}"] = template.replace("IMPORTS", indented).replace("EXPRESSION", expression)
    waits = "first after" in way
    asked = set() if waits else set(forms)

    def others(handlers: Mapping[str, Handler], word: str) -> dict[str, object]:
        told = {form: answer(handlers[name]) for name, form in forms.items() if name in asked}
        return {form: said for form, said in told.items() if said != word}

    first = [stage.trial(name, source, "one") for name, source in sources.items()]
    stage.swap(first)
    old = {trial.name: trial.handlers[0] for trial in first}
    del first
    assert others(old, "one") == {}

    second = [stage.trial(name, source, "two") for name, source in sources.items()]  # both are loaded
    new = {trial.name: trial.handlers[0] for trial in second}
    assert others(new, "two") == {}
    # A file has one entry in linecache, which belongs to the newer version until the older one retires.
    asked = {name for name in asked if "getsource" not in forms[name]}
    assert others(old, "one") == {}
    for name, source in sources.items() if not waits else ():
        stage.fail(name, f"{source}    answer()\n    raise SystemExit\n", "three")
        assert name not in asked or answer(old[name]) == "one"

    stage.swap(second)
    del second
    asked = set(forms)
    assert others(old, "one") == {}
    assert others(new, "two") == {}
    for name, source in sources.items() if not waits else ():
        stage.fail(name, f"{source}    answer()\n    1 / 0\n", "four")
        assert (answer(new[name]), answer(old[name])) == ("two", "one"), forms[name]
