"""``Ledger``: what one generation started or changed in the process, until it is undone or reported."""

from __future__ import annotations

import functools
import io
import itertools
import re
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import NamedTuple, cast

from msgspec.structs import replace

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.holders import MOST, Reference
from hotload_tui.core.model import LedgerEntry
from hotload_tui.core.primitives import RLock, all_threads
from hotload_tui.core.undo.claims import Claimed, Claims, registers_with
from hotload_tui.core.undo.containers import IN_USE, Removal, StayingVersion
from hotload_tui.core.undo.owner import CodePlace, Owner, Script, name_of, place_of
from hotload_tui.core.undo.patches import Attributes, ClassAttributes, may_patch, relink
from hotload_tui.core.undo.registers import (
    MISSING,
    Entries,
    ExitCalls,
    ExitFunctions,
    ExitHook,
    ExitHooks,
    Register,
    RegisterChange,
    is_identical,
    is_same,
    readable,
    registers,
)
from hotload_tui.core.undo.running import Activity, tasks, threads
from hotload_tui.core.undo.settings import ModuleEntries, settings

_UNKNOWN = object()


@dataclass(eq=False, slots=True)
class _Stack:
    """The values of one entry: the host's value, and above it the generations' values, the newest last."""

    original: object
    layers: list[tuple[str, object]] = field(default_factory=list)


class Process:
    """The changes that the generations of one host have made; ``lock`` serializes loads and undos."""

    def __init__(self, module_path: str) -> None:
        """Treat all modules below ``module_path`` as plugin modules."""
        plugins = Owner(module_path)
        self.attributes = Attributes(plugins)
        self.classes = ClassAttributes(plugins)
        most = tuple(registers(plugins.owns))
        for register in most:
            register.read()  # finds some through the collector's lists, before a host freezes these
        self.registers: tuple[Register, ...] = (
            *settings(),
            ModuleEntries(plugins),
            *most,
            self.classes,
            self.attributes,
        )
        self.lock = RLock()
        self.readings: dict[Register, Entries] = {}
        """What was read after the last load, until ``let_go``."""
        self._plugins = plugins
        self._stacks: dict[tuple[Register, Hashable], _Stack] = {}

    def let_go(self) -> None:
        """Drop what was read for the loads of a batch: it keeps objects of other code alive."""
        self.readings = {}

    def read(self, artifact: Artifact, *, follows: bool) -> dict[Register, Entries]:
        """Return the entries of the registers that ``artifact`` may change.

        ``follows``: another load has just ended, and what was read then is still true.
        """
        found: dict[Register, Entries] = {}
        for register in self.registers:
            if register.may_change(artifact):
                _read(register, self.readings.get(register), found, follows=follows)
        return found

    def record(self, root: str, register: Register, change: RegisterChange) -> None:
        """Record that the generation ``root`` changed an entry."""
        stack = self._stacks.get((register, change.key))
        if stack is None:
            stack = self._stacks[register, change.key] = _Stack(self._original(register, change))
        stack.layers.append((root, change.after))

    def _original(self, register: Register, change: RegisterChange) -> object:
        """Return the value from before all plugins, never a plugin's value: that holds its generation."""
        if not self._plugins.owns(change.before):
            return change.before
        if register is self.classes:
            return _UNKNOWN
        if register is not self.attributes:
            return MISSING
        known = self.attributes.original(change.key, change.before)
        return _UNKNOWN if known is MISSING else known

    def hand_over(self, root: str, to: str, register: Register, key: Hashable) -> None:
        """Make a change of the generation ``root`` a change of the generation ``to``."""
        layers = self._stacks[register, key].layers
        layers[:] = [(to if layer[0] == root else layer[0], layer[1]) for layer in layers]

    def undo(self, owner: Owner, register: Register, key: Hashable) -> None:
        """Restore the value below a generation's change.

        Raises:
            LookupError: that value is not known, or the entry has changed since.

        """
        stack = self._stacks[register, key]
        index = next(index for index, layer in enumerate(stack.layers) if layer[0] == owner.root)
        _, value = stack.layers.pop(index)
        if not stack.layers:
            del self._stacks[register, key]
        below = stack.layers[index - 1][1] if index else stack.original
        if below is _UNKNOWN:
            raise LookupError(
                "another version had put something there, and what was before that is not known"
            )
        current = register.current(key)
        if index < len(stack.layers):
            root, above = stack.layers[index]
            if owner.owns(value) and below is not MISSING:
                relink(above, Owner(root), value, below)
        elif is_same(current, value) or owner.owns(current):
            register.write(key, below)
        elif not is_same(current, below):
            raise LookupError("it has changed since the load, and stays as it is")
        register.forget(key, value)


