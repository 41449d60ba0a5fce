"""What is called at the end, or by a signal: ``atexit``, ``weakref.finalize``, signal handlers."""

from __future__ import annotations

import atexit
import signal
import sys
import weakref
from collections.abc import Callable, Hashable
from typing import cast

from hotload_tui.core.ledger.mainly import in_main_thread
from hotload_tui.core.ledger.owner import name_of
from hotload_tui.core.ledger.register import MISSING, Entries, Register

_handler_of: Callable[[int], object] = getattr(
    sys.modules.get("_signal"), "getsignal", signal.getsignal
)  # the public one makes a member of an enumeration of each answer, at each load
_SIGNALS = [signal.Signals(number) for number in signal.valid_signals() if number in {*signal.Signals}]


class _Lookout:
    """Is compared with every function that ``atexit`` knows: there is no other way to list them."""

    def __init__(self, is_wanted: Callable[[object], bool]) -> None:
        self._is_wanted = is_wanted

    def __eq__(self, other: object) -> bool:
        return self._is_wanted(other)

    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> None: ...


class ExitFunctions(Register):
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


class Finalizers(Register):
    """``weakref.finalize`` with functions of a plugin's; one that is taken out is not called."""

    category = "finalizer"
    words = ("finalize",)

    def read(self) -> Entries:  # noqa: D102 - as Register
        registry: dict[Hashable, object] = getattr(weakref.finalize, "_registry", {})
        return {key: getattr(entry, "func", None) for key, entry in registry.copy().items()}

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        if value is MISSING:
            cast("weakref.finalize[[], object]", key).detach()

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"function {name_of(value)}"


class Signals(Register):
    """Signal handlers; only the main thread can set them."""

    category = "signal handler"
    words = ("signal",)

    def __init__(self, is_plugins: Callable[[object], bool]) -> None:
        """Put back what was there when no plugin had it."""
        self._is_plugins = is_plugins
        self._original: Entries = {}

    def read(self) -> Entries:  # noqa: D102 - as Register
        found: Entries = {number: _handler_of(number) for number in _SIGNALS}
        for number, value in found.items():
            if type(value) is int or not self._is_plugins(value):
                self._original[number] = value
        return found

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        handler = self._original.get(key) if value is MISSING else value
        in_main_thread(
            lambda: signal.signal(
                cast("signal.Signals", key),
                signal.SIG_DFL if handler is None else cast("signal.Handlers", handler),
            )
        )

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        shown = str(signal.Handlers(value).name) if type(value) is int else name_of(value)
        return f"{cast('signal.Signals', key).name}: {shown}"
