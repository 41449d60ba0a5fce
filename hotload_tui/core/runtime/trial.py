"""The trial of a generation: execute its modules, migrate its state, run ``register``.

A ``Load`` records the state of the process before and after it, and undoes a failed trial.
"""

from __future__ import annotations

import contextlib
import contextvars
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import time as clock  # a plugin can replace it
from types import CodeType, FunctionType, ModuleType
from typing import NamedTuple, cast

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.config import Config
from hotload_tui.core.errors import HotloadError, LoadError, RegisterError
from hotload_tui.core.events import Step
from hotload_tui.core.hooks.host import HookHost
from hotload_tui.core.hooks.live import LiveVersion
from hotload_tui.core.hooks.point import signature_of
from hotload_tui.core.layout import EntryPoint, PluginEntry, example_of
from hotload_tui.core.leaks import overloads, restore_overloads
from hotload_tui.core.model import StepObserver
from hotload_tui.core.primitives import perf_counter
from hotload_tui.core.runtime import native
from hotload_tui.core.runtime.context import KeptState, LivePlugin, PluginContext, StateMapping, is_unfinished
from hotload_tui.core.runtime.following import FollowedContainers, Followers
from hotload_tui.core.runtime.generation import Generation, Peer
from hotload_tui.core.runtime.marked import is_marked, register_all_marked
from hotload_tui.core.runtime.resources import KeptPorts
from hotload_tui.core.runtime.retirement import Parting, Retirer, parts_of
from hotload_tui.core.runtime.workers import Failed, Worker
from hotload_tui.core.undo.ledger import Ledger, Process


class Wanted(NamedTuple):
    """An artifact to load, with the defaults of ``ctx.hook(handler)``."""

    name: str
    artifact: Artifact
    hook_point: str | None = None
    priority: int | None = None
    root_dir: Path | None = None
    """The folder of the plugin's source; ``None``: where it is in ``runtime_dir``."""
    required: tuple[Generation, ...] = ()
    """The generations of the required plugins; they must be live when the new one goes live."""
    is_alone: bool = False
    """Whether the previous version has left for this one, or would have; then the ``on_unload`` functions of
    a failed load run, because they cannot remove anything of a live version."""
    is_replaced: bool = False
    """Whether this version leaves before another one loads (``reload = "replace"``)."""


def _folder(artifact: Artifact, config: Config) -> Path:
    """Return the folder of the plugin's source in ``runtime_dir``."""
    manifest, plugins = artifact.manifest, Path(config.runtime_dir).absolute()
    return plugins if manifest.entry.is_alone else plugins / manifest.plugin


