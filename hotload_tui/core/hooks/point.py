"""``HookPoint`` and ``Handler``: a named place where the host calls plugins, and a callable for it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Protocol, TypeVar, overload

from hotload_tui.core.errors import near
from hotload_tui.core.model import HandlerStatus, encodable


def signature_of(function: Callable[..., object]) -> Signature:  # type: ignore[explicit-any] # of any parameters
    """Return the signature of a function without evaluating its annotations.

    From Python 3.14 on ``inspect.signature`` evaluates them, and raises ``NameError`` for a name that only
    type checkers import.

    Raises:
        TypeError: ``function`` is not callable, or ``inspect`` does not support it.
        ValueError: the callable has no known signature, such as some callables in C.

    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.STRING)
    return inspect.signature(function)


SAMPLE = 64  # one call in this many is timed: timing costs more than the call itself


class HookFunction(Protocol):
    """A callable that a plugin registers."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Answer a call of the host."""
        ...


class CallCount:
    """A number of calls.

    Threads raise it with ``+=``. The interpreter changes threads only at calls and at the ends of loops, so
    no call is lost; an interpreter without a GIL may lose some.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Handler:
    """A plugin's callable at a hook point; handlers are compared by identity."""

    __slots__ = (
        "_before",
        "_samples",
        "_seconds",
        "_shared",
        "call",
        "calls",
        "digest",
        "faults",
        "function",
        "generation",
        "plugin",
        "point",
        "priority",
    )

    def __init__(
        self,
        point: str,
        call: HookFunction,
        *,
        plugin: str,
        generation: int,
        priority: int,
        digest: str = "",
    ) -> None:
        self.point = point
        self.call = call
        self.plugin = plugin
        self.generation = generation
        self.digest = digest
        self.priority = priority
        self.function = _name_of(call)
        self.faults = 0
        self.calls = 0
        """Calls of this handler alone; the table counts the calls of all handlers of a hook point."""
        self._shared: CallCount | None = None
        self._before = 0
        self._samples = 0
        self._seconds = 0.0

    def count(self) -> bool:
        """Count a call and return whether to time it."""
        self.calls += 1  # as CallCount.value
        return self.calls % SAMPLE == 1

    def join(self, counter: CallCount, before: int) -> None:
        """Use the counter of a table's hook point; the previous counter has counted ``before`` calls."""
        if self._shared is not None:
            self._before += before
        self._shared = counter

    def add_sample(self, seconds: float) -> None:
        """Add the duration of a timed call."""
        self._samples += 1
        self._seconds += seconds

    def names_of(self, count: int) -> list[str]:
        """Return the names of the parameters that get the first ``count`` arguments without a name."""
        try:
            found = list(signature_of(self.call).parameters.values()) if count else []
        except Exception:  # foreign code: an object that says what its signature is; or it is unknown
            return []
        names = [each.name for each in found if each.kind in _BY_POSITION]
        rest = [each.name for each in found if each.kind is Parameter.VAR_POSITIONAL]
        return [*names, *rest * (count - len(names))][:count]

    def takes(self, parameter: str) -> bool:
        """Return whether the handler names this parameter, apart from ``**``."""
        try:
            found = signature_of(self.call).parameters.get(parameter)
        except Exception:  # foreign code: any object can be a handler
            return False
        return found is not None and found.kind not in (*_VARIADIC, Parameter.POSITIONAL_ONLY)

    def misfit(self, args: tuple[object, ...], kwargs: dict[str, object]) -> str:
        """Return why a call with these arguments cannot reach the handler, with its signature; or nothing."""
        try:
            signature = signature_of(self.call)
        except Exception:  # foreign code: an object that says what its signature is; or it is unknown
            return ""
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            file, line = place_of(self.call)
            where = f" ({near(file)}:{line})" if file else ""
            return f"{error}: {self.plugin}.{self.function}{_text_of(signature)}{where}"
        return ""

    def status(self) -> HandlerStatus:
        """Return the figures so far."""
        return HandlerStatus(
            plugin=self.plugin,
            function=self.function,
            priority=self.priority,
            generation=self.generation,
            calls=self._before + (self._shared.value if self._shared else 0) + self.calls,
            faults=self.faults,
            mean_seconds=self._seconds / self._samples if self._samples else 0.0,
        )


def _name_of(function: object) -> str:
    try:
        name = getattr(function, "__qualname__", None)
    except Exception:  # foreign code: any object can be a handler
        name = None
    return encodable(name if type(name) is str else type(function).__qualname__)


def _text_of(signature: Signature) -> str:
    try:
        if sys.version_info < (3, 14):
            return encodable(str(signature))
        return encodable(signature.format(quote_annotation_strings=False))  # as the author wrote them
    except Exception:  # foreign code: the text of a default value
        return f"({', '.join(signature.parameters)})"


