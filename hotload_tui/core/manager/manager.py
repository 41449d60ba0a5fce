"""``HotloadManager``: the commands, the watching, and the queries of a console."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import time as clock  # a plugin can replace it
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Final, Self

from msgspec.structs import replace

from hotload_tui.core import directories
from hotload_tui.core.compiled import stamp_of
from hotload_tui.core.config import Config
from hotload_tui.core.config_files import files_of, resolve, unmatched_entries
from hotload_tui.core.database import DatabaseWatch
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import HotloadError, RefusedError, RuntimeDirError, near
from hotload_tui.core.events import (
    AnyEvent,
    LogCollector,
    PluginCleaned,
    PluginCompiled,
    PluginEnabled,
    PluginLoaded,
    Subscriber,
)
from hotload_tui.core.hooks.host import HookHost
from hotload_tui.core.limits import StallWatch
from hotload_tui.core.manager.engine import CommandLock, Engine
from hotload_tui.core.manager.gates import GateRun
from hotload_tui.core.manager.pipeline import Holds, Pipeline
from hotload_tui.core.manager.plan import Planner
from hotload_tui.core.manager.retire_thread import Probation
from hotload_tui.core.manager.store import Queries, StatusStore, WorkMonitor
from hotload_tui.core.manager.watching import ConfigReload, Watching
from hotload_tui.core.model import (
    Fault,
    HistoryEntry,
    Invocation,
    LogLine,
    Plan,
    PluginDetail,
    PluginStatus,
    Snapshot,
    StepObserver,
    WatcherStatus,
    nobody,
)
from hotload_tui.core.primitives import Event, Thread
from hotload_tui.core.runtime.loader import Loader
from hotload_tui.core.runtime.naming import identifier
from hotload_tui.core.runtime.threads import Trials
from hotload_tui.core.runtime.uncaught import Shown, UncaughtErrors
from hotload_tui.core.watch.scanner import PluginChange

if TYPE_CHECKING:
    from hotload_tui.core.manager.aio import EventStream


_KEPT = 20  # commands that can be undone


class HotloadManager:
    """Compiles, loads, watches and reloads the plugins of ``config.runtime_dir`` into ``host``.

    Any thread may use it; one command runs at a time. A ``with`` block starts and stops the manager;
    ``async with`` does so in a thread.
    """

    def __init__(
        self,
        host: HookHost,
        config: Config | None = None,
        *,
        trials: Trials | None = None,
        step_observer: StepObserver = nobody,
        acquires: bool = True,
    ) -> None:
        """Load plugins on worker threads, or with ``trials``; call ``step_observer`` before each step.

        Without ``acquires``, plugins load and register, but acquire nothing, and start no thread or task.
        """
        self._host = host
        given = config or Config()
        self._config = replace(given, plugins=dict(given.plugins))  # ``reconfigure`` replaces this copy
        stall_watch = StallWatch(given.drain_timeout)
        self._store = StatusStore(self._config, stall_watch.limited)
        work = WorkMonitor(step_observer)
        loader = Loader(
            host,
            self._config,
            trials=trials,
            step_observer=work,
            fault_observer=functools.partial(self._store.running_failed, is_shown=True),
            acquires=acquires,
            stall_watch=stall_watch,
        )
        self._uncaught = UncaughtErrors(
            self._config.module_path, self._plugin_with, loader.starter_of, self._error_uncaught
        )
        self._engine = engine = Engine(self._config, self._store, loader, work)
        engine.gates.ended = self._gate_ended
        self._pipeline = Pipeline(engine)
        self._holds = Holds(engine, self._pipeline)
        self._queries = Queries(host, self._config, self._store, loader, engine.outdated, work=work)
        self._config_reload = ConfigReload(engine, self._pipeline)
        self._command_lock = CommandLock(loader.is_inside_trial, loader.blocked)
        self._probation = Probation(self._config, self._store, host, self._go_back)
        self._watching = Watching(engine, self._pipeline, self._command_lock)
        self._undoable: deque[tuple[str, Callable[[], object]]] = deque(maxlen=_KEPT)
        self._detach: list[Callable[[], None]] = []
        self._is_note_due = False
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()

    def __repr__(self) -> str:
        counts = Counter(str(status.state) for status in self._store.statuses())
        plugins = ", ".join(f"{number} {state}" for state, number in counts.most_common()) or "no plugins"
        watcher = self._watching.status().state if self._detach else "not started"
        return f"<HotloadManager {near(self._engine.root)}: {plugins}; {watcher}>"

    # ---- start and stop

    def start(self) -> None:
        """Start watching, then scan, compile and load all plugins; do nothing if the manager runs.

        A missing runtime directory is no error: ``snapshot().watcher.trouble`` reports it, and the watcher
        waits for it.
        """
        with self._command():
            if self._detach:
                return
            self._engine.outdated.shared.note()
            self._detach = [
                self._store.subscribe(self._loaded),
                self._host.observe(
                    self._handler_failed,
                    self._config.module_path,
                    raises=self._config.on_fault == "raise",
                ),
                LogCollector(self._config.module_path, self._store.collect, self._plugin_of).attach(),
                self._uncaught.attach(),
                self._store.subscribe(self._renew_hooks),
            ]
            self._pipeline.start()
            # Watch before the scan, so that no change after the scan is missed.
            self._watching.start()
            try:
                self.scan_and_load_all()
            except RuntimeDirError as error:
                self._store.write("error", "", str(error))
            self._watching.publish_status()

    def stop(self, *, unload: bool = True) -> None:
        """Stop watching and, if ``unload`` is true, unload all plugins in reverse order of loading.

        A handler may call this method, which does not wait for the handler's own hook call. A subscriber may
        call it during a command: then the manager stops when that command ends.
        """
        self._command_lock.refuse_inside_trial()  # the watcher may be waiting for this load
        if self._command_lock.put_off(functools.partial(self.stop, unload=unload)):
            return
        with self._host.step_aside():
            self._watching.stop()
            with self._engine.builds.compiler.cancelled(), self._command_lock.taken():
                self._pipeline.close()
                self._engine.gates.stop()
                if unload:
                    self._pipeline.unload_all()
                detach, self._detach = self._detach, []
            self._pipeline.stop()
        for each in reversed(detach):
            each()
        self._store.history.save()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        import asyncio

        from hotload_tui.core.manager.aio import through

        try:
            await through(self.start)
        except asyncio.CancelledError:
            await through(self.stop)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        from hotload_tui.core.manager.aio import through

        try:
            await through(self.stop)
        finally:
            for stream in list(self._streams):
                stream.close()

    # ---- commands

    @contextlib.contextmanager
    def _command(self) -> Iterator[None]:
        """Take the lock for a command that loads plugins; after it, wait for the tests that decide on them.

        The wait holds no lock. A command within another one does not wait.
        """
        with self._command_lock.taken() as is_outermost:
            yield
            runs = self._engine.gates.claim() if is_outermost else []
        try:
            while runs:
                for run in runs:
                    with self._engine.loader.blocked():
                        run.over.wait()
                with self._command_lock.taken():
                    for run in runs:
                        self._pipeline.pass_gate(run)
                    runs = self._engine.gates.claim()
        finally:
            for run in runs:  # after Ctrl-C, their own threads continue
                run.is_awaited = False

    def _gate_ended(self, run: GateRun) -> None:
        with self._command_lock.taken():
            if run.is_awaited:
                return
            try:
                self._pipeline.pass_gate(run)
            except HotloadError as error:  # for example, the folder of plugins is gone
                self._store.write("warning", run.name, f"not loaded after its tests: {error}")

    def scan(self) -> tuple[PluginStatus, ...]:
        """Find the plugins without reading or running their code. Raises ``RuntimeDirError``."""
        with self._command_lock.taken():
            for directory in self._pipeline.find().values():
                if self._engine.is_on(directory):
                    self._pipeline.look(directory)
            return self._store.statuses()

    def scan_and_load_all(self) -> tuple[PluginStatus, ...]:
        """Bring every plugin up to date with its source. Raises ``RuntimeDirError``."""
        with self._command():
            found = self._pipeline.find()
            for warning in unmatched_entries(self._config, found):
                self._store.write("warning", "", warning)
            self._pipeline.update(found.values())
        return self._store.statuses()

    def load_plugin(self, path: Path) -> PluginStatus:
        """Bring the plugin in the directory ``path`` up to date. Raises ``UnknownPluginError``."""
        with self._command():
            layout, place = self._engine.rule.layout, Path(path).absolute()
            directory = self._pipeline.find_one(layout.plugin_at(place, place.parent) or place.name)
            self._pipeline.update([directory])
        return self._store.status(directory.name)

    def handle_file_change(self, path: Path) -> None:
        """Bring the plugin that contains a changed file up to date; ignore files outside plugins."""
        name = self._engine.rule.layout.plugin_at(Path(path).absolute(), self._engine.root)
        if name is not None:
            with self._command_lock.taken():
                self._pipeline.take([PluginChange(name)])

    def build(self, name: str | None = None) -> tuple[PluginStatus, ...]:
        """Compile one plugin, or all enabled plugins, without loading; the statuses contain the faults."""
        with self._command_lock.taken():
            if name is not None:
                return (self._pipeline.build(self._pipeline.find_one(name)),)
            return tuple(
                map(self._pipeline.build, filter(self._engine.is_on, self._pipeline.find().values()))
            )

    def rebuild(self, name: str | None = None, *others: str, force: bool = False) -> tuple[PluginStatus, ...]:
        """Build and load plugins, as ``ManagerApi.rebuild`` says."""
        with self._command():
            if name is None:
                self._pipeline.rebuild(force=force)
                names = [status.name for status in self._store.statuses()]
            else:
                names = self._pipeline.rebuild_some((name, *others), force=force)
        return self._store.some(names)

    def rollback(self, name: str, generation: int) -> PluginStatus:
        """Make an earlier generation's artifact live again, and hold the plugin there.

        The artifact loads as a new generation, unless it is live already. The plugin stays there, whatever
        is saved, until ``release``, ``enable`` or ``rebuild`` of this plugin.

        Raises:
            RefusedError: the plugin is disabled, has no such generation, the artifact is gone, or a plugin
                that requires this plugin does not load with it.
            PluginError: the artifact does not load; the live version stays live.

        """
        with self._command_lock.taken():
            undo = self._holds.way_back(name)
            self._holds.rollback(self._pipeline.find_on(name), generation)
            self._undoable.append((f"rollback {name} {generation}", undo))
            return self._store.status(name)

    def hold(self, name: str, reason: str) -> PluginStatus:
        """Bar the plugin's present source from loading, in this host and in later hosts, until it changes.

        The last other good version becomes live; if there is none, no version is live.
        """
        with self._command_lock.taken():
            self._holds.hold_back(self._pipeline.find_on(name), reason)
            return self._store.status(name)

    def release(self, name: str) -> PluginStatus:
        """Release the plugin if it is HELD, and bring it up to date with its source."""
        with self._command():
            directory = self._pipeline.find_one(name)
            self._engine.builds.release(name, "asked for")
            self._engine.builds.unbar(name, "asked for")
            self._pipeline.update([directory])
        return self._store.status(name)

    def enable(self, name: str) -> PluginStatus:
        """Rename ``_name`` to ``name`` and load the plugin, or release it if it is HELD; else do nothing."""
        with self._command():
            if not self._config.of(name).enabled and self._pipeline.find_one(name).enabled:
                raise RefusedError(
                    f"{name} is switched off by enabled = false in hotload.toml; change it there"
                )
            if self._toggle(name, directories.enable):
                self._undoable.append((f"enable {name}", lambda: self._toggle(name, directories.disable)))
            elif self._pipeline.is_held(name):
                self.release(name)
        return self._store.status(name)

    def disable(self, name: str) -> PluginStatus:
        """Rename ``name`` to ``_name`` and unload the plugin; do nothing if it is disabled."""
        with self._command_lock.taken():
            if self._toggle(name, directories.disable):
                self._undoable.append((f"disable {name}", lambda: self._toggle(name, directories.enable)))
            return self._store.status(name)

    def _toggle(self, name: str, rename: Callable[[PluginDirectory], PluginDirectory]) -> bool:
        """Rename a plugin's directory and apply that; return false if the name is right already."""
        directory = self._pipeline.find_one(name)
        self._watching.doubted.add(name)
        renamed = rename(directory)
        if renamed is directory:
            return False
        if renamed.enabled:
            self._store.publish(PluginEnabled(clock(), name))
        self._pipeline.update([renamed])
        return True

    def clean(self, name: str | None = None, *others: str) -> int:
        """Remove the artifacts of the named plugins, or of all, including removed ones; return the number.

        Live generations stay live.
        """
        names = dict.fromkeys((name, *others))
        with self._command_lock.taken(), contextlib.ExitStack() as undoing:
            for each in names:
                self._pipeline.find() if each is None else self._pipeline.find_one(each)
            removed: dict[str, int] = {}
            for each in names:
                found, undo = self._engine.builds.clean(each)
                removed |= found
                undoing.callback(undo)
            undo_all = undoing.pop_all().close
            if removed:
                command = f"clean {' '.join(each or 'of all' for each in names)}"
                self._undoable.append((command, undo_all))
            for cleaned, count in removed.items():
                self._store.publish(PluginCleaned(clock(), cleaned, count))
            return sum(removed.values())

    def undo(self) -> str:
        """Undo the last enable, disable, clean or rollback, and return its text.

        Raises:
            RefusedError: there is nothing to undo, or the undo is refused.

        """
        with self._command_lock.taken():
            if not self._undoable:
                raise RefusedError(
                    "there is nothing to undo: no disable, enable, clean or rollback is left to be taken back"
                )
            command, reverse = self._undoable.pop()
            reverse()
            self._store.write("info", "", f"undone: {command}")
            return command

    def new(self, name: str, template: str = "simple") -> PluginStatus:
        """Create a plugin from a template and load it. Raises ``UsageError`` if the name is invalid."""
        with self._command():
            layout = self._engine.rule.layout
            self._pipeline.update([directories.create(self._engine.root, name, template, layout)])
        return self._store.status(name)

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:
        """Call a hook point; return each value as JSON values, or as a shortened ``repr``.

        Raises ``UsageError`` if there are handlers, and none takes these arguments.
        """
        return self._queries.invoke(point, args, kwargs)

    def pause(self) -> WatcherStatus:
        """Collect changes until ``resume`` instead of loading them; commands still work.

        Does nothing if the manager is paused. Raises ``RefusedError`` if the configuration disables watching.
        """
        return self._watching.pause()

    def resume(self) -> tuple[PluginStatus, ...]:
        """Bring the plugins that changed since ``pause`` up to date in one batch, and follow changes again.

        Returns the statuses of these plugins.
        """
        return self._store.some(self._watching.resume())

    def reconfigure(self, read: Callable[[], Config]) -> tuple[PluginStatus, ...]:
        """Apply the plugin tables of the configuration that ``read`` returns; see ``follow_config``.

        Reloads, enables or disables the plugins whose tables changed, and returns their statuses. Raises
        ``ConfigError`` if ``read`` does; then no table changes.
        """
        with self._command_lock.taken():
            return self._store.some(self._config_reload.take(read, is_running=bool(self._detach)))

    # ---- objects of the program

    def follow(self, container: object, *, name: str | None = None) -> Callable[[], None]:
        """Let objects of the plugins' classes in a container of the program follow each reload.

        ``container`` is a dictionary, list, set, or an object with attributes, and the objects can be at any
        depth in it. At a swap, they get the new version's classes, as objects in ``ctx.state`` do; if one
        cannot, the load fails, and the fault names its place with ``name``, such as ``world.entities``
        (default: the container's type). Return the undo; until then, the manager keeps the container.

        Raises:
            UsageError: ``container`` is a value that cannot change, such as a tuple.

        """
        return self._engine.loader.containers.add(container, name)

    # ---- queries

    def snapshot(self) -> Snapshot:
        """Return the whole state at this moment; never wait for a reload."""
        self._engine.retire_thread.check_held()
        if self._detach:
            self._uncaught.renew()
        return self._queries.snapshot(self._watching.status(), self._config_reload.fault)

    def subscribe(self, subscriber: Subscriber, /) -> Callable[[], None]:
        """Call ``subscriber`` with every event, in the publishing thread; return the undo."""
        return self._store.subscribe(subscriber)

    def events(self) -> EventStream:
        """Return the events from now on as an asynchronous iterator for the running event loop.

        The manager never waits for a consumer: a consumer that falls 1000 events behind loses the oldest
        events, and reads an ``EventsMissed`` in their place.
        """
        from hotload_tui.core.manager.aio import EventStream

        stream = EventStream(self.subscribe)
        self._streams.add(stream)
        return stream

    def log(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the kept log lines with a number greater than ``since``."""
        return self._store.log(since)

    def detail(self, name: str) -> PluginDetail:
        """Return all details of one plugin."""
        self._engine.retire_thread.check_held()
        detail, requires = self._queries.detail(name), self._engine.dependencies.newest
        others = (status.name for status in self._store.statuses())
        return replace(
            detail,
            files_before=self._holds.files_before(name, detail.status.digest),
            requires=requires(name),
            required_by=tuple(other for other in others if name in requires(other)),
        )

    def plan(self, name: str | None = None) -> Plan:
        """Return the actions that ``rebuild`` of one plugin, or of all, would take now, with the reasons.

        Reads and compiles the sources in memory; writes nothing, and runs no plugin code. Raises
        ``RefusedError`` if the plugin is disabled.
        """
        with self._command_lock.taken():
            return Planner(self._engine).plan(name)

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """Return the history of a plugin in this host, oldest entry first; at most 100 entries."""
        self._store.status(name)
        return self._holds.history(name)

    def source(self, name: str, file: str, generation: int | None = None) -> str:
        """Return a file's text: as the live ``generation`` loaded it, or (``None``) as it is on disk.

        Raises:
            UnknownPluginError: there is no such plugin or file, or ``generation`` is not live.

        """
        return self._queries.source(name, file, generation)

    def _loaded(self, event: AnyEvent) -> None:
        if isinstance(event, PluginLoaded) and not self._is_note_due:
            self._is_note_due = True
            self._engine.retire_thread.then(self._note_imports)

    def _note_imports(self) -> None:
        """Note the modules of the project that plugins have imported, once for a batch of loads."""
        self._is_note_due = False
        self._engine.outdated.shared.note()

    def _handler_failed(self, fault: Fault, generation: int) -> None:
        self._store.running_failed(fault, generation)
        self._probation.handler_failed(fault, generation)

    def _go_back(self, name: str, generation: int, why: Fault) -> None:
        with self._command_lock.taken():
            live = self._engine.loader.live(name)
            if self._detach and live is not None and live.generation.number == generation:
                self._holds.go_back(self._pipeline.find_on(name), generation, why)

    def _error_uncaught(self, fault: Fault, generation: int, shown: Shown, *, is_late: bool) -> None:
        is_shown = shown == "log" or (shown == "stderr" and self._config.on_fault != "log")
        report = functools.partial(self._store.running_failed, fault, generation, is_shown=is_shown)
        if is_late:
            self._engine.retire_thread.later(report)
        else:
            report()

    def _renew_hooks(self, event: AnyEvent) -> None:
        if isinstance(event, PluginCompiled | PluginLoaded):
            self._uncaught.renew()

    def _plugin_of(self, module_name: str) -> str:
        return self._plugin_with(module_name) or module_name

    def _plugin_with(self, module_name: str) -> str | None:
        """Return the plugin whose modules have the identifier ``module_name``, if there is one."""
        return next((name for name in self._store.names() if identifier(name) == module_name), None)


_RETRY: Final = 1.0  # seconds until a configuration that cannot be used is read again
_INTERVAL: Final = 0.25  # seconds between two checks; a change is read once two checks find the same files


def follow_config(
    manager: HotloadManager,
    path: Path | None = None,
    *,
    runtime_dir: Path | None = None,
    compiled_dir: Path | None = None,
    given: Mapping[str, object] = MappingProxyType({}),
    interval: float = _INTERVAL,
) -> Callable[[], None]:
    """Apply each change in the files and rows that ``load_config`` reads to the manager; return the undo.

    A change in a plugin's table reloads only that plugin and the plugins that require it. An invalid
    configuration changes nothing; the log and ``snapshot().host.config_fault`` report the error.
    """
    files = tuple(file.absolute() for file in files_of(path))
    ended = Event()
    database = DatabaseWatch()

    def read() -> Config:
        there = [file for file in files if file.exists()] if path is None else files
        place = Path(near(there[-1])) if there else None  # the working directory may have changed
        config = resolve(place, runtime_dir=runtime_dir, compiled_dir=compiled_dir, given=given).config
        database.use(config.database)
        return config

    def stamps() -> tuple[object, ...]:
        return (*map(stamp_of, files), database.stamp())

    def look() -> None:
        taken: tuple[object, ...] = ()
        while not ended.is_set():
            found = stamps()
            if found != taken and not ended.wait(interval) and found == stamps():
                taken = found
                try:
                    manager.reconfigure(read)
                except HotloadError:  # the manager has reported it, or is stopping
                    taken = ()  # a database may be reached later, without a change of the files
                    ended.wait(_RETRY)
            ended.wait(interval)
        database.close()

    Thread(look, "hotload-config").start()
    return ended.set
