"""The ``PluginContext`` that the host passes to ``register(ctx)``, and the version that results."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from types import AsyncGeneratorType, CoroutineType, GeneratorType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar, cast, overload

from hotload_tui.core.errors import RefusedError, RegisterError
from hotload_tui.core.events import Step, own_logger
from hotload_tui.core.hooks.live import HandleMaker, LiveVersion
from hotload_tui.core.hooks.point import Decorator, Fitting, Handler, HookFunction, HookPoint, place_of
from hotload_tui.core.interpreter import caller
from hotload_tui.core.model import PLUGIN_LOGGER, Fault, HookPlace, encodable
from hotload_tui.core.primitives import Lock
from hotload_tui.core.runtime.following import current_method
from hotload_tui.core.runtime.generation import Generation
from hotload_tui.core.runtime.resources import BACKLOG, KeptPorts, Listening, Owned, Release, problem_with
from hotload_tui.core.runtime.workers import (
    Failed,
    TaskLoop,
    TaskWorker,
    ThreadWorker,
    Worker,
    current_worker,
    nobody_asks,
)
from hotload_tui.core.undo.ledger import Ledger

if TYPE_CHECKING:
    import socket  # takes 5 ms; a plugin that does not listen does not import it

_DELETED: Final = object()


@dataclass(eq=False, slots=True)
class KeptState:
    """A plugin's state values and their version, kept between its generations."""

    values: dict[str, object] = field(default_factory=dict)
    version: int = 0
    """The ``STATE_VERSION`` of the last generation that was swapped in."""
    plugin: str = ""


class StateMapping(MutableMapping[str, object]):
    """The mapping behind ``ctx.state``, which survives reloads.

    Until ``commit``, writes go to an overlay, key by key: a failed load changes nothing, and the old
    generation can keep writing. Values are shared; they are never copied or compared.
    """

    def __init__(self, kept: KeptState) -> None:
        self._kept = kept
        self._base = kept.values
        self._overlay: dict[str, object] | None = {}
        self._lock = Lock()  # a thread that register started may write during the swap
        self.version = 0
        """The version that ``commit`` records."""

    def __getitem__(self, key: str) -> object:
        overlay = self._overlay
        value = self._base[key] if overlay is None or key not in overlay else overlay[key]
        if value is _DELETED:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: object) -> None:
        if not issubclass(type(key), str):
            raise TypeError(f"a key of ctx.state is a string, not a {type(key).__name__}")
        key = str.__str__(key)  # an exact str: a member of a plugin's StrEnum would keep its generation alive
        with self._lock:
            target = self._base if self._overlay is None else self._overlay
            target[key] = value

    def __delitem__(self, key: str) -> None:
        with self._lock:
            self[key]  # raises KeyError if the key is missing
            if self._overlay is None:
                del self._base[key]
            else:
                self._overlay[str.__str__(key)] = _DELETED

    def __iter__(self) -> Iterator[str]:
        overlay = dict(self._overlay or ())  # copies: other threads keep writing
        keys = [key for key in dict(self._base) if key not in overlay]
        return iter([*keys, *(key for key, value in overlay.items() if value is not _DELETED)])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

    @property
    def kept_version(self) -> int | None:
        """The version of the values that an earlier generation left; ``None`` if it left none."""
        return self._kept.version if self._base else None

    def commit(self) -> None:
        """Apply the overlay to the shared mapping; later writes go directly to the shared mapping."""
        with self._lock:
            for key, value in (self._overlay or {}).items():
                if value is _DELETED:
                    self._base.pop(key, None)
                else:
                    self._base[key] = value
            self._kept.version = self.version
            self._overlay = None


DEFAULT_PRIORITY = 100

_MISSING: Final = object()  # not None: a plugin may pass None as the handler by mistake

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