def _read(
    register: Register, known: Entries | None, found: dict[Register, Entries], *, follows: bool
) -> None:
    """Add the entries before a load to ``found``, unless foreign code raises, as in ``readable``."""
    try:
        if known is None:
            found[register] = register.read()
        else:
            found[register] = register.read_on(known if follows else register.read_after(known))
    except BaseException:  # foreign code
        return


def _read_after(register: Register, before: Entries, found: dict[Register, Entries]) -> None:
    """Add the entries after a load to ``found``, unless foreign code raises, as in ``readable``."""
    try:
        found[register] = register.read_after(before)
    except BaseException:  # foreign code
        return


_WORD, _QUOTED = re.compile(r"[\w.-]+"), re.compile(r"['\"]([^'\"]+)['\"]")
_PATIENCE = 1.0  # seconds that a terminated process has to exit
_STANDARD = 2  # the last descriptor of stdin, stdout and stderr
_STREAMS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedReader, io.BufferedRandom, io.FileIO)


class Resource(NamedTuple):
    """An open resource and the function that closes it."""

    category: str
    what: str
    close: Callable[[], object]


def is_resource(thing: object) -> bool:
    """Return whether the type of ``thing`` can be open: a socket, a process, a stream or an executor."""
    kind = type(thing)
    executor = getattr(sys.modules.get("concurrent.futures"), "Executor", None)
    kinds = (socket.socket, subprocess.Popen, *_STREAMS) + ((executor,) if executor else ())
    return issubclass(kind, kinds)


def resources(things: Iterable[object]) -> list[Resource]:
    """Return the open resources among ``things``, the objects that only the generation holds."""
    things = list(things)
    found = [resource for thing in things for resource in readable(_other(thing))]
    for kind in _STREAMS:  # the outermost first: it buffers data that is not written yet
        streams = [thing for thing in things if issubclass(type(thing), kind)]
        found += [resource for stream in streams for resource in readable(_file(stream))]
    return found


