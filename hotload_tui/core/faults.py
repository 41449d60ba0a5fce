"""Turn an exception into a ``Fault``: plain data with the source as it was loaded.

Values of built-in types are shown in short form, all others by their type. Only the text of an exception and
the ``repr`` of an argument run code of a plugin, and they do so in a separate thread, within a time limit.
Everything else is read without running code of the object's class or of its metaclass.
"""

from __future__ import annotations

import codecs
import contextvars
import difflib
import itertools
import linecache
import os
import re
import shlex
import site
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.abc import InspectLoader
from pathlib import Path
from time import time as clock  # a plugin can replace it
from types import CodeType, FrameType, MemberDescriptorType, ModuleType, TracebackType
from typing import Final, Literal, TypeAlias, TypeGuard, TypeVar, cast

from msgspec.structs import replace

from hotload_tui.core.errors import PluginError
from hotload_tui.core.interpreter import variables_of
from hotload_tui.core.limits import BoundedCall
from hotload_tui.core.model import Fault, Frame, Owner, Phase, encodable
from hotload_tui.core.module_names import installed_spec, module_of_class

_T = TypeVar("_T")

FOREIGN: Final = (Exception, SystemExit, GeneratorExit)
"""The exceptions from foreign code that are caught here; each of them spoils only one description."""

DESCRIPTION = 1.0  # seconds that the code of an object may take to describe it

_MESSAGE = 4096  # characters
_NAMES = 30  # locals per frame
_SHOWN = 240  # characters of a value
_TEXT = 80  # characters of one text in it
_ITEMS, _DEPTH = 6, 4
_BITS = 1024  # bits of the largest integer that is written out
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class statement created the type, not the interpreter
_MASK = "••• (masked)"
_SECRETS: Final = frozenset(
    (
        *("password", "passwd", "passphrase", "token", "secret", "credential", "cookie", "auth"),
        *("authorization", "apikey", "api_key", "access_key", "private_key", "auth_key", "encryption_key"),
        *("signing_key", "session_key"),
    )
)
_PLURAL: Final = {f"{word}s": word for word in _SECRETS}
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_BRACKETS: Final = {list: "[]", tuple: "()", set: "{}", frozenset: "{}"}

# Well-known modules whose distribution has another name. ``importlib.metadata`` knows this for installed
# distributions only, and a missing module has none.
_DISTRIBUTIONS: Final = (
    "Crypto=pycryptodome MySQLdb=mysqlclient OpenSSL=pyOpenSSL PIL=Pillow attr=attrs bs4=beautifulsoup4"
    " Cython=hotload-tui[cython]"
    " cairo=pycairo cv2=opencv-python dateutil=python-dateutil discord=discord.py dns=dnspython"
    " docx=python-docx dotenv=python-dotenv fitz=PyMuPDF git=GitPython gi=PyGObject jose=python-jose"
    " jwt=PyJWT ldap=python-ldap magic=python-magic mpl_toolkits=matplotlib nacl=PyNaCl"
    " pkg_resources=setuptools pptx=python-pptx rest_framework=djangorestframework serial=pyserial"
    " skimage=scikit-image sklearn=scikit-learn slugify=python-slugify telegram=python-telegram-bot"
    " usb=pyusb win32api=pywin32 wx=wxPython yaml=PyYAML zmq=pyzmq"
)


def locals_of(frame: FrameType) -> tuple[tuple[str, str], ...]:
    """Return the names of a frame's locals with short representations of their values; secrets are masked."""
    if frame.f_code.co_name == "<module>":
        return ()  # the source shows a module's variables
    found = variables_of(frame)
    if type(found) is not dict and isinstance(found, dict):
        return ()  # a class body whose metaclass made the namespace
    names = itertools.islice(list(found.items()), _NAMES)
    return tuple((encodable(name), _cut(_masked(name, value, _DEPTH))) for name, value in names)


# A plugin's class can replace every attribute of an exception by a property, and its metaclass those of the
# class. The descriptors of the built-in types give the values without running such code.
_KIND: Final = vars(type)
_ERROR: Final = vars(BaseException)


def class_name(kind: type) -> str:
    """Return the qualified name of a class."""
    return encodable(str(_KIND["__qualname__"].__get__(kind)))


def _module_name(kind: type) -> str:
    found = module_of_class(kind)
    return found if type(found) is str else "?"


def _is_built_in(kind: type) -> bool:
    return not _KIND["__flags__"].__get__(kind) & _HEAP_TYPE