class PluginContext:
    """A plugin's interface to its host, passed to ``register(ctx)``."""

    def __init__(
        self,
        name: str,
        generation: int,
        *,
        state: StateMapping,
        settings: Mapping[str, object],
        hook_point: str | None,
        priority: int | None,
        peers: Mapping[str, ModuleType] = MappingProxyType({}),
        ports: KeptPorts | None = None,
        failed: Failed = nobody_asks,
        module_path: str = "hotplug",
        digest: str = "",
        maker: HandleMaker | None = None,
    ) -> None:
        self._digest = digest
        self._maker = maker
        self.version: LiveVersion | None = None if maker is None else maker.version
        """The objects of this generation, for handles."""
        self.name = name
        """The plugin's name."""
        self.generation = generation
        """The number of this load: 1, 2, 3 …"""
        self.state: MutableMapping[str, object] = state
        """The plugin's mapping for values that survive reloads."""
        self.settings = frozen(settings)
        """The ``[plugins.<name>.settings]`` table of ``hotload.toml``, read-only."""
        self.log = own_logger(f"{PLUGIN_LOGGER}.{name}")
        """A logger whose lines appear in the console under the plugin's name."""
        self.staged: list[Handler] = []
        """The handlers that ``register`` registered; they go live only if the whole load succeeds."""
        self.unloaders: list[Callable[[], object] | Worker] = []
        self.owned: list[Owned[object]] = []
        """The exclusive resources that ``register`` asked for."""
        self.listening = Listening({} if ports is None else ports)
        """The listening sockets that ``register`` asked for."""
        self._waiting: list[Worker] | None = []
        self._paused: list[Callable[[], object] | Worker] = []
        self._loop: TaskLoop | None = None
        self._is_ended = False
        self._hook_point = hook_point
        self._priority = DEFAULT_PRIORITY if priority is None else priority
        self._peers = peers
        self._failed = failed
        self._module_path = module_path
        self._sealed = False

    def plugin(self, name: str) -> ModuleType:
        """Return a required plugin, with the names that its ``plugin.py`` defines and its modules.

        When the required plugin reloads, this plugin reloads with it, so this generation always uses the
        version that it was loaded with.

        Raises:
            RegisterError: this plugin does not require ``name``.

        """
        if name not in self._peers:
            raise RegisterError(
                self.name,
                f'ctx.plugin("{name}") needs it to be required: write REQUIRES = ["{name}"] in its entry, '
                f"or requires under [plugins.{self.name}] in hotload.toml",
            )
        return self._peers[name]

    @overload
    def hook(self, point: Fitting[_T], handler: _T, *, priority: int | None = None) -> _T: ...
    @overload
    def hook(self, point: HookPoint[_P, _R], *, priority: int | None = None) -> Decorator[_P, _R]: ...
    @overload
    def hook(
        self, point: str, handler: Callable[_P, _R], *, priority: int | None = None
    ) -> Callable[_P, _R]: ...
    @overload
    def hook(
        self, point: str, *, priority: int | None = None
    ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...
    @overload
    def hook(self, point: Callable[_P, _R], *, priority: int | None = None) -> Callable[_P, _R]: ...
    def hook(self, point: object, handler: object = _MISSING, *, priority: int | None = None) -> object:
        """Register ``handler`` at a hook point; lower priorities run first.

        Three forms: ``hook("point", handler)``, the decorator ``@ctx.hook("point")``, and ``hook(handler)``
        for the hook point that the configuration names. The priority is the argument, else the configured
        priority, else 100.

        Raises:
            RegisterError: the handler is not callable or does not fit the ``HookPoint``, the hook point is
                missing or its name is invalid, or the priority is not a whole number.
            RefusedError: ``register`` has ended.

        """
        if isinstance(point, str) and handler is _MISSING:

            def decorate(function: object) -> object:
                return self._stage(point, function, priority)

            return decorate
        if isinstance(point, str):
            return self._stage(point, handler, priority)
        if handler is not _MISSING:
            raise RegisterError(self.name, f"a hook point is named by a string, not {_kind(point)}")
        if self._hook_point is None:
            raise RegisterError(
                self.name,
                "ctx.hook(handler) needs a hook point: write ctx.hook('point', handler), "
                f'or set hook_point under [plugins."{self.name}"] in hotload.toml',
            )
        return self._stage(self._hook_point, point, priority)

    def live(self, thing: _T) -> _T:
        """Return a handle of a function, bound method or class, which the program may keep.

        The handle runs the live version of the object, which it finds by the name of the module and the
        qualified name; in a failed load it stays with the previous version. It keeps no version in memory.
        An object that only ``register`` can reach, such as an inner function, has the one of the next version
        as its successor that ``register`` passes to ``live`` under the same qualified name.

        Lists, tuples, dictionaries, dataclasses and ``functools.partial`` are copied, with handles in them.

        Raises:
            RegisterError: no other version could have such an object by name.

        """
        if self._maker is None:
            return thing
        return cast("_T", self._maker.live(thing, self.name))

    def on_unload(self, function: Callable[[], object]) -> Callable[[], object]:
        """Register ``function`` to run when this generation is unloaded.

        It runs after the last call of this generation has ended or ``drain_timeout`` has passed. Several
        functions run in reverse order.

        Raises:
            RegisterError: ``function`` is not callable, or is a coroutine function.
            RefusedError: ``register`` has ended.

        """
        self._check_open("on_unload")
        if not callable(function):
            raise RegisterError(self.name, f"ctx.on_unload needs a function, not {_kind(function)}")
        if inspect.iscoroutinefunction(function):
            raise RegisterError(
                self.name, "ctx.on_unload needs a plain function; nobody would await this one"
            )
        self.unloaders.append(self._current(function))
        return function

    def own(
        self,
        key: str,
        acquire: Callable[[], _T],
        release: Release[_T] | None = None,
        *,
        replace: Callable[[_T], _T] | None = None,
    ) -> Owned[_T]:
        """Own an exclusive resource, such as a port or a name in a registry, while this generation is live.

        ``register`` claims nothing. At the swap, the previous generation's ``release`` runs, then this
        generation's ``acquire``, then the hooks change. If ``acquire`` raises, the previous generation
        acquires again and stays live. ``release`` gets the value that ``acquire`` returned, if it takes an
        argument. It also runs when the plugin is unloaded. With ``replace``, a key that the previous
        generation owns too passes on without a gap: ``replace`` gets its value and returns the new one.

        Returns an object whose ``value`` is the value of ``acquire`` while this generation is live.

        Raises:
            RegisterError: the key is no text or is used twice, or an argument is not a plain function.
            RefusedError: ``register`` has ended.

        """
        self._check_open("own")
        known = {each.key for each in self.owned}
        if problem := problem_with(key, acquire, release, replace, known.__contains__):
            raise RegisterError(self.name, problem)
        current = self._current
        owned = Owned(str.__str__(key), current(acquire), current(release), current(replace))
        self.owned.append(cast("Owned[object]", owned))
        return owned

    def listen(
        self, host: str, port: int, *, backlog: int = BACKLOG, reuse_port: bool = False
    ) -> socket.socket:
        """Return a TCP socket that listens at an address while this generation is live.

        Each generation gets the same socket. Connections wait in it during a reload, so none is refused. A
        port that the previous generation does not have is bound at the swap; if that fails, the previous
        generation stays live. With port 0, the system chooses a port at once, another one for each call, and
        later generations get the same ports in the same order. The socket closes with the generation; the
        port becomes free when the plugin is unloaded, or reloads without this call.

        Raises:
            OSError: for port 0, the host is unknown.
            RefusedError: ``register`` has ended.

        """
        self._check_open("listen")
        frame = caller()
        place = (frame.f_code.co_filename, frame.f_lineno) if frame else ("", 0)
        return self.listening.listen(host, port, backlog, reuse=reuse_port, place=place)

    def thread(self, function: _T) -> _T:
        """Run ``function`` in a new thread, which starts when this generation goes live.

        If ``function`` takes an argument, it gets a ``threading.Event``, which is set when the generation is
        unloaded. The host then waits for the thread to end, as long as it waits for a call in flight.

        Raises:
            RegisterError: ``function`` is not callable, or is a coroutine function.
            RefusedError: the generation has been unloaded.

        """
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise RegisterError(self.name, f"ctx.thread needs a plain function, not {_kind(function)}")
        run = cast("Callable[[], object]", self._current(function))
        self._employ(ThreadWorker(self.name, run, self.log, self.dismiss, self._failed))
        return function

    def task(self, coroutine: _T) -> _T:
        """Run a coroutine or coroutine function as a task, which starts when this generation goes live.

        The task runs on the caller's event loop. If the caller has none (in ``register``), the task runs on a
        loop in a separate thread, which all such tasks of this generation share. When the generation is
        unloaded, the host cancels the task and waits for it, as long as it waits for a call in flight.

        Raises:
            RegisterError: ``coroutine`` is neither a coroutine nor a coroutine function.
            RefusedError: the generation has been unloaded.

        """
        made: object = self._current(coroutine)
        again = made if inspect.iscoroutinefunction(made) else None
        if again is not None:
            made = again()
        if not inspect.iscoroutine(made):
            raise RegisterError(self.name, f"ctx.task needs a coroutine, not {_kind(coroutine)}")
        worker = TaskWorker(
            self.name,
            made,
            self.log,
            self.dismiss,
            self._failed,
            again=again,
            module_path=self._module_path,
        )
        if not (worker.has_loop() or self._is_ended):
            if self._loop is None:
                self._loop = TaskLoop(self.name)
                self._employ(self._loop)
            worker.loop = self._loop
        self._employ(worker)
        return coroutine

    def begin(self) -> None:
        """Start the threads and tasks that ``register`` asked for; the generation is live now."""
        waiting, self._waiting = self._waiting or [], None
        for worker in waiting:
            worker.start()

    def is_exclusive(self) -> bool:
        """Return whether this generation has resources or workers that must end before its successor's."""
        is_claiming = bool(self.owned) or bool(self.listening)
        return is_claiming or any(isinstance(each, Worker) for each in self.unloaders)

    def pause(self) -> list[Worker]:
        """Let new threads and tasks wait for ``resume``; return those that the caller must end.

        A worker that asked for the reload goes on.
        """
        self._waiting = []
        self._paused = [*self.unloaders]
        workers, asking = [each for each in self._paused if isinstance(each, Worker)], current_worker()
        spared = [each for each in workers if each is asking or each.is_spared]
        spared += [each.loop for each in spared if isinstance(each, TaskWorker) and each.loop]
        return [each for each in workers if each not in spared]

    def resume(self, ended: Collection[Worker]) -> list[str]:
        """Start the ended threads and tasks again; return why some cannot start."""
        problems = {worker: worker.renew() for worker in ended}
        new = [each for each in self.unloaders if isinstance(each, Worker) and each not in self._paused]
        kept = [each for each in self._paused if not (isinstance(each, Worker) and problems.get(each))]
        self.unloaders[:] = [*kept, *new]
        self._paused = []
        if ended:
            self.listening.reopen()
        for worker in ended:
            if not problems[worker]:
                worker.start()
        self.begin()
        return [problem for problem in problems.values() if problem]

    def end(self) -> None:
        """Refuse new threads and tasks, and drop the handlers: code that kept ``ctx`` must not hold them."""
        self._is_ended = True
        self.staged.clear()
        if self.version is not None:
            self.version.is_pending = False
        paused, self._paused = self._paused, []
        for each in paused:
            if isinstance(each, Worker):
                each.forget()

    def abandon(self) -> None:
        """Drop all hooks, ``on_unload`` functions, threads and tasks; the load has failed."""
        self.seal()
        self.end()
        self.unloaders.clear()
        self.owned.clear()
        self.close_sockets()
        for worker in self._waiting or ():
            worker.forget()
        self._waiting = []

    def close_sockets(self) -> None:
        """Close the sockets that this generation listened with; the loader keeps those of a live one."""
        self.listening.close()

    def _employ(self, worker: Worker) -> None:
        if self._is_ended:
            worker.forget()
            raise RefusedError(f"{self.name} has been unloaded: nothing can be started any more")
        self.unloaders.append(worker)
        if self._waiting is None:
            worker.start()
        else:
            self._waiting.append(worker)

    def dismiss(self, worker: Worker) -> None:
        """Forget a worker that has ended."""
        with contextlib.suppress(ValueError):  # the retirement has already removed it
            self.unloaders.remove(worker)
        if worker not in self._paused:
            worker.forget()

    def seal(self) -> None:
        """Refuse further hooks and ``on_unload`` functions."""
        self._sealed = True

    def _current(self, function: _T) -> _T:
        return cast("_T", current_method(function, self.version))

    def _stage(self, point: str, handler: object, priority: int | None) -> object:
        self._check_open("hook")
        if not point or point != encodable(point):
            raise RegisterError(self.name, f"{point!a} cannot name a hook point; use a word in UTF-8")
        if not callable(handler):
            raise RegisterError(
                self.name, f"the handler at hook point '{point}' cannot be called: it is {_kind(handler)}"
            )
        if isinstance(point, HookPoint) and (reason := point.misfit(handler)):
            file, line = place_of(handler)
            raise RegisterError(self.name, reason, file=file, line=line)
        if priority is None:
            priority = self._priority
        elif type(priority) is not int:
            raise RegisterError(self.name, f"priority at hook point '{point}' must be a whole number")
        call = cast("HookFunction", self._current(handler))
        self.staged.append(
            Handler(
                str(point),
                call,
                plugin=self.name,
                generation=self.generation,
                priority=priority,
                digest=self._digest,
            )
        )
        return handler

    def _check_open(self, what: str) -> None:
        if self._sealed:
            raise RefusedError(f"ctx.{what} works only while register(ctx) runs")


def frozen(value: Mapping[str, object]) -> Mapping[str, object]:
    """Return a read-only copy of nested tables; lists become tuples."""
    return MappingProxyType({key: _frozen(item) for key, item in value.items()})


def _frozen(value: object) -> object:
    if isinstance(value, dict):
        return frozen(value)
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return value


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


_NEVER = 0.0


@dataclass(eq=False, slots=True)
class LivePlugin:
    """A generation with the handlers that it registered."""

    name: str
    generation: Generation
    context: PluginContext
    state: StateMapping
    handlers: tuple[Handler, ...]
    load_seconds: float
    ledger: Ledger
    """What the generation started or changed in the process."""
    steps: tuple[Step, ...] = ()
    """The steps of the load and the seconds that each took."""
    faults: tuple[Fault, ...] = ()
    """What went wrong when this version handed over, reported when it retires."""
    has_followers: bool = False
    """Whether kept objects follow this version, or may do so at the swap; see ``following``."""
    follows_everywhere: bool = False
    """Whether objects follow this version wherever they are."""
    loaded_at: float = _NEVER
    """When the generation went live, in seconds since the epoch; 0 until then."""

    @property
    def places(self) -> tuple[HookPlace, ...]:
        """The hook points at which the plugin is registered, with priorities, sorted by name."""
        return tuple(sorted({HookPlace(handler.point, handler.priority) for handler in self.handlers}))


def is_unfinished(value: object) -> bool:
    """Return whether a plugin's function returned a coroutine or generator instead of doing its work."""
    if type(value) is CoroutineType or type(value) is GeneratorType:
        value.close()  # else the interpreter warns that it was never awaited
    return type(value) in (CoroutineType, GeneratorType, AsyncGeneratorType)