def _other(thing: object) -> Iterator[Resource]:
    kind = type(thing)
    executor = getattr(sys.modules.get("concurrent.futures"), "Executor", None)
    if issubclass(kind, socket.socket) and cast("socket.socket", thing).fileno() >= 0:
        yield Resource(
            "socket", f"{cast('socket.socket', thing).family.name}", cast("socket.socket", thing).close
        )
    elif issubclass(kind, subprocess.Popen):
        process = cast("subprocess.Popen[bytes]", thing)
        if process.poll() is None:
            yield Resource("process", f"{process.pid}", functools.partial(_end, process))
    elif executor is not None and issubclass(kind, executor):
        yield Resource("executor", kind.__qualname__, functools.partial(executor.shutdown, thing, wait=False))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process; raises ``subprocess.TimeoutExpired`` if it does not exit."""
    process.terminate()
    process.wait(_PATIENCE)


def _file(thing: object) -> Iterator[Resource]:
    stream = cast("io.IOBase", thing)
    name = getattr(stream, "name", "")
    if not stream.closed and stream.fileno() > _STANDARD:
        yield Resource("file", str(name), stream.close)


_MACHINERY = Owner(__name__.partition(".")[0])
_MOMENT = 0.05  # seconds
_HIDDEN = {
    "addaudithook": "audit hook",
    "register_at_fork": "at-fork hook",
    "create_function": "SQLite function",
    "create_aggregate": "SQLite function",
    "create_window_function": "SQLite function",
    "create_collation": "SQLite collation",
    "settrace": "trace function",
    "settrace_all_threads": "trace function",
    "setprofile": "profile function",
    "setprofile_all_threads": "profile function",
    "register_callback": "monitoring callback",
}  # by the function that sets the hook; the ledger can neither list nor remove such hooks
_STARTS = ("start", "submit", "map", "run_in_executor", "serve_forever")  # calls that start a thread


class _Line(NamedTuple):
    """One change of a register entry."""

    register: Register
    key: Hashable
    is_own: bool
    """Whether the generation owns the new value; otherwise its successor may rely on the change too."""
    entry: LedgerEntry


class Ledger:
    """The record of one generation's changes, from before its load until after its end."""

    def __init__(self, root: str, generation: int, process: Process) -> None:
        """Begin an empty ledger; the unique names of the generation's modules begin with ``root``."""
        self.root = root
        self._generation = generation
        self._process = process
        self._owner = Owner(root)
        self._script = Script(())
        self._before: dict[Register, Entries] = {}
        self._others: list[threading.Thread] = []
        self._threads: list[weakref.ref[threading.Thread]] = []
        self._modules = 0
        self._seen = 0
        self._new: list[str] = []
        self._words: set[str] = set()
        self._is_patching = False
        self._lines: list[_Line] = []
        self._called: list[LedgerEntry] = []
        self._given: set[Hashable] = set()
        self._hidden: list[LedgerEntry] = []
        self.claims: Claims | None = None
        """Finds what the load creates, of a plugin with ``reload = "replace"``."""

    # ---- the load

    def begin(self, artifact: Artifact, *, follows: bool = False, is_replaced: bool = False) -> None:
        """Read the registers that ``artifact`` may change; the caller holds the process's lock until ``end``.

        ``follows``: another ledger's ``end`` came immediately before. ``is_replaced``: what the load creates
        leaves other code before another version loads.
        """
        self._before = self._process.read(artifact, follows=follows)
        self._others = all_threads()
        self._modules = len(sys.modules)
        if is_replaced:
            self.claims = Claims(self.root)
            self.claims.begin()

    def imported(self, name: str, codes: Sequence[CodeType]) -> None:
        """Note what the plugin can patch in a shared module, just imported, before it does.

        ``codes`` is the code of the modules executed so far. Without this, the original attributes of a
        module that nobody else has imported would be lost.
        """
        if self.claims is not None:
            self.claims.imported()
        if len(sys.modules) > self._modules:
            count = len(sys.modules) - self._modules
            self._new += itertools.islice(reversed(sys.modules.copy()), count)
            self._modules += count
        if unread := codes[self._seen :]:
            self._seen = len(codes)
            if not self._is_patching and any(map(may_patch, unread)):
                self._is_patching, unread = True, codes
            if self._is_patching:
                self._words |= Script(unread).words()
        attributes = self._before.get(self._process.attributes)
        if self._is_patching and attributes is not None:
            new, self._new = self._new, []
            self._process.attributes.add(attributes, new)
            modules = {name.partition(".")[0], name, *new}
            self._process.classes.note(self._before[self._process.classes], modules, self._words)

    def end(self, codes: Iterable[CodeType], calls: ExitCalls, parts: Iterable[object] = ()) -> None:
        """Record what the load changed.

        ``codes`` is the code of the executed modules; ``calls`` are the functions that the generation gave to
        ``atexit``; ``parts`` are those of the error that ended the load.
        """
        if self.claims is not None:
            self.claims.end(parts)
        try:
            self._given = {*map(id, calls)}
            self._script = Script(codes)
            after: dict[Register, Entries] = {}
            self._process.readings = after
            for register, before in self._before.items():
                _read_after(register, before, after)
            for register, now in after.items():
                before = self._before[register]
                if now is before or not is_identical(before, now):
                    for change in readable(register.changes(before, now)):
                        self._note(register, change)
            others = {*map(id, self._others)}  # a comparison could run code of a plugin
            started = [thread for thread in all_threads() if id(thread) not in others]
            if started and self._script.mentions(*_STARTS):
                self._threads += map(weakref.ref, started)
        finally:
            self._before = {}  # it holds values of the previous generation
            self._others, self._new, self._words = [], [], set()

    def _note(self, register: Register, change: RegisterChange) -> None:
        value = change.before if change.after is MISSING else change.after
        if _MACHINERY.owns(value):
            return  # our import finder, installed with the first plugin
        is_exit = isinstance(register, ExitFunctions)  # ``calls`` lists the generation's atexit functions
        is_given = is_exit and change.key in self._given
        is_own = is_given or self._script.has(change.after)
        is_own = is_own or self._owner.owns(change.after) or self._owner.owns(change.key)
        place = register.change_in(self._script, change.key)
        if not is_own and (place is None or is_exit):
            return  # a library or another thread made the change
        place = place or place_of(change.after)
        self._process.record(self.root, register, change)
        what = register.tell(change.key, value)
        entry = self._entry(register.category, f"{what}, removed" if change.after is MISSING else what, place)
        self._lines.append(_Line(register, change.key, is_own, entry))

    def _entry(self, category: str, what: str, place: CodePlace, now: str = "") -> LedgerEntry:
        return LedgerEntry(category, what, self._generation, "stands", place.file, place.line, now)

    def has_started(self, thread: threading.Thread) -> bool:
        """Return whether the load started this thread."""
        return any(reference() is thread for reference in self._threads)

    # ---- current changes and activities

    def standing(self) -> tuple[LedgerEntry, ...]:
        """Return the generation's recorded changes, and the activities that run its code now."""
        return (
            *(line.entry for line in list(self._lines)),
            *(self._running(each) for each in self._activities()),
        )

    def _activities(self) -> Iterator[Activity]:
        started = [thread for reference in self._threads if (thread := reference()) is not None]
        yield from readable(threads(self._owner, started))
        yield from readable(tasks(self._owner))

    def _running(self, activity: Activity) -> LedgerEntry:
        start = activity.start if activity.start.file else self._script.mentions(*_STARTS)
        now = f":{activity.now.line}" if start and start.file == activity.now.file else str(activity.now)
        return self._entry(activity.category, activity.what, start or CodePlace(), now)

    # ---- the end

    def leave(self, calls: ExitCalls, successor: Ledger | None = None) -> list[ExitHook]:
        """Hand the changes that ``successor`` needs too over to it; return the exit hooks to call now.

        Exit hooks are registered for the end of the program. Without a call at the end of the generation,
        their flushing and cleanup would be lost. ``calls`` are the functions that the generation gave to
        ``atexit``.
        """
        with self._process.lock:
            self._lines = [*self._left(successor)][::-1]
            return [
                self._taken(register, ending)
                for register in self._process.registers
                if isinstance(register, ExitHooks)
                for ending in [*readable(register.endings(self._keys(register), calls, self._owner))]
            ]

    def _keys(self, register: Register) -> set[Hashable]:
        noted = (line.key for line in self._lines if line.register is register)
        return {*noted, *readable(register.owned(self._owner))}

    def _taken(self, register: Register, ending: ExitHook) -> ExitHook:
        """Remove an exit hook from its register, so that it runs only once; record it if no line does yet."""
        if all((line.register, line.key) != (register, ending.key) for line in self._lines):
            entry = self._entry(register.category, f"function {ending.name}", ending.place)
            self._called.append(replace(entry, outcome="undone"))
        register.write(ending.key, MISSING)
        return ending

    def undo(self) -> tuple[LedgerEntry, ...]:
        """Undo every change that can be undone; return the changes with their outcomes."""
        with self._process.lock:
            found = [
                *self._called,
                *(
                    self._undone(
                        line.entry,
                        functools.partial(self._process.undo, self._owner, line.register, line.key),
                    )
                    for line in reversed(self._lines)
                ),
                *self._undo_late(),
                *(self._stopped(activity) for activity in self._activities()),
            ]
            self._lines.clear()
            self._hidden = [
                replace(self._entry(category, f"set by {word}", place), outcome="named")
                for word, category in _HIDDEN.items()
                if (place := self._script.mentions(word))
            ]
            return tuple(found)

    def close(self, things: Iterable[object]) -> tuple[LedgerEntry, ...]:
        """Close the open resources among ``things``, the objects that only the generation holds."""
        return tuple(
            self._undone(self._entry(found.category, found.what, CodePlace()), found.close)
            for found in resources(things)
        )

    def undo_patches(self, *, forgets: bool = False) -> tuple[LedgerEntry, ...]:
        """Undo patches of shared modules made after the load; report the hooks that cannot be removed.

        The search of all modules pays only if something of the generation is still in memory. ``forgets``:
        ``references`` follows, and removes the patches whose original is not known.
        """
        attributes = self._process.attributes
        with self._process.lock:
            found, self._hidden = self._hidden, []
            for key in list(attributes.owned(self._owner)):
                value = attributes.current(key)
                original = attributes.original(key, value)
                entry = self._entry(attributes.category, attributes.tell(key, value), place_of(value))
                if original is MISSING and not forgets:
                    found.append(replace(entry, outcome="named"))
                elif original is not MISSING:
                    found.append(self._undone(entry, functools.partial(attributes.write, key, original)))
            return tuple(found)

    def references(
        self,
        holds: Sequence[Reference],
        name: Callable[[str], str],
        *,
        remove: bool,
        live: Ledger | None = None,
        claimed: Claimed | None = None,
    ) -> tuple[LedgerEntry, ...]:
        """Return the references to the generation from other code as entries; ``remove`` removes them first.

        ``name`` returns the author's name for a unique name. ``live`` is the ledger of the version that stays
        live after a failed load, and gets its own entries back. ``claimed`` are objects of other code that
        the load created.
        """
        version = None if live is None else StayingVersion(live.root, live._script)  # noqa: SLF001 - a ledger too
        removal = Removal(self.root, self._script, version, claimed.records if claimed else None)
        created = {*map(id, claimed.things)} if claimed else set()
        used = {id(hold.target) for hold in holds if created and removal.is_in_use(hold)}
        found = []
        for hold in holds:
            if claimed is not None and id(hold.target) in created:
                if not removal.is_beside_the_point(hold):
                    found.append(self._claimed(claimed, hold, removal, used | claimed.used))
                continue
            if hold.is_activity or (hold.is_attribute and not remove):
                continue  # reported as a thread or task, or as a patch
            what = f"{name(hold.what or self.root)} in {hold.where}"
            entry = self._entry("reference", what, self._place_of(hold))
            found.append(_removed(entry, removal, hold) if remove else replace(entry, outcome="named"))
        return _bounded([*dict.fromkeys(found)])

    def _place_of(self, hold: Reference) -> CodePlace:
        place = place_of(hold.thing)
        if self._script.has_file(place.file):
            return place
        return self._script.mentions(hold.what.rpartition(".")[2]) or place  # a decorator has made it

    def still_registered(self, errors: Iterable[object]) -> Iterator[str]:
        """Yield the names that the errors of a failed load mention, that its code registers, and that exist.

        Nothing shows whose such an entry is: its key and perhaps its value are plain text.
        """
        texts = [
            arg
            for error in errors
            if isinstance(error, BaseException)
            for arg in cast("tuple[object, ...]", BaseException.args.__get__(error))  # type: ignore[attr-defined]
            if type(arg) is str
        ]
        words = {word for text in texts for word in (text, *_WORD.findall(text), *_QUOTED.findall(text))}
        known = {word for word in words if len(word) > 1 and self._script.mentions(word)}
        for word, place in registers_with(known) if known else ():
            yield f"'{word}' is still in {place}; release it in on_unload"

    def _claimed(self, claimed: Claimed, hold: Reference, removal: Removal, used: set[int]) -> LedgerEntry:
        """Remove an object that the load created from other code, unless that code relies on it."""
        name = claimed.names.get(id(hold.target), "")
        place = self._script.mentions(name) if name else None
        what = f"{name_of(hold.target)} {name}".strip()
        entry = self._entry("claim", f"{what} in {hold.where}", place or CodePlace())
        if id(hold.target) in used:
            return replace(entry, outcome="named", now=IN_USE)
        return _removed(entry, removal, hold)

    def _left(self, successor: Ledger | None) -> Iterator[_Line]:
        """Yield the changes that ``successor`` does not take over, the newest first."""
        for line in reversed(self._lines):
            if successor is None or line.is_own or not successor.takes(line, self.root, self._texts_of(line)):
                yield line

    def _texts_of(self, line: _Line) -> list[str]:
        """Return the texts in the code that tell a change from others, unless the code computes them."""
        return [text for text in line.register.texts_of(line.key) if self._script.mentions(text)]

    def takes(self, line: _Line, root: str, texts: Iterable[str]) -> bool:
        """Take over a change of the previous generation that this one relies on; return whether it did.

        Examples: ``os.environ.setdefault``, or a second ``chdir`` to the same directory. The load changed
        nothing, but the code asks for that state: it has the words of the change, and its ``texts``.
        """
        own = [each for each in self._lines if each.register is line.register]
        if any(each.key == line.key or each.entry.what == line.entry.what for each in own):
            return False
        if line.register.change_in(self._script, line.key) is None:
            return False
        if any(self._script.mentions(text) is None for text in texts):
            return False
        self._process.hand_over(root, self.root, line.register, line.key)
        self._lines.append(line)
        return True

    def _undo_late(self) -> Iterator[LedgerEntry]:
        """Remove the entries that the generation added to registers after its load."""
        for register in self._process.registers:
            if register is self._process.attributes:
                continue
            for key in list(readable(register.owned(self._owner))):
                value = register.current(key)
                entry = self._entry(register.category, register.tell(key, value), place_of(value))
                yield self._undone(entry, functools.partial(register.write, key, MISSING))

    def _stopped(self, activity: Activity) -> LedgerEntry:
        entry = self._running(activity)
        if activity.timer is None:
            return replace(entry, outcome="named")
        return self._undone(entry, functools.partial(_cancel, activity.timer))

    def _undone(self, entry: LedgerEntry, act: Callable[[], object]) -> LedgerEntry:
        try:
            act()
        except BaseException as error:  # foreign code, such as the setter of a handler
            return replace(entry, outcome="named", now=f"{type(error).__name__}: {error}")
        return replace(entry, outcome="undone")


def _removed(entry: LedgerEntry, removal: Removal, hold: Reference) -> LedgerEntry:
    try:
        said = removal.remove(hold)
    except LookupError as error:
        return replace(entry, outcome="named", now=str(error))
    except BaseException as error:  # foreign code: a container of the host raises
        return replace(entry, outcome="named", now=f"{type(error).__name__}: {error}")
    return replace(entry, outcome="undone", what=f"{entry.what}, {said}" if said else entry.what)


def _bounded(entries: list[LedgerEntry]) -> tuple[LedgerEntry, ...]:
    """Return the entries, of each outcome at most ``MOST`` and one that counts the others."""
    found: list[LedgerEntry] = []
    for outcome in ("undone", "named"):
        some = [entry for entry in entries if entry.outcome == outcome]
        found += some[:MOST]
        if len(some) > MOST:
            found.append(replace(some[0], what=f"and {len(some) - MOST} more", file="", line=0, now=""))
    return tuple(found)


def _cancel(timer: threading.Timer) -> None:
    """Cancel a timer and clear its function and arguments: its thread may end later and must hold nothing."""
    timer.cancel()
    timer.function, timer.args, timer.kwargs = _nothing, (), {}
    timer.join(_MOMENT)


def _nothing() -> None: ...