P = ParamSpec("P")
R = TypeVar("R")
H_contra = TypeVar("H_contra", contravariant=True)

# A hook point is a string, its name, so that calling it costs no more than a call by name. Type checkers
# must not know this: they would take a call with wrong arguments for a call by name.
if TYPE_CHECKING:
    _Name = object
else:
    _Name = str

_EMPTY: Final = Parameter.empty
_VARIADIC: Final = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_BY_POSITION: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class NamedPoint(_Name):
    """A hook point of any signature."""


class HookPoint(NamedPoint, Generic[P, R]):
    """A hook point, made of a function: its name, its parameters, and the type that handlers return.

    The function is never called. A program calls the hook point, and plugins register at it, instead of by
    its name. If a handler is a coroutine function, the program awaits it (``acall`` and the like).

    With ``live``, a call returns handles in place of the plugins' functions, methods and classes, also inside
    lists, tuples, dictionaries and dataclasses: the program may keep them, and they reach the live version.
    """

    signature: Signature
    """The parameters with which handlers are called, and the type that they return."""

    def __new__(cls, function: Callable[P, R], *, live: bool = False) -> HookPoint[P, R]:
        """Make a hook point of ``function``, as its decorator."""
        kind = LivePoint if live else cls
        point = super().__new__(kind, function.__name__)  # type: ignore[call-arg]
        point.signature = _signature(function)
        return point

    def misfit(self, handler: Callable[P, R] | Callable[P, Awaitable[R]]) -> str:
        """Return why a handler does not fit this hook point, and what to write; empty if it fits.

        Only annotations that are classes are compared: type checkers check all others.
        """
        try:
            given = _signature(handler)
        except (TypeError, ValueError):  # a callable without a known signature, such as some in C
            return ""
        reason = _wrong_call(self.signature, given) or _wrong_annotation(self.signature, given)
        if not reason:
            return ""
        name = getattr(handler, "__name__", type(handler).__name__)
        word = "async def" if inspect.iscoroutinefunction(handler) else "def"
        wanted = f"{word} {name}{self.signature}:"
        return f"{name}{given} does not fit hook point '{self}': {reason}; write: {wanted}"


class LivePoint(HookPoint[P, R]):
    """A hook point at which calls return handles."""


class Fitting(Protocol[H_contra]):
    """A hook point that fits handlers of a type; type checkers compare the two in this way."""

    def misfit(self, handler: H_contra, /) -> str:
        """Return what ``HookPoint.misfit`` returns."""
        ...


class Decorator(Protocol[P, R]):
    """Registers a handler, which may be a coroutine function, and returns it."""

    @overload
    def __call__(self, handler: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def __call__(self, handler: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]: ...


def place_of(handler: Callable[P, object]) -> tuple[str, int]:
    """Return the file and line of a handler; empty and 0 if they are not known."""
    function = inspect.unwrap(handler)
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if inspect.iscode(code) else ("", 0)


def _signature(function: Callable[P, object]) -> Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, AttributeError):  # an annotation that only type checkers import
        return signature_of(function)


def _wrong_call(expected: Signature, given: Signature) -> str:
    """Try the calls that the hook point allows: with all or the fewest arguments, by position or by name.

    Return the first error; empty if every call fits.
    """
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
    """Return the names of the arguments that a call passes by position, and by name."""
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
    """Compare the annotations of the return value and of parameters with the same name.

    Return the first difference; empty if there is none.
    """
    for name, parameter in expected.parameters.items():
        other = given.parameters.get(name)
        if other is not None and _clash(parameter.annotation, other.annotation):
            return f"'{name}' is {_shown(parameter.annotation)}, not {_shown(other.annotation)}"
    if _clash(given.return_annotation, expected.return_annotation):
        wanted, found = expected.return_annotation, given.return_annotation
        return f"it is to return {_shown(wanted)}, not {_shown(found)}"
    return ""


def _clash(narrow: object, wide: object) -> bool:
    """Return whether both annotations are classes and ``narrow`` is no subclass of ``wide``."""
    narrow, wide = (type(None) if each is None else each for each in (narrow, wide))
    if not (isinstance(narrow, type) and isinstance(wide, type)) or {narrow, wide} & {_EMPTY, Any}:
        return False
    if wide in (float, complex) and issubclass(narrow, (int, float)):  # as type checkers do
        return False
    try:
        return not issubclass(narrow, wide)
    except TypeError:  # a protocol that does not allow the check, for instance
        return False


def _shown(annotation: object) -> str:
    return getattr(annotation, "__qualname__", str(annotation))
