"""What is called at the end, or by a signal: ``atexit``, ``weakref.finalize``, signal handlers."""

from __future__ import annotations

import atexit
import functools
import os
import signal
import sys
import weakref
from abc import abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from pathlib import Path
from types import FunctionType
from typing import NamedTuple, TypeAlias, cast

from hotload_tui.core.ledger.mainly import in_main_thread
from hotload_tui.core.ledger.owner import Owner, Place, name_of, place_of
from hotload_tui.core.ledger.register import MISSING, Entries, Register, sight_of

_handler_of: Callable[[int], object] = getattr(
    sys.modules.get("_signal"), "getsignal", signal.getsignal
)  # the public one makes a member of an enumeration of each answer, at each load
_NO_HANDLERS: dict[int, object] = {kind.value: kind for kind in signal.Handlers}
_SIGNALS = [signal.Signals(number) for number in signal.valid_signals() if number in {*signal.Signals}]
_PACKAGE = f"{Path(__file__).parents[2]}{os.sep}"

ExitCalls: TypeAlias = Sequence[Callable[[], object]]
"""What a generation gave to ``atexit``, the oldest first."""


class _Lookout:
    """Is compared with every function that ``atexit`` knows: there is no other way to list them."""

    def __init__(self, is_wanted: Callable[[object], bool]) -> None:
        self._is_wanted = is_wanted

    def __eq__(self, other: object) -> bool:
        return self._is_wanted(other)

    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> None: ...


class Ending(NamedTuple):
    """What was to be called when the program ends, and is called when its generation does."""

    key: Hashable
    name: str
    place: Place
    call: Callable[[], object]


class Endings(Register):
    """Functions for the end, which are called when their generation ends."""

    @abstractmethod
    def endings(self, keys: Collection[Hashable], calls: ExitCalls, owner: Owner) -> Iterator[Ending]:
        """Yield what is to be called of these entries, the newest first."""


class ExitFunctions(Endings):
    """Functions of ``atexit``; one that is taken out is not called."""

    category = "atexit"
    words = ("atexit",)

    def read(self) -> Entries:  # noqa: D102 - as Register
        found: Entries = {}

        def note(function: object) -> bool:
            found[id(function)] = function
            return False

        atexit.unregister(_Lookout(note))
        return found

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        if value is MISSING:
            atexit.unregister(_Lookout(lambda function: id(function) == key))

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"function {name_of(value)}"

    def endings(  # noqa: D102 - as Register
        self,
        keys: Collection[Hashable],  # noqa: ARG002
        calls: ExitCalls,
        owner: Owner,  # noqa: ARG002
    ) -> Iterator[Ending]:
        there = self.read()
        for call in reversed(calls):
            if id(call) in there:
                yield Ending(id(call), name_of(call), place_of(call), call)


class Finalizers(Endings):
    """``weakref.finalize`` with functions of a plugin's; one that is taken out is not called.

    Before that those are called which would be at the program's end, or whose object goes with the plugin:
    the finalizer is what holds the generation, and with it perhaps that object, for ever.
    """

    category = "finalizer"
    words = ("finalize",)

    def read(self) -> Entries:  # noqa: D102 - as Register
        registry: dict[Hashable, object] = getattr(weakref.finalize, "_registry", {})
        functions = ((key, getattr(entry, "func", None)) for key, entry in registry.copy().items())
        return {key: function for key, function in functions if not _is_machinery(function)}

    def sight(self) -> object:  # noqa: D102 - as Register
        return sight_of(getattr(weakref.finalize, "_registry", None))

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        if value is MISSING:
            cast("weakref.finalize[[], object]", key).detach()

    def endings(  # noqa: D102 - as Register
        self,
        keys: Collection[Hashable],
        calls: ExitCalls,  # noqa: ARG002
        owner: Owner,
    ) -> Iterator[Ending]:
        for key, function in reversed(self.read().items()):
            finalizer = cast("weakref.finalize[[], object]", key)
            found = finalizer.peek() if key in keys else None
            if found and (finalizer.atexit or owner.owns(found[0])):
                _, call, values, named = found
                run = functools.partial(call, *values, **named)
                yield Ending(key, name_of(function), place_of(function), run)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"function {name_of(value)}"


def _is_machinery(function: object) -> bool:
    """Tell whether it is of this package, which has one for each generation."""
    return type(function) is FunctionType and function.__code__.co_filename.startswith(_PACKAGE)


class Signals(Register):
    """Signal handlers; only the main thread can set them."""

    category = "signal handler"
    words = ("signal",)

    def __init__(self, is_plugins: Callable[[object], bool]) -> None:
        """Put back what was there when no plugin had it."""
        self._is_plugins = is_plugins
        self._original: Entries = {}

    def read(self) -> Entries:  # noqa: D102 - as Register
        found: Entries = {}
        for number in _SIGNALS:
            value = _handler_of(number)
            value = found[number] = _NO_HANDLERS[value] if type(value) is int else value
            if type(value) is signal.Handlers or not self._is_plugins(value):
                self._original[number] = value
        return found

    def sight(self) -> object:  # noqa: D102 - as Register
        return [*map(id, map(_handler_of, _SIGNALS))]

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        handler = self._original.get(key) if value is MISSING else value
        in_main_thread(
            lambda: signal.signal(
                cast("signal.Signals", key),
                signal.SIG_DFL if handler is None else cast("signal.Handlers", handler),
            )
        )

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        return f"{cast('signal.Signals', key).name}: {name_of(value)}"
