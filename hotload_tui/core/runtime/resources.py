"""Exclusive resources of a plugin: what ``ctx.own`` declares, and the sockets of ``ctx.listen``.

Listening sockets pass from version to version, so that no connection is refused. ``register`` gets a socket
without an address: a trial takes no port. The socket is bound when the version goes live, after the previous
version has closed the ports that the new one does not use.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import socket
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

    def __init__(
        self, plugin: str, what: str, function: Callable[[], object], failure: str = "a function of ctx.own"
    ) -> None:
        self.name = plugin
        self.what = what
        self._failure = failure
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
            except PluginError:
                raise
            except BaseException as error:  # foreign code: whatever it raises, the hand-over has failed
                raise RegisterError(self.name, f"{self._failure} raised") from error
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


class ResourceCalls:
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

    def call(self, plugin: str, digest: str, what: str, function: Callable[[], object]) -> None:
        """Call a function that may call a plugin's code at the hand-over; raises ``PluginError``."""
        self._call("load", digest, _Call(plugin, what, function, what))

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


BACKLOG: Final = 128
"""Number of connections that may wait until a plugin accepts them."""

_FOREVER = 2_000_000.0  # seconds; the system call takes no more than 24 days

Address: TypeAlias = tuple[str, int, int]
"""The host and port that a plugin asks for; for port 0, any free port, also the number of that call."""


class Port:
    """A host and port at which versions of a plugin listen, with the socket that they share."""

    def __init__(self, host: str, number: int, backlog: int, *, reuse: bool) -> None:
        """Prepare; nothing is bound before ``open``."""
        self.host = host
        self.number = number
        self.is_open = False
        self._backlog = backlog
        self._reuse = reuse
        self._socket = self._new()

    def open(self) -> bool:
        """Listen; return false if duplicates that were made before are of no use.

        Raises:
            OSError: the address is in use or unknown.
            OverflowError: there is no port of this number.

        """
        if self.is_open:
            return True
        is_unused = not self._is_used()
        if not is_unused:
            self._socket.close()
            self._socket = self._new()
        self._socket.bind((self.host, self.number))
        self._socket.listen(self._backlog)
        self.number = self._socket.getsockname()[1]
        self.is_open = True
        return is_unused

    def duplicate(self) -> socket.socket:
        """Return another socket for the same port; if the port is not open, both listen when it is."""
        if self._socket.fileno() == -1:  # it could not be opened again
            self._socket = self._new()
        return self._socket.dup()

    def close(self) -> None:
        """Stop listening; duplicates go on."""
        self._socket.close()
        self.is_open = False

    def _is_used(self) -> bool:
        """Return whether the socket is closed, or the plugin has made it listen at another port."""
        with contextlib.suppress(OSError):
            return self._socket.fileno() == -1 or self._socket.getsockname()[1] != 0
        return False  # some systems have no name for a socket without an address

    def _new(self) -> socket.socket:
        """Return a socket like that of ``socket.create_server``, not bound yet."""
        import socket

        made = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        if os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._reuse:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made


KeptPorts: TypeAlias = dict[Address, Port]
"""The ports of a plugin's live version by address, kept between its versions."""


class Listening:
    """The listening sockets of one version of a plugin.

    The version gets duplicates: it may close them, and the kept port goes on to collect connections.
    """

    def __init__(self, kept: KeptPorts) -> None:
        """Prepare; ``kept`` are the ports of the live version."""
        self._kept = kept
        self._used: KeptPorts = {}
        self._places: dict[Address, tuple[str, int]] = {}
        self._given: list[tuple[socket.socket, Port]] = []

    def __bool__(self) -> bool:
        """Return whether the version listens at a port."""
        return bool(self._used)

    def listen(
        self, host: str, number: int, backlog: int, *, reuse: bool, place: tuple[str, int]
    ) -> socket.socket:
        """Return a socket that listens once the version is live; at once, if the live version listens.

        ``place``: the file and line of the call. Raises ``OSError``.
        """
        asked = 0 if number else sum(each[:2] == (host, number) for each in self._used)
        address = (host, number, asked)
        port = self._used.get(address) or self._kept.get(address)
        if port is None:
            port = Port(host, number, backlog, reuse=reuse)
            if number == 0:  # takes nothing from anybody, and the plugin may ask for the number
                port.open()
        self._used[address] = port
        self._places[address] = place
        given = port.duplicate()
        # All duplicates share one flag, "non-blocking". With a limit, a socket works whatever another version
        # does with the flag; a socket without one would fail, or block the other version's event loop.
        given.settimeout(_FOREVER)
        self._given.append((given, port))
        return given

    def open(self, plugin: str) -> None:
        """Open the ports that the live version does not have. Raises ``RegisterError``."""
        for address, port in self._used.items():
            try:
                is_bound = port.open()
            except (OSError, OverflowError) as error:
                self.shut()
                file, line = self._places[address]
                problem = f"ctx.listen('{port.host}', {port.number}): {error}"
                raise RegisterError(plugin, problem, file=file, line=line) from None
            if not is_bound:
                self.close_given(port)
        self.reopen()

    def shut(self) -> None:
        """Close the ports that the live version does not have."""
        for address, port in self._used.items():
            if self._kept.get(address) is not port:
                port.close()
                self.close_given(port)

    def reopen(self) -> None:
        """Open again what the version, which goes on after all, has closed when its workers ended.

        A server closes its socket when it stops, and the worker that starts again has the same object.
        """
        for given, port in self._given:
            if given.fileno() == -1 and port.is_open:
                limit = given.gettimeout()
                type(given).__init__(given, fileno=port.duplicate().detach())  # the plugin has this object
                given.settimeout(limit)

    def commit(self) -> None:
        """Keep the ports of this version, which is live now, and close the others."""
        keep(self._kept, self._used)

    def close(self) -> None:
        """Close what this version was given, and the ports that no live version keeps."""
        self.shut()
        for given, _ in self._given:
            given.close()
        self._given, self._used = [], {}

    def drop_others(self, previous: Listening | None) -> Callable[[], None]:
        """Close the kept ports that this version does not use; return the undo, which raises ``OSError``.

        ``previous`` is that of the live version, if there is one.
        """
        dropped = {address: port for address, port in self._kept.items() if address not in self._used}
        for address, port in dropped.items():
            del self._kept[address]
            port.close()
            if previous is not None:
                previous.close_given(port)

        def undo() -> None:
            self._kept.update(dropped)
            for port in dropped.values():
                port.open()
            if previous is not None:
                previous.reopen()

        return undo

    def close_given(self, port: Port) -> None:
        """Close what this version was given for a port."""
        for given, its_port in self._given:
            if its_port is port:
                given.close()


def keep(kept: KeptPorts, used: KeptPorts) -> None:
    """Keep the ports in ``used``, and close all others in ``kept``."""
    for address in [address for address in kept if address not in used]:
        kept.pop(address).close()
    kept.update(used)


def explain_taken(message: str, kept: KeptPorts) -> tuple[str, ...]:
    """Return what to do if a plugin could not bind a port because hotload keeps it for the plugin."""
    if "in use" not in message:
        return ()
    return tuple(
        f"hotload keeps {port.host}:{port.number} for ctx.listen; to bind this port otherwise, "
        "disable and enable the plugin"
        for port in kept.values()
        if re.search(rf"\b{port.number}\b", message)
    )
