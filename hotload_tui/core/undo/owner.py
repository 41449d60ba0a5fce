"""The owner and the source location of an object; nothing here runs a plugin's code."""

from __future__ import annotations

import contextlib
import dis
import functools
import gc
import itertools
import os
import re
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from types import BuiltinMethodType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import NamedTuple, cast

from hotload_tui.core.interpreter import caller, stacks, traced_now, variables_of
from hotload_tui.core.module_names import module_of_class, names_below, unique_name

_CACHED = type(functools.lru_cache(len))
_CALLABLES = (MethodType, BuiltinMethodType, functools.partial, _CACHED)
_SINGLE = (FunctionType, *_CALLABLES, tuple, type)
"""The types whose objects can have other owners than their class."""
_RETIRED = re.compile(r"@g\d+$")
_PLAIN = frozenset((str, bytes, int, float, bool, type(None)))  # such values belong to nobody


class CodePlace(NamedTuple):
    """A line of a file."""

    file: str = ""
    line: int = 0

    @classmethod
    def of(cls, name: str, line: int) -> CodePlace:
        """Return a place by a code object's file name; retired code's suffix ``@g<N>`` is removed."""
        return cls(_RETIRED.sub("", name), line)

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}" if self.file else ""  # noqa: PTH119 - a name only


class Owner:
    """The modules whose unique names begin with ``root``; decides which objects belong to them."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._start = f"{root}."
        self._names = names_below(root)  # kept, to recognize classes that outlive the generation

    def has_name(self, name: object) -> bool:
        """Return whether a module of this name belongs to the owner."""
        name = unique_name(name)
        return type(name) is str and (name == self.root or name.startswith(self._start))

    def owns(self, thing: object) -> bool:
        """Return whether an object belongs to the owner, by its class, its function or one of its parts."""
        kind = type(thing)
        if kind in _PLAIN:
            return False
        if kind in _CALLABLES:
            return any(map(self.owns, _parts(thing)))
        if self.has_name(module_of(thing)):
            return True
        # The collector tracks no tuple of only numbers and strings: some of these have thousands of items.
        is_mixed = issubclass(kind, tuple) and gc.is_tracked(thing)
        return is_mixed and any(map(self.owns, tuple.__iter__(cast("tuple[object]", thing))))

    def names(self, namespaces: Iterable[tuple[str, Mapping[str, object]]]) -> Iterator[tuple[str, str]]:
        """Yield the place and the name of each value in ``namespaces`` that belongs to the owner.

        This takes a third of the time of ``owns`` for each value: a process has a hundred thousand.
        """
        known: dict[int, bool] = {}  # by the identity of what decides for many values
        kept: list[object] = []  # so that nothing else gets such an identity meanwhile
        for place, namespace in namespaces:
            for name, value in namespace.items():
                kind = type(value)
                if kind is FunctionType:
                    decides: object = cast("FunctionType", value).__globals__
                elif kind is type:
                    decides = module_of_class(cast("type", value))
                else:
                    decides = value if issubclass(kind, _SINGLE) else kind
                is_own = known.get(id(decides))
                if is_own is None:
                    is_own = known[id(decides)] = self.owns(value)
                    kept.append(decides)
                if is_own:
                    yield place, name

    def frames(self, stack: Iterable[FrameType]) -> Iterator[FrameType]:
        """Return the frames that run the owner's code."""
        return (frame for frame in stack if self.has_name(frame.f_globals.get("__name__")))


def _parts(thing: object) -> Iterator[object]:
    """Yield the objects of which a callable is made; its type is one of ``_CALLABLES``."""
    kind = type(thing)
    if kind is MethodType:
        yield cast("MethodType", thing).__func__
    if kind is functools.partial:
        partial = cast("functools.partial[object]", thing)
        yield partial.func
        yield from partial.args
        yield from partial.keywords.values()
    elif kind is _CACHED:
        yield vars(thing).get("__wrapped__")
    else:
        yield cast("MethodType | BuiltinMethodType", thing).__self__


def module_of(thing: object) -> object:
    """Return the name of the module of a function or a class, or of the class of any other object.

    Classes are read through ``type``: a metaclass could run code for the attribute.
    """
    kind = type(thing)
    if kind is FunctionType:
        return cast("FunctionType", thing).__globals__.get("__name__")
    return module_of_class(cast("type", thing) if issubclass(kind, type) else kind)


