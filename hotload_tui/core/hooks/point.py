"""``HookPoint`` and ``Handler``: a named place where the host calls plugins, and what it calls there."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Protocol, TypeVar, overload

from hotload_tui.core.model import HandlerStatus, encodable


def signature_of(function: Callable[..., object]) -> Signature:  # type: ignore[explicit-any] # of any parameters
    """Return the signature of a function without evaluating its annotations.

    From Python 3.14 on ``inspect.signature`` evaluates them, and raises ``NameError`` for a name that only
    type checkers import.

    Raises:
        TypeError: it is no callable, or one that inspect does not support.
        ValueError: the callable tells no signature, such as some in C.

    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.STRING)
    return inspect.signature(function)


SAMPLE = 64  # one call in so many is timed: timing costs more than the call itself


class HookFunction(Protocol):
    """What a plugin registers."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Answer a call of the host."""
        ...


class Handler:
    """A plugin's callable at a hook point; identity counts."""

    __slots__ = (
        "_before",
        "_samples",
        "_seconds",
        "_shared",
        "call",
        "calls",
        "faults",
        "function",
        "generation",
        "plugin",
        "point",
        "priority",
    )

    def __init__(
        self, point: str, call: HookFunction, *, plugin: str, generation: int, priority: int
    ) -> None:
        self.point = point
        self.call = call
        self.plugin = plugin
        self.generation = generation
        self.priority = priority
        self.function = _name_of(call)
        self.faults = 0
        self.calls = itertools.count(1)  # next() is atomic; += is not
        """Calls of this one handler; where all of a hook point are called, the table counts for all."""
        self._shared: itertools.count[int] | None = None
        self._before = 0
        self._samples = 0
        self._seconds = 0.0

    def count(self) -> bool:
        """Count a call and tell whether it is one of those to be timed."""
        return next(self.calls) % SAMPLE == 1

    def join(self, counter: itertools.count[int], before: int) -> None:
        """Be counted by the counter of a table's hook point; the one that it was in gave ``before``."""
        if self._shared is not None:
            self._before += before
        self._shared = counter

    def add_sample(self, seconds: float) -> None:
        """Add a timed call."""
        self._samples += 1
        self._seconds += seconds

    def status(self) -> HandlerStatus:
        """Return the figures so far."""
        return HandlerStatus(
            plugin=self.plugin,
            function=self.function,
            priority=self.priority,
            generation=self.generation,
            calls=self._before + (peek(self._shared) if self._shared else 1) + peek(self.calls) - 2,
            faults=self.faults,
            mean_seconds=self._seconds / self._samples if self._samples else 0.0,
        )


def _name_of(function: object) -> str:
    try:
        name = getattr(function, "__qualname__", None)
    except Exception:  # foreign code: any object can be a handler
        name = None
    return encodable(name if type(name) is str else type(function).__qualname__)


def peek(counter: Iterator[int]) -> int:
    """Return what an ``itertools.count`` would give next, without taking it."""
    return int(repr(counter)[len("count(") : -1])


P = ParamSpec("P")
R = TypeVar("R")
H_contra = TypeVar("H_contra", contravariant=True)

# It is its name, so that a call costs what a call by name costs. Type checkers do not hear of that: else they
# would take a call with wrong arguments for one by name.
if TYPE_CHECKING:
    _Name = object
else:
    _Name = str

_EMPTY: Final = Parameter.empty
_VARIADIC: Final = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class NamedPoint(_Name):
    """A hook point of any signature."""