def _is_a(thing: object, kind: type[_T]) -> TypeGuard[_T]:
    """Return whether ``thing`` really is an instance; its class can pretend to be another."""
    return issubclass(type(thing), kind)


def cause_of(error: BaseException) -> BaseException | None:
    """Return the exception from which ``error`` was raised."""
    found: BaseException | None = _ERROR["__cause__"].__get__(error)
    return found


def context_of(error: BaseException) -> BaseException | None:
    """Return the exception during whose handling ``error`` was raised."""
    found: BaseException | None = _ERROR["__context__"].__get__(error)
    return found


def trace_in(error: BaseException) -> TracebackType | None:
    """Return the traceback of ``error``."""
    found: TracebackType | None = _ERROR["__traceback__"].__get__(error)
    return found


def members_of(error: BaseException) -> tuple[BaseException, ...]:
    """Return the exceptions of a group; empty for another exception."""
    found: tuple[BaseException, ...] = ()
    if _is_a(error, BaseExceptionGroup):
        found = vars(BaseExceptionGroup)["exceptions"].__get__(error)
    return found


def _field(error: BaseException, kind: type[BaseException], name: str) -> object:
    """Return what a built-in class of exceptions keeps under a name; ``None`` if it keeps nothing there."""
    return vars(kind)[name].__get__(error) if name in vars(kind) and _is_a(error, kind) else None


def _has_plain_text(error: BaseException) -> bool:
    """Return whether the text of an exception runs only code of the interpreter."""
    values = list(_ERROR["args"].__get__(error))
    for kind in _KIND["__mro__"].__get__(type(error)):
        own = _KIND["__dict__"].__get__(kind)
        if not _is_built_in(kind):
            if "__str__" in own or "__repr__" in own:
                return False
        elif kind not in (BaseException, object):
            values += [part.__get__(error) for part in own.values() if type(part) is MemberDescriptorType]
    return all(type(value) in _PLAIN for value in values)


_PLAIN: Final = (str, bytes, int, float, bool, type(None))


class _Questions:
    """Runs the code of objects for their texts; after code that took too long, it runs none any more."""

    def __init__(self) -> None:
        self._is_tired = False

    def ask(self, function: Callable[[], str], what: str) -> tuple[str, str]:
        """Return the text that ``function`` returns, or else what is wrong with ``what``."""
        if self._is_tired:
            return "", f"{what} is not called, because other code took too long"
        context = contextvars.copy_context()
        call = BoundedCall(lambda: str.__str__(context.run(function)), "hotload-description")
        if not call.ends_within(DESCRIPTION):
            self._is_tired = True
            call.interrupt()
            return "", f"{what} did not end within {DESCRIPTION:g} s"
        error, call.error = call.error, None  # else a cycle would keep its frames
        if error is not None:
            return "", f"{what} raised {class_name(type(error))}"
        return call.value or "", ""

    def message_of(self, error: BaseException) -> str:
        """Return the text of an exception, cut to 4096 characters."""
        problem, text = "", _field(error, SyntaxError, "msg")
        if type(text) is not str:
            if _has_plain_text(error):
                text = str(error)
            else:
                text, problem = self.ask(lambda: str(error), "__str__")
        if problem:
            return f"<its text cannot be shown: {problem}>"
        assert isinstance(text, str)
        return encodable(text if len(text) <= _MESSAGE else f"{text[:_MESSAGE]}… ({len(text):,} characters)")


def message_of(error: BaseException) -> str:
    """Return the exception's text, cut to 4096 characters."""
    return _Questions().message_of(error)


def missing_module(error: BaseException) -> str:
    """Return the module that must be installed to fix the error; empty if the error has another cause."""
    name = _field(error, ImportError, "name") if _is_a(error, ModuleNotFoundError) else None
    if type(name) is not str or not name.isidentifier():
        return ""  # a dotted name belongs to an installed package or to a plugin
    return "" if name in sys.stdlib_module_names or name in sys.modules else name


def install_advice(module: str) -> str:
    """Say where a missing module is, or which package provides it and how to install that for this Python."""
    for own in (f"{module}.py", f"{module}/__init__.py"):
        if Path(own).is_file():  # a package of this name from elsewhere would be the wrong one
            return f"{own} is in the working directory, where Python does not look: start with PYTHONPATH=."
    known = re.search(rf"\b{re.escape(module)}=(\S+)", _DISTRIBUTIONS)
    python = shlex.quote(encodable(sys.executable)) if sys.executable else "python"
    command = f"{python} -m pip install"
    if installed_spec("pip") is None:  # as in an environment that uv made
        command = f"uv pip install --python {python}"
    if known:
        return f"install {known[1]}, which provides '{module}': {command} {shlex.quote(known[1])}"
    return f"install the package that provides '{module}', perhaps with: {command} {module}"


