"""Exclusive resources of a plugin: what ``ctx.own`` declares, and how each is claimed and given up."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final, Generic, TypeAlias, TypeVar, cast

from hotload_tui.core.errors import LoadError, PluginError, RegisterError
from hotload_tui.core.hooks.point import signature_of
from hotload_tui.core.model import Phase, StepObserver
from hotload_tui.core.runtime.threads import Trials
from hotload_tui.core.runtime.workers import running_loop

_T = TypeVar("_T")

Release: TypeAlias = Callable[[_T], object] | Callable[[], object]
"""Gives a resource up, with or without its value."""


class Owned(Generic[_T]):
    """A resource that one version of a plugin at a time can have."""

    def __init__(
        self,
        key: str,
        acquire: Callable[[], _T],
        release: Release[_T] | None,
        replace: Callable[[_T], _T] | None,
    ) -> None:
        self.key = key
        """The name under which the next version of the plugin takes the resource over."""
        self.acquire = acquire
        """Claims the resource; may return a value, such as a socket."""
        self.release = release
        """Gives the resource up; gets the value if it takes an argument."""
        self.replace = replace
        """Puts this version's part in the place of another version's, and returns the new value."""
        self.is_held = False
        """Whether this version has the resource now."""
        self._value: _T | None = None

    @property
    def value(self) -> _T:
        """The value that ``acquire`` returned; raises ``RuntimeError`` while this version has none."""
        if not self.is_held:
            raise RuntimeError(f"'{self.key}' is not acquired; a version has it only while it is live")
        return cast("_T", self._value)

    def hold(self, value: object) -> None:
        """Record that this version has the resource."""
        self._value, self.is_held = cast("_T", value), True

    def let_go(self) -> None:
        """Record that this version does not have the resource any more."""
        self._value, self.is_held = None, False


def problem_with(
    key: object, acquire: object, release: object, replace: object, known: Callable[[str], bool]
) -> str:
    """Return why ``ctx.own`` cannot take these arguments; empty if it can."""
    if not isinstance(key, str) or not key:
        return f"ctx.own needs a key, a text that names the resource, not {key!a}"
    if known(key):
        return f"ctx.own('{key}') is called twice; each resource has its own key"
    for name, function in (("acquire", acquire), ("release", release), ("replace", replace)):
        if function is None and name != "acquire":
            continue
        kind = _wrong_kind(function)
        if kind:
            return f"ctx.own('{key}') needs a plain function as {name}, not a {kind}"
    return ""


def _wrong_kind(function: object) -> str:
    """Return what a thing is that a plain call does not run; empty for a plain function."""
    if not callable(function):
        return type(function).__name__
    if inspect.iscoroutinefunction(function):
        return "coroutine function"
    return "generator function" if inspect.isgeneratorfunction(function) else ""


def _takes_one(function: Release[object]) -> bool:
    try:
        signature_of(function).bind(object())
    except (TypeError, ValueError):
        return False
    return True


class _Call:
    """One call of a plugin's function, as the trials run it."""

    def __init__(self, plugin: str, what: str, function: Callable[[], object]) -> None:
        self.name = plugin
        self.what = what
        self.observed: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
        """Reports the step while it runs."""
        self._function = function

    def begin(self, *, follows: bool) -> None:
        """Do nothing: no module is loaded."""

    def prove(self) -> object:
        """Call the function; raises ``RegisterError``."""
        with self.observed():
            try:
                result = self._function()
            except BaseException as error:  # foreign code: whatever it raises, the hand-over has failed
                raise RegisterError(self.name, "a function of ctx.own raised") from error
            if inspect.iscoroutine(result):  # as of a lambda: nothing has happened yet
                result.close()
                raise RegisterError(
                    self.name,
                    "a function of ctx.own returned a coroutine, which nobody awaits; run it on its "
                    "event loop: asyncio.run_coroutine_threadsafe(…, loop).result()",
                )
            return result

    def end(self) -> None:
        """Do nothing: no module was loaded."""


def in_function(what: str, key: str) -> str:
    """Return the note that an error of a function of an owned resource gets."""
    return f"in {what} of ctx.own('{key}')"


_LOOP_WAITS: Final = (
    "the event loop of the thread that asked for this reload waits meanwhile; a function that needs the loop "
    "waits in vain: use await asyncio.to_thread(manager.rebuild)"
)


class Claims:
    """Calls the functions of owned resources where plugins load, each within a time limit."""

    def __init__(self, trials: Trials, limit: float, step_observer: StepObserver) -> None:
        """Give each function ``limit`` seconds."""
        self._trials = trials
        self._limit = limit
        self._step_observer = step_observer

    def acquire(self, plugin: str, digest: str, owned: Owned[object]) -> None:
        """Claim a resource for a version; raises ``PluginError``."""
        with self._named(owned.key, "acquire") as what:
            owned.hold(self._call("load", digest, _Call(plugin, what, owned.acquire)))

    def replace(self, plugin: str, digest: str, owned: Owned[object], previous: Owned[object]) -> None:
        """Put a version's part in the place of another version's; raises ``PluginError``."""
        replace, value = owned.replace, previous.value
        assert replace is not None
        with self._named(owned.key, "replace") as what:
            owned.hold(self._call("load", digest, _Call(plugin, what, lambda: replace(value))))
        previous.let_go()

    def release(self, plugin: str, digest: str, owned: Owned[object]) -> None:
        """Give a resource up; raises ``PluginError``, and then the version still counts as its owner."""
        value = owned.value
        with self._named(owned.key, "release") as what:
            self._call("unload", digest, _Call(plugin, what, lambda: _release(owned, value)))
        owned.let_go()

    def _call(self, phase: Phase, digest: str, call: _Call) -> object:
        call.observed = lambda: self._step_observer(phase, call.name, digest)
        done: list[object] = []
        self._trials.run([call], self._limit, done)
        return done[0]

    @contextlib.contextmanager
    def _named(self, key: str, what: str) -> Iterator[str]:
        """Yield the name of a function of a resource, and add it to the error that this function raises."""
        try:
            yield f"{what} of ctx.own('{key}')"
        except PluginError as error:
            if isinstance(error, LoadError) and error.__cause__ is None:
                error.__cause__ = TimeoutError(str(error))  # it goes on, and no module was loading
            with contextlib.suppress(Exception):  # an exception class of the plugin may not accept notes
                BaseException.add_note(error.__cause__ or error, in_function(what, key))
                if isinstance(error, LoadError) and running_loop() is not None:  # it took too long
                    BaseException.add_note(error.__cause__ or error, _LOOP_WAITS)
            raise


def _release(owned: Owned[object], value: object) -> object:
    if owned.release is None:
        return None
    if _takes_one(owned.release):
        return cast("Callable[[object], object]", owned.release)(value)
    return cast("Callable[[], object]", owned.release)()