def place_of(thing: object) -> CodePlace:
    """Return where a function, or the first method of a class, is defined; an empty place if unknown.

    The methods of a class that a library has made, as ``namedtuple`` does, are in the library.
    """
    kind = type(thing)
    if kind is MethodType:
        return place_of(cast("MethodType", thing).__func__)
    if kind is functools.partial:
        return place_of(cast("functools.partial[object]", thing).func)
    if kind is FunctionType:
        code = cast("FunctionType", thing).__code__
        return CodePlace.of(code.co_filename, code.co_firstlineno)
    found = cast("type", thing) if issubclass(kind, type) else kind
    values = type.__dict__["__dict__"].__get__(found).values()
    methods = [value for value in values if type(value) is FunctionType]
    own = (method for method in methods if method.__globals__.get("__name__") == module_of_class(found))
    return next(map(place_of, own), CodePlace())


def name_of(thing: object) -> str:
    """Return the name of a function or class, the ``repr`` of a plain value, otherwise the class's name."""
    kind = type(thing)
    if kind is FunctionType:
        return cast("FunctionType", thing).__qualname__
    if kind is MethodType:
        return name_of(cast("MethodType", thing).__func__)
    if kind is functools.partial:
        return name_of(cast("functools.partial[object]", thing).func)
    if kind is type(len):
        return cast("Callable[[], object]", thing).__name__
    if thing is None or kind in (bool, int, float, str, bytes):
        return repr(thing)[:80]
    return str(type.__dict__["__qualname__"].__get__(thing if issubclass(kind, type) else kind))


class Script:
    """The code of a generation, searchable for words."""

    def __init__(self, codes: Iterable[CodeType]) -> None:
        self._modules = list(codes)
        self._words: dict[str, CodeType] = {}

    def words(self) -> set[str]:
        """Return all names and strings in the code."""
        self._read()
        return {*self._words}

    def _read(self) -> None:
        if not self._words:  # on demand: most plugins change nothing
            for module in self._modules:
                for code in _nested(module):
                    for word in _words_of(code):
                        self._words.setdefault(word, code)

    def mentions(self, *words: str) -> CodePlace | None:
        """Return the first place that has one of the words as a name or in a string; ``None`` if none has."""
        self._read()
        for word in words:
            if word in self._words:
                found = self._words[word]
                return CodePlace.of(found.co_filename, _line_of(found, word))
        return None

    @functools.cached_property
    def computed_variable(self) -> CodePlace | None:
        """The first place that may change a variable of ``os.environ`` whose name is not in the code."""
        codes = (code for module in self._modules for code in _nested(module))
        for code in (code for code in codes if any(name in code.co_names for name in _ENVIRONMENT)):
            steps = [
                (step.opname, cast("object", step.argval), step.argrepr, step.positions)
                for step in dis.get_instructions(code)
            ]
            found = [place for _, value, _, place in steps if value in _ENVIRONMENT]
            starts = [(place.lineno, place.col_offset) for place in found if place]
            triples = zip(steps, steps[1:], steps[2:], strict=False)
            for (kind, key, *_), (name, value, text, place), (after, *_) in triples:
                if name in _SUBSCRIPTS or text == "|=":  # begins where its container does
                    is_computed = place is not None and (place.lineno, place.col_offset) in starts
                    is_computed &= type(key) is not str or kind != "LOAD_CONST"
                else:
                    is_computed = key in _ENVIRONMENT and value in _CHANGES
                    is_computed &= value in _BULK or after != "LOAD_CONST"
                if is_computed:
                    return CodePlace.of(code.co_filename, (place and place.lineno) or code.co_firstlineno)
        return None

    def has_file(self, file: str) -> bool:
        """Return whether a module of the code is in this file."""
        return any(CodePlace.of(module.co_filename, 0).file == file for module in self._modules)

    def definitions(self, like: CodeType) -> list[CodeType]:
        """Return the code of all functions that have the name and the file of ``like``."""
        name, file = like.co_qualname, CodePlace.of(like.co_filename, 0).file
        codes = (code for module in self._modules for code in _nested(module))
        found = (code for code in codes if code.co_qualname == name)
        return [code for code in found if CodePlace.of(code.co_filename, 0).file == file]

    def has(self, thing: object) -> bool:
        """Return whether an object is the code of one of the functions."""
        return type(thing) is CodeType and any(each is thing for each in self.definitions(thing))

    def names_beside(self, name: str) -> set[str]:
        """Return the names in the lines of code that mention ``name``, such as what it is given to."""
        found: set[str] = set()
        for code in (code for module in self._modules for code in _nested(module)):
            if name in code.co_names:
                steps = [(step.positions, step.argval) for step in dis.get_instructions(code)]
                lines = {place.lineno for place, value in steps if place and value == name}
                found |= {
                    value
                    for place, value in steps
                    if place and place.lineno in lines and value in code.co_names
                }
        return found

    def sets(self, attribute: str) -> bool:
        """Return whether the code sets or removes an attribute of this name itself."""
        return any(
            (attribute in code.co_consts and not _SETS_BY_NAME.isdisjoint(code.co_names))
            or (
                attribute in code.co_names
                and any(
                    step.argval == attribute and step.opname in ("STORE_ATTR", "DELETE_ATTR")
                    for step in dis.get_instructions(code)
                )
            )
            for module in self._modules
            for code in _nested(module)
        )