TWICE: Final = 'the previous version still holds it; use ctx.own or reload = "replace"'
"""The hint for a fault that is typical of a second claim to an exclusive resource."""
LEFT_BEHIND: Final = (
    "an earlier version has left it behind: release it in on_unload, or hand it over with ctx.own "
    "(docs/recipes.md has functions for libraries), and restart the host once"
)
"""The same hint if that version has left, but the register of a library still has the entry."""

_CLAIMED_TWICE: Final = re.compile(
    r"Address already in use|Only one usage of each socket address"  # a port
    r"|Duplicated timeseries|already defined for this MetaData|Conflicting '?\S*'? ?models"
    r"|[Aa]lready (been )?(registered|defined|exists|taken|in use|loaded|added|attached|mounted|handled)"
    r"|already an existing|conflicting (subparser|option string)|resource busy"
    r"|conflicts with an existing|overwriting an existing|ConflictingIdError|File exists"
)


def is_claimed_twice(fault: Fault) -> bool:
    """Return whether a fault or one of its causes is typical of a second claim to an exclusive resource."""
    return _second_claim(fault) is not None


def _second_claim(fault: Fault) -> Fault | None:
    if _CLAIMED_TWICE.search(f"{fault.type}: {fault.message}"):
        return fault
    return next(filter(None, map(_second_claim, fault.causes)), None)


def claim_hint(fault: Fault, failed: str, previous: str, others: Iterable[tuple[str, str]]) -> str:
    """Return who may hold what a fault says is taken; empty if that is the host, or not known.

    ``failed`` is the source of the version that failed, ``previous`` that of the live version, and ``others``
    are the other live plugins with theirs.
    """
    claim = _second_claim(fault)
    if claim is None:
        return ""
    message = f"{claim.type}: {claim.message}"
    words = [part for word in _NAME.findall(message) for part in _parts_of(word)]
    names = [word for word in dict.fromkeys(words) if _has_name(failed, word)]
    is_previous = _has_all(previous, names) if names else _has_line(previous, claim)
    holders = [plugin for plugin, text in others if _has_all(text, names)] if names else []
    if not holders:
        return TWICE if is_previous else ""
    plugins = " or ".join(f"plugin {plugin}" for plugin in holders[:_HOLDERS])
    if is_previous:
        return f"{TWICE.replace('version', f'version or {plugins}', 1)}, or another name"
    return f"{plugins} may hold it: its code names it, too"


_HOLDERS = 3  # plugins that a hint names
_NAME: Final = re.compile(r"\w[\w./-]+|/[\w./-]+")
_CALLED: Final = re.compile(r"(\w+)\s*\(")


def _parts_of(word: str) -> list[str]:
    """Return a word and the parts of a dotted one; nothing for an IP address, which many may use."""
    if re.fullmatch(r"\d+(\.\d+)+", word):
        return []
    return [part for part in (word, *word.split(".")) if len(part) > 1]


def _has_name(text: str, word: str) -> bool:
    """Return whether a source has a word as a string, a number, or the name of a class or function.

    Libraries change the case of some names.
    """
    name = re.escape(word)
    is_number = word.isdigit() and re.search(rf"(?<![\w.]){name}(?![\w.])", text)
    strings = rf"([\"']){name}\1|\b(?:class|def)\s+{name}\b"
    return bool(is_number or re.search(strings, text, re.IGNORECASE))


def _has_all(text: str, names: list[str]) -> bool:
    return all(_has_name(text, name) for name in names)


def _has_line(text: str, fault: Fault) -> bool:
    """Return whether a source has the calls of the line that raised."""
    frame = next((frame for frame in reversed(fault.frames) if frame.owner == "plugin"), None)
    if frame is None or not 0 <= frame.line - frame.first_line < len(frame.lines):
        return False
    line = frame.lines[frame.line - frame.first_line].strip()
    called = {*_CALLED.findall(line)}
    return called.issubset(_CALLED.findall(text)) if called else line in text