@dataclass(eq=False)
class Load:
    """One load of one artifact; no code runs before ``begin``."""

    wanted: Wanted
    number: int
    """The number of the generation."""
    kept: KeptState
    ports: KeptPorts
    """The ports at which the plugin's live version listens."""
    config: Config
    process: Process
    step_observer: StepObserver
    failed: Failed
    """Reports the errors of the generation's threads and tasks."""
    host: HookHost
    """The host that gets handles of the generation's objects."""
    containers: FollowedContainers
    """The containers of the program in which objects follow."""
    previous: Generation | None = None
    """The live generation of the plugin, which is hidden from this one; ``None`` after the end."""
    began: float = 0.0
    """The start, in seconds since the epoch; 0 until then."""
    ended: float = 0.0
    """The end, in seconds since the epoch; 0 until then."""
    _unloaders: list[Callable[[], object]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.wanted.name

    @property
    def what(self) -> str:
        """What runs, as a message says it."""
        return "the load"

    def begin(self, *, follows: bool) -> None:
        """Create the generation and record the state of the process that it may change.

        The caller holds the process's lock. ``follows``: the ``end`` of another load came directly before.
        """
        name, artifact, hook_point, priority, root_dir, required, _, is_replaced = self.wanted
        began = clock()
        self._generation = generation = Generation(
            artifact,
            root_dir=root_dir or _folder(artifact, self.config),
            module_path=self.config.module_path,
            number=self.number,
        )
        generation.share(self.config.of(name).share)
        generation.peers = {other.plugin: Peer(other) for other in required}
        self._overloads = overloads(generation.parent)
        versions = [other.maker.version for other in required if other.maker and other.maker.version]
        generation.maker = self.host.maker(LiveVersion(generation, versions, self.kept.version))
        self._state = StateMapping(self.kept)
        self._context = PluginContext(
            name,
            self.number,
            state=self._state,
            settings=self.config.of(name).settings,
            hook_point=hook_point,
            priority=priority,
            peers=generation.peers,
            ports=self.ports,
            failed=self.failed,
            module_path=self.config.module_path,
            digest=artifact.manifest.digest,
            maker=generation.maker,
        )
        if self.previous is not None:
            self.previous.hide()
        self._ledger = Ledger(generation.root, self.number, self.process)
        self._ledger.begin(artifact, follows=follows, is_replaced=is_replaced)
        ledger, origin = self._ledger, generation.origin
        generation.on_import = lambda name: ledger.imported(name, origin.codes())
        self.began = began

    def prove(self) -> LivePlugin:
        """Execute the modules and run ``register``; raises ``LoadError`` or ``RegisterError``."""
        with self.step_observer("load", self.name, self.wanted.artifact.manifest.digest):
            # In a copy: a context variable that is set during the load would hold the version for ever.
            context = contextvars.copy_context()
            if self._context.version is not None:
                self._context.version.on_trial(context)
            proven = context.run(self._proven)
            if self._context.version is not None:
                self.host.check(self._context.version, proven.handlers)
        self._overloads = {}
        return proven

    def _proven(self) -> LivePlugin:
        """Run the plugin's code, in a context of its own."""
        started = perf_counter()
        generation = self._generation
        # Not at the import, after which a plugin may go on without the module.
        if reason := native.excess(generation.artifact, generation.file_of, self.config.native_limit):
            raise LoadError(self.name, reason)
        try:
            module = generation.execute()
        except BaseException as error:  # foreign code: whatever it raises, the old generation stays live
            raise LoadError(self.name, "the plugin's modules did not execute") from error
        executed = perf_counter()
        entry = self._generation.entry
        first, *others = entry.points or (EntryPoint("", "", entry.file),)
        parts = [(first, module), *((each, self._module(each)) for each in others)]
        functions = [self._register_of(each, found, entry) for each, found in parts]
        migrate(self.name, module, self._state, str(self._generation.root_dir / entry.file))
        if self._context.version is not None:
            self._context.version.state_version = self._state.version
        for function in functions:
            self._run(function)
        self._context.seal()
        version = self._context.version
        everywhere = self.config.of(self.name).follow == "all"
        has_followers = version is not None and (
            bool(Followers(self._state, version, self.containers, everywhere=everywhere))
            or (self.number > 1 and (everywhere or bool(self.containers)))
        )
        ended = perf_counter()
        steps = (Step("execute", executed - started), Step("register", ended - executed))
        handlers = tuple(self._context.staged)
        return LivePlugin(
            self.name,
            self._generation,
            self._context,
            self._state,
            handlers,
            ended - started,
            self._ledger,
            steps,
            has_followers=has_followers,
            follows_everywhere=everywhere,
        )

    def _module(self, point: EntryPoint) -> object:
        """Import the module of an entry point; that of a single file is loaded."""
        entry = self._generation.entry
        name = entry.module if entry.is_alone else point.module.partition(".")[2]
        try:
            found = self._generation.reach(name)
        except BaseException as error:  # foreign code, as above
            raise LoadError(self.name, "the plugin's modules did not execute") from error
        if found is None:
            file = str(self._generation.root_dir / point.file)
            lacks = f"no {point.file}, although the entry point {point.name} names it"
            raise LoadError(self.name, f"{lacks}; add it, or install the package again", file=file)
        return found

    def _register_of(self, point: EntryPoint, module: object, entry: PluginEntry) -> _Register:
        name = point.object or entry.function
        function, problem, line = _register_of(module, point, name)
        found = _Register(function, name, str(self._generation.root_dir / point.file), line)
        if problem:
            raise RegisterError(self.name, problem, file=found.file, line=line)
        return found

    def _run(self, register: _Register) -> None:
        try:
            returned = register.call(self._context)
        except BaseException as error:  # foreign code, as above
            raise RegisterError(self.name, f"{register.name}(ctx) raised") from error
        if is_unfinished(returned):
            problem = f"{register.name} returned a coroutine or generator, which nobody would run"
            advice = f"write: {example_of(register.name)}"
            raise RegisterError(self.name, f"{problem}; {advice}", file=register.file, line=register.line)

    def end(self, error: BaseException | None = None) -> None:
        """Record what the load changed in the process; the caller holds the process's lock.

        ``error`` ended the load.
        """
        self._generation.on_import = None
        functions = (*(handler.call for handler in self._context.staged), *self._context.unloaders)
        parts: Iterable[object] = functions if error is None else parts_of(error)
        self._ledger.end(self._generation.origin.codes(), self._generation.exit_calls, parts)
        if error is None:
            self.previous = None
        self.ended = clock()

    def show_previous(self) -> None:
        """Let the live generation be as it was: this one fails."""
        previous, self.previous = self.previous, None
        if previous is not None:
            previous.show()

    def clear_up(self, error: BaseException, retirer: Retirer, live: Ledger | None = None) -> Parting:
        """Undo a failed load, and add a note to its ``error`` for each change that cannot be undone.

        ``live`` is the ledger of the version that stays live.
        """
        self.show_previous()
        generation, ledger = self._generation, self._ledger
        unloaders, self._unloaders = self._unloaders, []
        for fault in (*retirer.run(self._generation, unloaders), *retirer.call_endings(generation, ledger)):
            error.add_note(f"cleaning up failed: {fault.type}: {fault.message}")
        generation.release()
        for entry in ledger.undo():
            if entry.outcome == "named":
                error.add_note(f"left behind: {entry.describe()}")
        gone = retirer.drop(generation, ledger, self._context)
        restore_overloads(self._overloads)
        self._overloads = {}
        gone.is_failed = True
        if ledger.claims:
            gone.claimed = ledger.claims.found(generation.own_modules().values(), parts_of(error))
        for entry in gone.remove_references(error, live):
            error.add_note(f"left behind: {entry.describe()}")
        if unseen := gone.liveness.unseen():
            error.add_note(f"left behind: {unseen}")
        for text in ledger.still_registered(parts_of(error)) if ledger.claims else ():
            error.add_note(text)
        return gone

    def abandon(self) -> None:
        """Drop everything that ``register`` asked for, except what ``clear_up`` runs."""
        if self.wanted.is_alone:
            self._unloaders = [each for each in self._context.unloaders if not isinstance(each, Worker)]
        self._context.abandon()


class Outcome(NamedTuple):
    """The result of a load."""

    load: Load
    trial: LivePlugin | None
    error: HotloadError | None
    """Why ``trial`` is ``None``."""


_MIGRATE = "def migrate_state(state, from_version) -> None: ..."


def defined(module: object, name: str) -> object:
    """Return the value of ``name`` in a plugin's entry, or ``None``; raises what the plugin's code raises."""
    # A module can replace itself in sys.modules with any object.
    return vars(module).get(name) if type(module) is ModuleType else getattr(module, name, None)


def migrate(plugin: str, module: object, state: StateMapping, file: str) -> None:
    """Migrate the state to the ``STATE_VERSION`` of ``module``; this takes effect if the load succeeds.

    ``migrate_state`` is not called if earlier generations left no state, or state of the same version.

    Raises:
        LoadError: ``STATE_VERSION`` is not a whole number, or ``migrate_state`` is missing, raised, or
            returned anything but ``None`` or the state itself.

    """
    version = _version(plugin, module, file)
    before, state.version = state.kept_version, version
    if before is None or before == version:
        return
    change = f"the state of version {before} to STATE_VERSION {version}"
    try:
        function = defined(module, "migrate_state")
        returned = function(state, before) if callable(function) else None
    except BaseException as error:  # foreign code: whatever it raises, the old generation stays live
        with contextlib.suppress(Exception):  # an exception class of the plugin may not accept notes
            BaseException.add_note(error, f"migrate_state was to bring {change}")
        raise LoadError(plugin, f"migrate_state(state, {before}) raised") from error
    if not callable(function):
        problem = f"nothing brings {change}; add: {_MIGRATE}"
    elif is_unfinished(returned):
        problem = (
            f"migrate_state returned a coroutine or generator, which nobody would run; write: {_MIGRATE}"
        )
    elif returned is not None and returned is not state:
        problem = f"migrate_state returned a value, which nobody uses; change state in place: {_MIGRATE}"
    else:
        return
    line = _line_of(function) if inspect.isfunction(function) else 1
    raise LoadError(plugin, problem, file=file, line=line)


def _version(plugin: str, module: object, file: str) -> int:
    try:
        version = defined(module, "STATE_VERSION")
    except BaseException as error:  # foreign code, as above
        raise LoadError(plugin, "looking at STATE_VERSION raised") from error
    if version is None:
        return 0
    if type(version) is not int:
        kind = type(version).__name__
        raise LoadError(plugin, f"STATE_VERSION must be a whole number, not a {kind}", file=file, line=1)
    return version


def _line_of(function: object) -> int:
    """Return the line of a function; 1 if it is not known. Raises what the attributes of an object raise."""
    code = getattr(inspect.unwrap(function) if callable(function) else None, "__code__", None)
    return code.co_firstlineno if type(code) is CodeType else 1


_SPECIAL = (
    inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
)


class _Register(NamedTuple):
    """The function that registers a plugin."""

    call: Callable[[PluginContext], object]
    name: str
    file: str
    line: int


def _register_of(
    module: object, point: EntryPoint, name: str
) -> tuple[Callable[[PluginContext], object], str, int]:
    """Return the function that registers the plugin, its problem (empty if there is none), and its line."""
    line = 1
    if not name:
        return _nothing, "", line
    try:
        register = defined(module, name)
        if type(register) is FunctionType and _plainly_takes_one(register):
            return register, "", register.__code__.co_firstlineno
        marked = module if register is None and not point.object else register
        if type(marked) is not FunctionType and is_marked(marked):
            return partial(register_all_marked, plugin=marked, point=point if point.name else None), "", line
        line = _line_of(register)
        problem = "" if register is None else _misshapen(register, name)
    except Exception as error:  # foreign code: register may be any object, and its attributes may run code
        register, problem = _nothing, f"looking at {name} raised {type(error).__name__}: {error}"
    if register is None:
        missing = f"{point.file} has run and defines no {name}"
        marks = ", and no function that is marked for pluggy" if point.name and not point.object else ""
        return _nothing, f"{missing}{marks}; add: {example_of(name)}", line
    advice = f"{problem}; write: {example_of(name)}" if problem else ""
    return cast("Callable[[PluginContext], object]", register), advice, line


def _plainly_takes_one(function: FunctionType) -> bool:
    """Return quickly whether a plain function takes one argument; ``False`` for all special functions."""
    code = function.__code__
    needed = code.co_argcount - len(function.__defaults__ or ())
    is_plain = not (code.co_flags & _SPECIAL or code.co_kwonlyargcount or vars(function))
    return is_plain and needed <= 1 <= code.co_argcount


def _nothing(_: object) -> None: ...


def _misshapen(register: object, name: str) -> str:
    """Return why the function ``name`` cannot be called with one argument; empty if it can."""
    if not callable(register):
        return f"{name} is a {type(register).__name__}, not a function"
    if inspect.iscoroutinefunction(register) or inspect.isasyncgenfunction(register):
        return (
            f"{name} is async, but runs in a thread without an event loop before the version is live:"
            " pass what must be awaited to ctx.task or ctx.own, and a discord.py cog to own_cog"
            " (docs/coming-from.md)"
        )
    if inspect.isgeneratorfunction(register):
        return f"{name} is a generator (it has a yield), so calling it would do nothing"
    try:
        signature_of(register).bind(object())
    except TypeError as error:
        return f"{name} must take one argument, ctx ({error})"
    except ValueError:
        return ""  # some built-in callables have no signature; the call shows whether it fits
    return ""