_ENVIRONMENT = ("environ", "environb")
_SUBSCRIPTS = ("STORE_SUBSCR", "DELETE_SUBSCR")
_BULK = ("clear", "update", "popitem")
_CHANGES = (*_BULK, "pop", "setdefault")
_SETS_BY_NAME = {"setattr", "delattr", "object", "patch"}  # functions that take the name as a string


def _words_of(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        yield from filter(None, _words_in(constant))


def _words_in(constant: object) -> Iterator[str]:
    """Yield each string and, for a dotted name, the rest after each dot."""
    if type(constant) is tuple:
        for item in constant:
            yield from _words_in(item)
    elif type(constant) is str:
        yield constant
        if "." in constant and not any(map(str.isspace, constant)):
            parts = constant.split(".")
            for index in range(1, len(parts)):
                yield ".".join(parts[index:])


def _says(constant: object, word: str) -> bool:
    if type(constant) is str:
        return constant == word or constant.endswith(f".{word}")
    return type(constant) is tuple and any(_says(item, word) for item in constant)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from _nested(constant)


def _line_of(code: CodeType, word: str) -> int:
    line = code.co_firstlineno
    for step in dis.get_instructions(code):
        line = (step.positions.lineno if step.positions else None) or line
        if step.argval == word or _says(step.argval, word):
            return line
    return code.co_firstlineno


_PACKAGE = f"{__name__.partition('.')[0]}."
_WIDEST = 50  # objects to look at in one container
_DEEPEST = 2  # from a variable: the attributes and items, and theirs
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class statement created the type, not the interpreter


def handled_modules() -> Iterator[str]:
    """Yield the unique names of the modules from which the objects in the caller's hands come.

    All versions of a plugin's module have the same name, so ``sys.modules[kind.__module__]`` alone does not
    tell which version is meant. Functions such as ``inspect.getsource``, ``typing.get_type_hints`` and the
    pickler of ``multiprocessing`` have the object itself in a variable, or a variable leads to it.
    Only the standard library's functions at the top of the stack count: code of the host that has an old
    object in a variable means the live version when it uses the stable name.
    """
    frame = caller()
    traced: Container[int] | None = None
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] in sys.stdlib_module_names:
            traced = traced_now(stacks()) if traced is None else traced
            for thing in _things_in(variables_of(frame, traced).values(), _DEEPEST):
                module = module_of(thing)
                unique = unique_name(module)
                if type(unique) is str and unique is not module:
                    yield unique
        elif not name.startswith(_PACKAGE):
            return
        frame = frame.f_back


def _things_in(values: Iterable[object], deeper: int) -> Iterator[object]:
    """Yield objects, and those in their attributes or items, without running code of a plugin."""
    for thing in itertools.islice(values, _WIDEST):
        yield thing
        kind = type(thing)
        if not deeper:
            continue
        if kind in (tuple, list):
            yield from _things_in([*cast("list[object]", thing)], deeper - 1)
        elif kind is dict:
            yield from _things_in(cast("dict[object, object]", thing).copy().values(), deeper - 1)
        elif kind.__flags__ & _HEAP_TYPE and not issubclass(kind, (type, ModuleType)):
            with contextlib.suppress(AttributeError, TypeError):  # an object with slots only
                attributes = object.__getattribute__(thing, "__dict__")
                yield from _things_in(attributes.copy().values(), deeper - 1)