def notes_of(error: BaseException) -> Iterator[str]:
    """Yield the exception's notes, and hints: the nearest name, an encoding, how to install a module."""
    notes = dict.get(_ERROR["__dict__"].__get__(error), "__notes__")
    if type(notes) is list:
        yield from (encodable(note[:_MESSAGE]) for note in notes if type(note) is str)
    wanted, names = _looked_for(error)
    nearest = difflib.get_close_matches(wanted, names, n=1) if wanted else []
    if nearest:
        yield f"Did you mean: '{encodable(nearest[0])}'?"
    if encoding := _encoding_of(error):
        yield f'The bytes can be read as {encoding}: pass encoding="{encoding}"'
    if module := missing_module(error):
        yield install_advice(module)


_SAMPLE: Final = 1 << 16  # bytes that are tried
_MARKS: Final = (
    *((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32")),
    *((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")),
)


def _encoding_of(error: BaseException) -> str:
    """Return an encoding in which bytes that could not be decoded are text; empty if they seem to be none."""
    found, tried = (_field(error, UnicodeDecodeError, name) for name in ("object", "encoding"))
    if type(found) is not bytes or type(tried) is not str:
        return ""
    sample = found[:_SAMPLE]
    marked = next((name for mark, name in _MARKS if sample.startswith(mark)), "")
    for name in (marked,) if marked else ("utf-8", "cp1252", "latin-1"):
        if name == tried.lower().replace("_", "-"):
            continue
        try:
            text = codecs.getincrementaldecoder(name)().decode(sample)
        except (UnicodeError, LookupError):
            continue
        if all(character.isprintable() or character in "\t\n\r\f\ufeff" for character in text):
            return name
    return ""


def _looked_for(error: BaseException) -> tuple[str, Iterable[str]]:
    """Return the missing name and the existing names; the interpreter's own hint would run plugin code."""
    if _is_a(error, PluginError):
        return "", ()
    trace = trace_in(error)
    name = _field(error, NameError, "name")
    if type(name) is str and trace is not None:
        while trace.tb_next is not None:
            trace = trace.tb_next
        frame = trace.tb_frame
        return name, _strings(*variables_of(frame), *dict.keys(frame.f_globals), *frame.f_builtins)
    name = _field(error, ImportError, "name")
    if type(name) is str:
        wanted = _field(error, ImportError, "name_from")  # from Python 3.12 on
        module = sys.modules.get(name)
        is_known = type(module) is ModuleType or _is_ours(module)
        return (wanted, _strings(*vars(module))) if type(wanted) is str and is_known else ("", ())
    name = _field(error, AttributeError, "name")
    if type(name) is str:
        kind = type(_field(error, AttributeError, "obj"))
        return name, _strings(*dir(kind)) if _is_built_in(kind) else ()
    return "", ()


def _is_ours(thing: object) -> bool:
    """Return whether an object is of a class of this package, and not of a plugin."""
    return _module_name(type(thing)).startswith(f"{_PACKAGE}.")


def _strings(*names: object) -> list[str]:
    return [name for name in names if type(name) is str]


def secret_in(name: str) -> str:
    """Return the word that marks a name as that of a secret; empty if there is none.

    Only whole words count: ``key``, ``author`` and ``monkey`` are no secrets, ``apiKey`` and ``API_KEY`` are.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    parts = (*words, *map("_".join, itertools.pairwise(words)))
    return next((_PLURAL.get(part, part) for part in parts if part in _PLURAL or part in _SECRETS), "")


_MASKED_NAME: Final = re.compile(rf"([\w.-]+)['\"]?\s*[=:]\s*{re.escape(_MASK)}")


def masked_names(fault: Fault) -> dict[str, str]:
    """Return the names whose values a fault and its causes mask, each with the word that is the reason."""
    texts = [f"{name} = {value}" for frame in fault.frames for name, value in frame.locals]
    found = {
        name: secret_in(name) for text in (*texts, *fault.arguments) for name in _MASKED_NAME.findall(text)
    }
    for cause in fault.causes:
        found |= masked_names(cause)
    return found


def _masked(name: object, value: object, depth: int) -> str:
    if type(name) is str and secret_in(name):
        return _MASK
    return _shown(value, depth)


def _shown(value: object, depth: int) -> str:
    if value is None or type(value) in (bool, float, complex):
        return repr(value)
    if type(value) is int:
        bits = value.bit_length()
        return repr(value) if bits <= _BITS else f"<int of {bits} bits>"
    if type(value) is str or type(value) is bytes:
        return repr(value) if len(value) <= _TEXT else f"{value[:_TEXT]!r}… ({len(value):,} long)"
    if type(value) is dict:
        pairs = list(itertools.islice(value.items(), _ITEMS)) if depth else []
        parts = [f"{_shown(key, depth - 1)}: {_masked(key, item, depth - 1)}" for key, item in pairs]
        return f"{{{_joined(parts, len(value))}}}"
    if type(value) in _BRACKETS:
        return _collection(value, depth)
    return f"<{_module_name(type(value))}.{class_name(type(value))} object>"


def _collection(value: object, depth: int) -> str:
    assert isinstance(value, list | tuple | set | frozenset)
    if not value and not isinstance(value, list | tuple):
        return f"{type(value).__name__}()"
    parts = [_shown(item, depth - 1) for item in itertools.islice(value, _ITEMS)] if depth else []
    if isinstance(value, tuple) and len(value) == 1 and depth:
        parts.append("")  # (1,)
    brackets = _BRACKETS[type(value)]
    return f"{brackets[0]}{_joined(parts, len(value))}{brackets[1]}".replace(", )", ",)")


def _joined(parts: list[str], length: int) -> str:
    return ", ".join([*parts, "…"] if length > len(parts) else parts)


def _cut(text: str) -> str:
    return encodable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


TextOf = Callable[[str], str | None]
"""Returns the text of a source file as it was compiled, or ``None`` for an unknown file."""

_Relation: TypeAlias = Literal["", "cause", "context", "member"]

_CONTEXT = 7  # lines kept on each side of the failing line
_NEWEST, _OLDEST = 40, 20  # frames kept of a deep recursion
_EXCEPTIONS = 50  # exceptions of a chain or group that are described
_PACKAGE = __name__.partition(".")[0]
_LIBRARIES: Final = tuple(
    {
        str(Path(path).resolve())
        for path in (*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages())
        if path and path != sysconfig.get_paths().get("data")
    }
)


def fault_of(
    error: BaseException,
    *,
    phase: Phase,
    plugin: str,
    module_path: str,
    generation: int = 0,
    text_of: TextOf = lambda _: None,
    own_places: tuple[str, ...] = (),
) -> Fault:
    """Return the fault for ``error``, raised in ``phase`` of ``plugin``; never raises.

    For a ``PluginError`` that was raised from a plugin's exception, the fault describes that exception.
    Modules below ``module_path`` belong to plugins, and so does code from the folders and files
    ``own_places``. ``text_of`` returns sources that were compiled but never executed.
    """
    notes: tuple[str, ...] = ()
    cause = cause_of(error)
    if _is_a(error, PluginError) and cause is not None:
        notes = tuple(notes_of(error))  # what a failed load left behind
        error = cause
    describer = _Describer(phase, plugin, f"{module_path}.", text_of, own_places)
    try:
        fault = describer.describe(error, "")
    except FOREIGN as failure:  # foreign code: reading a part of an exception may raise
        kind, other = class_name(type(error)), class_name(type(failure))
        message = f"<it cannot be described: looking at it raised {other}>"
        fault = Fault(phase=phase, plugin=plugin, type=kind, message=message, at=clock())
    culprit = raised_by(error, module_path)
    if culprit and re.sub(r"\W", "_", plugin) not in culprit:
        notes = (*notes, f"the exception comes from code of plugin {culprit}; disable it if it should not")
    return replace(fault, generation=generation, notes=(*fault.notes, *notes))


def raised_by(error: BaseException, module_path: str) -> str:
    """Return the plugin whose code raised an exception, as in module names; empty for other code.

    A plugin can replace a function that the engine and other plugins call.
    """
    trace, newest = trace_in(error), None
    while trace is not None:
        trace, newest = trace.tb_next, trace
    head, _, rest = _module_of(newest.tb_frame).partition(".") if newest is not None else ("", "", "")
    return rest.partition(".")[0] if head == module_path else ""


_ARGUMENTS = 8  # arguments of a call that are shown
_NAMED_IN_TEXT = re.compile(r"(\w+)(['\"]?\s*[=:]\s*)([^,)}\]]+)")


def _masked_in_text(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{_MASK}" if secret_in(found[1]) else found[0]


def arguments_of(
    args: Sequence[object], kwargs: Mapping[str, object], names: Sequence[str]
) -> tuple[str, ...]:
    """Return short representations of a call's arguments, those by name as ``name=value``; never raises.

    ``repr`` is called for objects of other than built-in types. Secrets are masked, also those among
    ``args``, whose parameters have these ``names`` (some, if not all are known).
    """
    known = itertools.chain(names, itertools.repeat(""))
    given = [*zip(itertools.repeat(""), known, args), *((f"{name}=", name, kwargs[name]) for name in kwargs)]
    questions = _Questions()
    shown = [
        encodable(f"{name}=" if not before and secret_in(name) else before)
        + _argument(name, value, questions)
        for before, name, value in given[:_ARGUMENTS]
    ]
    more = len(given) - len(shown)
    return (*shown, f"and {more} more") if more else tuple(shown)


def _argument(name: str, value: object, questions: _Questions) -> str:
    text = _masked(name, value, _DEPTH)
    if text.endswith(" object>") and _describes_itself(type(value)):
        text, problem = questions.ask(lambda: repr(value), "its repr")
        text = _NAMED_IN_TEXT.sub(_masked_in_text, text)
        text = f"<{class_name(type(value)).rpartition('.')[2]}: {problem}>" if problem else text
    text = " ".join(text.split())
    return encodable(text if len(text) <= _TEXT else f"{text[:_TEXT]}…")


def _describes_itself(kind: type) -> bool:
    bases = [_KIND["__dict__"].__get__(base) for base in _KIND["__mro__"].__get__(kind)]
    return any("__repr__" in own for own in bases[:-1])  # the last is ``object``


def trace_text(fault: Fault) -> str:
    """Return the traceback of a fault and its causes as text, with the source as it was loaded."""
    return "\n".join(_trace_lines(fault))


def _trace_lines(fault: Fault) -> Iterator[str]:
    for cause in fault.causes:
        yield from (f"  {line}" if cause.relation == "member" else line for line in _trace_lines(cause))
        if cause.relation in _JOINTS:
            yield _JOINTS[cause.relation]
    if fault.frames:
        yield "Traceback (most recent call last):"
    for frame in fault.frames:
        yield f'  File "{frame.file}", line {frame.line}, in {frame.function}'
        index = frame.line - frame.first_line
        if 0 <= index < len(frame.lines):
            yield f"    {frame.lines[index].strip()}"
    yield f"{fault.printed_type}: {fault.message}"
    yield from fault.notes


_JOINTS = {
    "cause": "\nThe above exception was the direct cause of the following exception:\n",
    "context": "\nDuring handling of the above exception, another exception occurred:\n",
}


class _Describer:
    """Describes one exception and the exceptions that belong to it."""

    def __init__(
        self, phase: Phase, plugin: str, prefix: str, text_of: TextOf, folders: tuple[str, ...]
    ) -> None:
        self._phase = phase
        self._plugin = plugin
        self._prefix = prefix
        self._text_of = text_of
        # Python's own messages contain the unique or the stable module names; authors know the short names.
        self._as_written = re.compile(rf"(?<![\w.]){re.escape(prefix)}(\w+)(?:\.g\d+_[0-9a-f]{{12}}x*)?")
        self._at = clock()
        self._seen: set[int] = set()
        self._lines: dict[tuple[int, str], list[str]] = {}
        self._folders = folders
        self._questions = _Questions()

    def describe(self, error: BaseException, relation: _Relation) -> Fault:
        self._seen.add(id(error))
        traces, left_out = _shortened(list(_traces(trace_in(error))))
        self._folders += tuple({*map(self._folder, traces)} - {"", *self._folders})
        frames = _counted([self._frame(trace) for trace in traces], left_out)
        place = self._place_of(error)
        causes, is_cut = self._causes(error)
        notes = [*notes_of(error)]
        if left_out:
            notes.append(f"{len(left_out)} frames of a deep recursion are left out")
        if is_cut:
            notes.append("more exceptions belong to this one; they are left out")
        return Fault(
            phase=self._phase,
            plugin=self._plugin,
            type=class_name(type(error)),
            message=self._as_written.sub(r"\1", self._questions.message_of(error)),
            at=self._at,
            notes=tuple(notes),
            frames=(*frames, place) if place else tuple(frames),
            causes=causes,
            relation=relation,
            missing_module=missing_module(error),
            module=self._printed_module(type(error)),
            missing_program=error.program if _is_a(error, PluginError) else "",
        )

    def _printed_module(self, kind: type) -> str:
        """Return the module that Python prints before a class; authors know their classes without it."""
        module = _module_name(kind)
        is_known = module in ("builtins", "__main__") or module.startswith((self._prefix, f"{_PACKAGE}."))
        return "" if is_known else encodable(module)

    def _causes(self, error: BaseException) -> tuple[tuple[Fault, ...], bool]:
        """Return the faults that led to an exception, and whether some are left out."""
        related: list[tuple[BaseException | None, _Relation]] = [
            (member, "member") for member in members_of(error)
        ]
        cause = cause_of(error)
        if cause is not None or _ERROR["__suppress_context__"].__get__(error):
            related.append((cause, "cause"))
        else:
            related.append((context_of(error), "context"))
        found: list[Fault] = []
        for other, relation in related:
            if other is None or id(other) in self._seen:
                continue
            if len(self._seen) >= _EXCEPTIONS:
                return tuple(found), True
            found.append(self.describe(other, relation))
        return tuple(found), False

    def _frame(self, trace: TracebackType) -> Frame:
        code = trace.tb_frame.f_code
        owner = self._owner(trace.tb_frame)
        line, end_line, column, end_column = _position(trace)
        lines = self._lines_of(trace.tb_frame, owner)
        excerpt, first = _excerpt(lines, line, _CONTEXT if owner == "plugin" else 0)
        failing = lines[line - 1] if 0 < line <= len(lines) else ""
        ending = lines[end_line - 1] if 0 < end_line <= len(lines) else ""
        return Frame(
            file=encodable(_real_file(code.co_filename) if owner == "plugin" else code.co_filename),
            line=line,
            function=_function_name(code),
            owner=owner,
            end_line=end_line,
            column=_characters(failing, column),
            end_column=_characters(ending, end_column),
            lines=excerpt,
            first_line=first,
            locals=locals_of(trace.tb_frame) if owner == "plugin" else (),
        )

    def _owner(self, frame: FrameType) -> Owner:
        file = frame.f_code.co_filename
        if _module_of(frame).startswith(self._prefix) or file.startswith(self._folders):
            return "plugin"
        return "library" if is_library(file) else "host"

    def _folder(self, trace: TracebackType) -> str:
        """Return the folder of the plugin whose module a frame belongs to, with a slash; empty for others.

        Code that a template engine has made from a file in this folder belongs to the plugin.
        """
        name, file = _module_of(trace.tb_frame), dict.get(trace.tb_frame.f_globals, "__file__")
        if not name.startswith(self._prefix) or type(file) is not str:
            return ""
        plugin, *modules = name.removeprefix(self._prefix).split(".")
        folder = next((each for each in Path(file).parents if re.sub(r"\W", "_", each.name) == plugin), None)
        return f"{folder}{os.sep}" if folder and modules else ""

    def _lines_of(self, frame: FrameType, owner: Owner) -> list[str]:
        """Return the source of a frame; for a plugin, the source as it was loaded."""
        file = frame.f_code.co_filename
        key = (id(frame.f_globals), file)
        if key not in self._lines:
            text = self._loaded_text(frame) if owner == "plugin" else None
            self._lines[key] = text_lines(text) if text is not None else linecache.getlines(file)
        return self._lines[key]

    def _loaded_text(self, frame: FrameType) -> str | None:
        file, names = frame.f_code.co_filename, frame.f_globals
        loader, name = dict.get(names, "__loader__"), dict.get(names, "__name__")
        if _real_file(file) != dict.get(names, "__file__") or type(name) is not str or not _is_ours(loader):
            return self._text_of(file)  # a plugin can rebind these names
        try:
            text = cast("InspectLoader", loader).get_source(name)
        except Exception:  # the artifact is damaged
            return self._text_of(file)
        return text if type(text) is str else None

    def _place_of(self, error: BaseException) -> Frame | None:
        """Return the place that an exception names itself, to which no traceback leads."""
        if _is_a(error, PluginError):
            if not error.file:
                return None
            frame, (column, end) = self._bare(error.file, error.line, ""), error.columns
            return (
                replace(frame, end_line=error.line, column=column, end_column=end) if column >= 0 else frame
            )
        file, text = (_field(error, SyntaxError, name) for name in ("filename", "text"))
        if type(file) is not str or not file:
            return None
        # Any code can raise a SyntaxError with arbitrary values in it.
        names = ("lineno", "offset", "end_lineno", "end_offset")
        line, offset, end_line, end_offset = (_whole(_field(error, SyntaxError, name)) for name in names)
        frame = self._bare(file, line, text if type(text) is str else "")
        if not offset:
            return frame
        return Frame(
            file=frame.file,
            line=line,
            function="",
            owner="plugin",
            end_line=end_line or line,
            column=offset - 1,
            end_column=max(offset, end_offset - 1),
            lines=frame.lines,
            first_line=frame.first_line,
        )

    def _bare(self, file: str, line: int, shown: str) -> Frame:
        # The text in a SyntaxError was read from disk when it was raised; the compiled text is better.
        text = self._text_of(file)
        if text is None and shown:
            lines, first = _excerpt([encodable(shown.rstrip("\r\n"))], 1, 0)[0], line
        else:
            # Without a line there is nothing to show, and reading what is no regular file may block.
            known = text_lines(text) if text is not None else linecache.getlines(file) if line else []
            lines, first = _excerpt(known, line, _CONTEXT)
        return Frame(
            file=encodable(file), line=line, function="", owner="plugin", lines=lines, first_line=first
        )


def text_lines(text: str) -> list[str]:
    """Split source text into lines as the tokenizer does (``splitlines`` also splits at form feeds)."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _traces(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        if not _module_of(trace.tb_frame).startswith((f"{_PACKAGE}.core", "importlib._bootstrap")):
            yield trace  # frames of loading and calling are left out, as Python does for imports
        trace = trace.tb_next


def is_library(file: str) -> bool:
    """Return whether a file of code belongs to Python or to an installed package."""
    return file.startswith(("<frozen", *_LIBRARIES))


def _real_file(name: str) -> str:
    """Return the file of code that was renamed (to ``plugin.py@g3``) when its generation retired."""
    return re.sub(r"@g\d+$", "", name)


def _module_of(frame: FrameType) -> str:
    name = dict.get(frame.f_globals, "__name__", "")
    return name if type(name) is str else ""


def _shortened(traces: list[TracebackType]) -> tuple[list[TracebackType], list[TracebackType]]:
    """Return the oldest and the newest frames of a traceback, and the frames between them."""
    if len(traces) <= _OLDEST + _NEWEST:
        return traces, []
    return traces[:_OLDEST] + traces[-_NEWEST:], traces[_OLDEST:-_NEWEST]


def _counted(frames: list[Frame], left_out: list[TracebackType]) -> list[Frame]:
    """Return the frames, each with the number of frames at the same place that are left out."""
    places = Counter(
        (encodable(_real_file(trace.tb_frame.f_code.co_filename)), trace.tb_lineno) for trace in left_out
    )
    counted = []
    for frame in frames[::-1]:
        more = places.pop((_real_file(frame.file), frame.line), 0)
        counted.append(replace(frame, repeats=1 + more) if more else frame)
    return counted[::-1]


def _function_name(code: CodeType) -> str:
    """Return the qualified name of a function; the short name of code that a template engine has renamed."""
    whole, name = code.co_qualname, code.co_name
    return whole if whole == name or whole.endswith(f".{name}") else encodable(name)


def _position(trace: TracebackType) -> tuple[int, int, int, int]:
    """Return line, end line, column and end column (in bytes); 0 and -1 if unknown."""
    positions = trace.tb_frame.f_code.co_positions()
    line, end_line, column, end_column = next(
        itertools.islice(positions, trace.tb_lasti // 2, None), (None, None, None, None)
    )
    if line != trace.tb_lineno:
        return trace.tb_lineno or 0, 0, -1, -1
    return (
        line or 0,
        end_line or 0,
        -1 if column is None else column,
        -1 if end_column is None else end_column,
    )


def _characters(line: str, column: int) -> int:
    """Convert an offset in UTF-8 bytes to an offset in characters."""
    return column if column < 0 else len(line.encode(errors="replace")[:column].decode(errors="replace"))


def _excerpt(lines: list[str], line: int, context: int) -> tuple[tuple[str, ...], int]:
    if not 0 < line <= len(lines):
        return (), 1
    first = max(1, line - context)
    chosen = [encodable(text.rstrip("\n")) for text in lines[first - 1 : line + context]]
    while len(chosen) > 1 and not chosen[-1].strip() and first + len(chosen) - 1 > line:
        chosen.pop()
    return tuple(chosen), first


def _whole(value: object) -> int:
    """Return ``value`` if it is a valid count, else 0."""
    return value if type(value) is int and 0 < value < 1 << 31 else 0


def trace_of(frames: Sequence[FrameType]) -> TracebackType | None:
    """Return the traceback that an exception raised now in ``frames`` would have."""
    trace: TracebackType | None = None
    for frame in reversed(frames):
        trace = TracebackType(trace, frame, frame.f_lasti, frame.f_lineno or 0)
    return trace