class HookPoint(NamedPoint, Generic[P, R]):
    """A hook point, made of a function: its name, its parameters, and what handlers are to return.

    The function is never called. A program calls the hook point, and plugins register at it, in the place of
    its name; with a coroutine function as the handler, the program awaits (``acall`` and the like).
    """

    signature: Signature
    """What handlers are called with, and what they are to return."""

    def __new__(cls, function: Callable[P, R]) -> HookPoint[P, R]:
        """Make it of ``function``, as its decorator."""
        point = super().__new__(cls, function.__name__)  # type: ignore[call-arg]
        point.signature = _signature(function)
        return point

    def misfit(self, handler: Callable[P, R] | Callable[P, Awaitable[R]]) -> str:
        """Say why a handler cannot answer calls of this hook point, and what to write; empty if it can.

        Of annotations only classes are compared: all else is left to type checkers.
        """
        try:
            given = _signature(handler)
        except (TypeError, ValueError):  # a callable that does not tell, such as some of C
            return ""
        reason = _wrong_call(self.signature, given) or _wrong_annotation(self.signature, given)
        if not reason:
            return ""
        name = getattr(handler, "__name__", type(handler).__name__)
        word = "async def" if inspect.iscoroutinefunction(handler) else "def"
        wanted = f"{word} {name}{self.signature}:"
        return f"{name}{given} does not fit hook point '{self}': {reason}; write: {wanted}"


class Fitting(Protocol[H_contra]):
    """A hook point that handlers of a type fit: this is how type checkers compare the two."""

    def misfit(self, handler: H_contra, /) -> str:
        """As that of ``HookPoint``."""
        ...


class Decorator(Protocol[P, R]):
    """Registers a handler, which may be a coroutine function, and returns it."""

    @overload
    def __call__(self, handler: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def __call__(self, handler: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]: ...


def place_of(handler: Callable[P, object]) -> tuple[str, int]:
    """Return the file and line of a handler; empty and 0 if nobody knows."""
    function = inspect.unwrap(handler)
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if inspect.iscode(code) else ("", 0)


def _signature(function: Callable[P, object]) -> Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, AttributeError):  # an annotation that only type checkers import
        return signature_of(function)


def _wrong_call(expected: Signature, given: Signature) -> str:
    """Try the calls that the hook point allows: with all arguments, with the fewest; by place, by name."""
    every = list(expected.parameters.values())
    fewest = [each for each in every if each.default is _EMPTY and each.kind not in _VARIADIC]
    for parameters in (every, fewest):
        for by_name in (False, True):
            positional, named = _arguments(parameters, by_name=by_name)
            try:
                given.bind(*positional, **dict.fromkeys(named))
            except TypeError as error:
                shown = ", ".join([*positional, *(f"{name}=…" for name in named)])
                return f"a call with ({shown}) gives '{error}'"
    return ""


def _arguments(parameters: Sequence[Parameter], *, by_name: bool) -> tuple[list[str], list[str]]:
    """Return the names of what a call gives by place, and by name."""
    positional, named = [], []
    for each in parameters:
        is_free = each.kind is Parameter.POSITIONAL_OR_KEYWORD
        if each.kind is Parameter.POSITIONAL_ONLY or (is_free and not by_name):
            positional.append(each.name)
        elif is_free or each.kind in (Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD):
            named.append(each.name)
        elif not by_name:  # *args: any number of them
            positional.append(f"*{each.name}")
    return positional, named


def _wrong_annotation(expected: Signature, given: Signature) -> str:
    """Compare the annotations of what is returned, and of parameters of the same name."""
    for name, parameter in expected.parameters.items():
        other = given.parameters.get(name)
        if other is not None and _clash(parameter.annotation, other.annotation):
            return f"'{name}' is {_shown(parameter.annotation)}, not {_shown(other.annotation)}"
    if _clash(given.return_annotation, expected.return_annotation):
        wanted, found = expected.return_annotation, given.return_annotation
        return f"it is to return {_shown(wanted)}, not {_shown(found)}"
    return ""


def _clash(narrow: object, wide: object) -> bool:
    """Tell whether two annotations are classes, and a ``narrow`` one is no ``wide`` one."""
    narrow, wide = (type(None) if each is None else each for each in (narrow, wide))
    if not (isinstance(narrow, type) and isinstance(wide, type)) or {narrow, wide} & {_EMPTY, Any}:
        return False
    if wide in (float, complex) and issubclass(narrow, (int, float)):  # as type checkers have it
        return False
    try:
        return not issubclass(narrow, wide)
    except TypeError:  # a protocol that cannot be asked, for instance
        return False


def _shown(annotation: object) -> str:
    return getattr(annotation, "__qualname__", str(annotation))
