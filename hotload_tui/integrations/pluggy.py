"""Hot plugins as plugins of a ``pluggy.PluginManager``; needs the extra ``hotload-tui[pluggy]``.

A program that calls its plugins through pluggy lets hot plugins answer, too::

    hooks = pluggy.PluginManager("app")
    hooks.add_hookspecs(Hooks)
    serve_hooks(hooks, host)
    hooks.hook.greet(name="Ada")  # the plugins of the program, and hot plugins

A hot plugin whose functions are marked for pluggy needs no ``register``. If it has one, that one calls
``register_marked``.

Each hot plugin is a plugin of pluggy under its own name, and its hook implementations are handles. So pluggy
calls them by its own rules, and most reloads change nothing in pluggy. The implementations of a hook at one
hook table are an *edition*. A call of a hook belongs to a hook table, whose edition it uses, although pluggy
has perhaps read the list of an earlier one, or of a later one if old code makes the call.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from operator import attrgetter
from types import CodeType, FunctionType, ModuleType, TracebackType
from typing import Final, NamedTuple, TypeAlias, cast
from weakref import WeakKeyDictionary

import pluggy
from pluggy import _manager

from hotload_tui.core.errors import PluginError, RegisterError
from hotload_tui.core.hooks.host import HookHost
from hotload_tui.core.hooks.inflight import CallRecord, CallsInFlight, HookTable, Version
from hotload_tui.core.hooks.live import GeneratorHandle, Handle, HandleMaker, LiveVersion, Place, kind_of
from hotload_tui.core.hooks.point import Handler, NamedPoint, place_of
from hotload_tui.core.layout import EntryPoint
from hotload_tui.core.module_names import is_of_plugin
from hotload_tui.core.runtime.context import DEFAULT_PRIORITY
from hotload_tui.core.runtime.marked import USUAL, Marked, register_marked, wrappers_at

__all__ = ["HotPlugin", "register_marked", "serve_hooks"]

_Execute: TypeAlias = Callable[[str, Sequence[pluggy.HookImpl], Mapping[str, object], bool], object]

logger = logging.getLogger("hotload.engine")

_LEAVE_OUT: Final = "leave it to the program with enabled = false under [plugins.{}] in hotload.toml"

_calling: ContextVar[CallRecord | None] = ContextVar("hotload_pluggy", default=None)
"""The call of a hook in which implementations run now."""


def serve_hooks(hooks: pluggy.PluginManager, host: HookHost, *, live: bool = False) -> Callable[[], None]:
    """Let the plugins of ``host`` be plugins of ``hooks``, now and after each load; return the undo function.

    A plugin takes part with its functions that are marked for the project of ``hooks`` (``register_marked``),
    and with its handlers at hook points that have the name of a specified hook. All rules are those of
    pluggy; a call of a hook uses one version of every hot plugin.

    With ``live``, the hooks return handles in place of hot plugins' functions, methods and classes, also
    inside lists, tuples, dictionaries and dataclasses, where the next version can be asked for them by name:
    the program may keep them.

    Raises:
        RegisterError: a hook implementation of a live plugin does not fit its hook, or the plugin's name is
            taken. After this call, such a version fails to load.

    """
    bridge = _Bridge(hooks, host, _Handles(host.flight) if live else None)
    table = host.flight.table
    for name, version in table.versions.items():
        bridge.check(version, table.plugins.get(name, ()))
    bridge.start()
    return bridge.stop


class HotPlugin(ModuleType):
    """A hot plugin as pluggy sees it; its functions are handles."""

    __slots__ = ("_hotload_owner", "_hotload_point")

    def __init__(self, owner: str, point: EntryPoint | None) -> None:
        super().__init__(point.module if point else owner)
        self._hotload_owner = owner
        self._hotload_point = point


class _Implementation(NamedTuple):
    """A hook implementation of a version."""

    hook: str
    attribute: str
    impl: pluggy.HookImpl
    decorate: Callable[[object], object] | None
    """Makes a fixture of pytest of the function, which is no hook implementation then."""

    def facts(self) -> tuple[object, ...]:
        """Return what pluggy knows of it: while this is the same, nothing changes in pluggy."""
        impl = self.impl
        place, opts = cast("Handle", impl.function)._live_place, sorted(impl.opts.items())  # noqa: SLF001
        return self.hook, self.attribute, type(impl.function), place, opts, impl.argnames, impl.kwargnames


class _Edition(NamedTuple):
    """The implementations of a hook by hot plugins."""

    first: int
    """The number of the first hook table with them."""
    impls: tuple[pluggy.HookImpl, ...]


class _Wrapping(Generator[object, object, object]):
    """The generator of a wrapper, with the code by which pluggy names a wrapper that yields wrongly."""

    def __init__(self, generator: Generator[object, object, object], code: object) -> None:
        self._generator = generator
        self.gi_code = code

    def send(self, value: object) -> object:
        """Go on with a value."""
        return self._generator.send(value)

    def throw(self, *error: object) -> object:
        """Go on with an error."""
        return self._generator.throw(cast("BaseException", error[0]))

    def close(self) -> None:
        """End the generator."""
        self._generator.close()


class _WrapperHandle(GeneratorHandle):
    """Stands for a wrapper."""

    __slots__ = ()

    def __call__(self, /, *args: object, **kwargs: object) -> Generator[object, object, object]:
        """Return the generator of the live wrapper."""
        return _Wrapping(super().__call__(*args, **kwargs), self.__code__)

    @property
    def __code__(self) -> CodeType:
        return cast("FunctionType", self.__wrapped__).__code__


class _HookCalls:
    """The calls in flight, for the handles of implementations: their calls are part of a hook's call."""

    def __init__(self, flight: CallsInFlight) -> None:
        self._enter = flight.enter_as_part
        self.kept, self.seen = flight.kept, flight.seen
        self.step_in, self.step_out = flight.step_in, flight.step_out
        self.note_task, self.leave_task, self.leave = flight.note_task, flight.leave_task, flight.leave

    def enter_uncounted(self, point: str | NamedPoint) -> CallRecord:
        """Begin a call as part of the call of the hook."""
        return self._enter(point, _calling.get())


class _Handles(HandleMaker):
    """Makes handles of what hooks return; of what cannot have one, it returns the object itself."""

    def handle(self, thing: object, plugin: str) -> object:
        """Return a handle of a function, method or class of a hot plugin, else ``thing``."""
        with contextlib.suppress(PluginError):
            return super().handle(thing, plugin)
        return thing


class _Bridge:
    """Keeps the hot plugins of a host registered with a plugin manager: a mirror of the host's hook table."""

    def __init__(self, hooks: pluggy.PluginManager, host: HookHost, maker: _Handles | None) -> None:
        self._hooks = hooks
        self._host = host
        self._maker = maker
        self._flight = host.flight
        self._handles = cast("CallsInFlight", _HookCalls(host.flight))
        self._plugins: dict[tuple[str, str], HotPlugin] = {}
        """By the name of the hot plugin, and that of its plugin of pluggy."""
        self._prepared: WeakKeyDictionary[Version, dict[int, _Implementation]] = WeakKeyDictionary()
        """By the ``id`` of a version's handlers: a handler itself would hold the version."""
        self._live: dict[str, list[_Implementation]] = {}
        self._editions: dict[str, list[_Edition]] = {}
        self._edition_of: dict[pluggy.HookImpl, _Edition] = {}
        self._changed: dict[str, None] = {}  # the hooks; a set would have no order
        self._registered: set[tuple[str, str]] = set()
        self._historic: set[tuple[str, str]] = set()
        self._execute: _Execute = hooks._inner_hookexec  # noqa: SLF001
        self._specify = hooks.add_hookspecs
        self._is_stopped = False

    def start(self) -> None:
        """Register the live plugins, and follow the hook table."""
        self._hooks._inner_hookexec = self.call_hook  # type: ignore[assignment] # noqa: SLF001
        self._hooks.add_hookspecs = self.specify  # type: ignore[method-assign]
        self._flight.add_mirror(self)

    def stop(self) -> None:
        """Unregister all plugins."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._flight.remove_mirror(self)
        self._editions.clear()
        if self._hooks._inner_hookexec == self.call_hook:  # noqa: SLF001
            self._hooks._inner_hookexec = self._execute  # type: ignore[assignment] # noqa: SLF001
        if self._hooks.add_hookspecs == self.specify:
            self._hooks.add_hookspecs = self._specify  # type: ignore[method-assign]

    def specify(self, module_or_class: ModuleType | type) -> None:
        """Add specifications; those of a plugin's new version take the place of the old ones."""
        name = getattr(module_or_class, "__name__", "")
        if not is_of_plugin(name):
            self._specify(module_or_class)
            return
        before = {}
        for hook, caller in vars(self._hooks.hook).items():
            if caller.has_spec() and _is_same_module(caller.spec.namespace, name):
                before[hook] = caller.spec, caller._call_history  # noqa: SLF001
                caller.spec = caller._call_history = None  # noqa: SLF001
        try:
            self._specify(module_or_class)
        except Exception:
            for hook, (spec, history) in before.items():
                caller = getattr(self._hooks.hook, hook)
                caller.spec, caller._call_history = spec, history  # noqa: SLF001
            raise
        for caller in vars(self._hooks.hook).values():
            if caller.has_spec() and caller.spec.namespace is module_or_class:
                # pluggy shows them, and needs them no more; they would keep the version.
                caller.spec.namespace, caller.spec.function = ModuleType(name), _specified
                if caller.name in before and caller.is_historic():
                    caller._call_history = before[caller.name][1] or []  # noqa: SLF001

    # ---- a version on trial

    def check(self, version: Version, handlers: Sequence[Handler]) -> None:
        """Make the hook implementations of a version, and let pluggy verify them."""
        found: dict[int, _Implementation] = {}
        for index, handler in enumerate(handlers):
            named = self._named(handler)
            if named is None:
                continue
            hook, attribute, options = named
            impl = self._implementation(cast("LiveVersion", version), handler, options, index)
            self._check_plugin(cast("HotPlugin", impl.plugin), impl.plugin_name)
            fixture = handler.call.fixture if type(handler.call) is Marked else None
            found[id(handler)] = _Implementation(hook, attribute, impl, fixture and fixture.decorate)
            caller: pluggy.HookCaller | None = getattr(self._hooks.hook, hook, None)
            if fixture is None and caller is not None and caller.has_spec():
                self._verify(caller, impl, handler)
        self._prepared[version] = found

    def _named(self, handler: Handler) -> tuple[str, str, dict[str, object]] | None:
        """Return the hook, the attribute and the options of a handler; ``None`` if it is not for pluggy."""
        call = handler.call
        if type(call) is Marked:
            is_own = call.project == self._hooks.project_name
            return (call.hook, call.attribute, call.options) if is_own else None
        caller = getattr(self._hooks.hook, handler.point, None)
        if caller is None or not caller.has_spec():
            return None
        is_first, is_last = handler.priority < DEFAULT_PRIORITY, handler.priority > DEFAULT_PRIORITY
        return handler.point, handler.point, {**USUAL, "tryfirst": is_first, "trylast": is_last}

    def _implementation(
        self, version: LiveVersion, handler: Handler, options: dict[str, object], index: int
    ) -> pluggy.HookImpl:
        call = handler.call
        function = call.function if type(call) is Marked else call
        named = version.name_of(function) or version.give(function) or version.give(function, f"<{index}>")
        assert named is not None, "no other handler has this index"
        version.note(named, function)
        origin = version.reference if version.is_pending else None
        kind = _WrapperHandle if kind_of(function) is GeneratorHandle else kind_of(function)
        handle = kind(self._handles, Place(version.plugin, version.parent, *named), origin)
        point = call.point if type(call) is Marked else None
        plugin_name = point.name if point else version.plugin
        plugin = self._plugins.setdefault((version.plugin, plugin_name), HotPlugin(version.plugin, point))
        return pluggy.HookImpl(plugin, plugin_name, handle, cast("pluggy.HookimplOpts", options))

    def _verify(self, caller: pluggy.HookCaller, impl: pluggy.HookImpl, handler: Handler) -> None:
        try:
            self._hooks._verify_hook(caller, impl)  # noqa: SLF001
        except Exception as error:  # a warning can be an error, too
            file, line = place_of(handler.call)
            raise RegisterError(handler.plugin, str(error), file=file, line=line) from None

    def _check_plugin(self, plugin: HotPlugin, name: str) -> None:
        other = self._hooks.get_plugin(name)
        owner, point = plugin._hotload_owner, plugin._hotload_point  # noqa: SLF001
        if other is not None and other is not plugin and not _is_copy(other, plugin):
            taken = f'a plugin "{name}" is registered with pluggy already'
            advice = _LEAVE_OUT.format(owner) if point else "rename the directory of the hot one"
            raise RegisterError(owner, f"{taken}; {advice}")
        if point and any(_package_of(each) == owner for each in self._specifications()):
            problem = f"{owner} specifies hooks of the program, so it is a part of the program"
            raise RegisterError(owner, f"{problem} and cannot be hot; {_LEAVE_OUT.format(owner)}")

    def _specifications(self) -> Iterator[object]:
        """Yield the modules and classes that specify hooks."""
        for caller in vars(self._hooks.hook).values():
            if caller.has_spec():
                yield caller.spec.namespace

    # ---- the swap

    def change(self, table: HookTable, plugins: Iterable[str]) -> None:
        """Note the implementations that the hook table has from now on."""
        hooks: dict[str, None] = {}
        for name in plugins:
            before, after = self._live.get(name, []), self._of(table, name)
            if [each.facts() for each in before] == [each.facts() for each in after]:
                continue
            hooks.update(dict.fromkeys(each.hook for each in (*before, *after) if each.decorate is None))
            self._live[name] = after
        self._forget()
        for hook in hooks:
            known = (each for found in self._live.values() for each in found if each.decorate is None)
            impls = [each.impl for each in known if each.hook == hook]
            edition = _Edition(table.number, tuple(map(copy.copy, impls)))
            self._edition_of |= dict.fromkeys(edition.impls, edition)
            self._editions.setdefault(hook, [_Edition(0, ())]).append(edition)
        self._changed |= hooks

    def _of(self, table: HookTable, name: str) -> list[_Implementation]:
        """Return the implementations of a plugin in the order in which pluggy would find them."""
        version, handlers = table.versions.get(name), table.plugins.get(name, ())
        if version is None:
            return []
        if version not in self._prepared:  # its trial began before this bridge
            try:
                self.check(version, handlers)
            except RegisterError as error:
                logger.warning("%s: pluggy cannot register it: %s", name, error)
        prepared = self._prepared.get(version, {})
        found = [prepared[id(each)] for each in handlers if id(each) in prepared]
        return sorted(found, key=attrgetter("attribute"))

    def _forget(self) -> None:
        """Forget the editions of hook tables that no call uses any more."""
        flight = self._flight
        oldest = min(table.number for table in (*flight.superseded, flight.table))
        for editions in self._editions.values():
            while len(editions) > 1 and editions[1].first <= oldest:
                for impl in editions.pop(0).impls:
                    del self._edition_of[impl]

    def changed(self) -> None:
        """Change the registrations and lists of pluggy."""
        changed, self._changed = self._changed, {}
        live: dict[tuple[str, str], list[_Implementation]] = {}
        for owner, found in self._live.items():
            for each in found:
                live.setdefault((owner, each.impl.plugin_name), []).append(each)
        for key, found in live.items():
            self._show(self._plugins[key], [each for each in found if each.decorate])
            if key not in self._registered:  # pytest looks for fixtures now, and only now
                self._register(key)
            self._show(self._plugins[key], found)
        for hook in changed:
            for impl in filter(self._is_there, self._editions[hook][-1].impls):
                self._apply_history(hook, impl)
            self._fill(hook, self._editions[hook][-1].impls)
        for key in self._registered - live.keys():
            self._unregister(key)
        self._live = {name: found for name, found in self._live.items() if found}

    def _register(self, key: tuple[str, str]) -> None:
        self._registered.add(key)
        plugin, name = self._plugins[key], key[1]
        other = self._hooks.get_plugin(name)
        try:
            if other is not None and _is_copy(other, plugin):
                # It has answered the historic calls; another answer would set up everything twice.
                self._historic |= {(name, caller.name) for caller in self._hooks.get_hookcallers(other) or ()}
                self._hooks.unregister(other, name)
            self._hooks.register(plugin, name)
        except Exception:  # foreign code; the version is live already
            logger.exception("%s: pluggy cannot register it", key[0])
        if (distribution := _distribution_of(plugin)) is not None:
            shown = cast("importlib.metadata.Distribution", _manager.DistFacade(distribution))  # type: ignore[attr-defined]
            self._hooks._plugin_distinfo.append((plugin, shown))  # noqa: SLF001

    def _unregister(self, key: tuple[str, str]) -> None:
        self._registered.discard(key)
        plugin, name = self._plugins[key], key[1]
        self._historic = {each for each in self._historic if each[0] != name}
        listed = self._hooks._plugin_distinfo  # noqa: SLF001
        listed[:] = [each for each in listed if each[0] is not plugin]
        if self._hooks.get_plugin(name) is plugin:
            self._hooks.unregister(plugin, name)

    def _is_there(self, impl: pluggy.HookImpl) -> bool:
        """Return whether pluggy has the plugin of an implementation: the program can block it."""
        return self._hooks.get_plugin(impl.plugin_name) is impl.plugin

    def _is_own(self, impl: pluggy.HookImpl) -> bool:
        plugin = impl.plugin
        if type(plugin) is not HotPlugin:
            return False
        return self._plugins.get((plugin._hotload_owner, impl.plugin_name)) is plugin  # noqa: SLF001

    def _show(self, plugin: HotPlugin, found: Iterable[_Implementation]) -> None:
        """Give a plugin the handles of its implementations as attributes, with their marks."""
        shown = vars(plugin)
        handles = {each.attribute: each for each in found}
        for attribute in [each for each in shown if not each.startswith("__") and each not in handles]:
            del shown[attribute]
        for attribute, each in handles.items():
            if each.decorate is not None:
                shown[attribute] = each.decorate(each.impl.function)
                continue
            setattr(each.impl.function, f"{self._hooks.project_name}_impl", each.impl.opts)
            shown[attribute] = each.impl.function

    def _apply_history(self, hook: str, impl: pluggy.HookImpl) -> None:
        """Let a plugin that is new at a historic hook answer the calls so far, once."""
        caller: pluggy.HookCaller | None = getattr(self._hooks.hook, hook, None)
        if caller is None or not caller.is_historic() or (impl.plugin_name, hook) in self._historic:
            return
        self._historic.add((impl.plugin_name, hook))
        try:
            caller._maybe_apply_history(impl)  # noqa: SLF001
        except (Exception, SystemExit) as error:  # foreign code; the version is live already
            kind = type(error).__name__
            logger.warning("%s raised %s in the historic hook %s", impl.plugin_name, kind, hook)

    def _fill(self, hook: str, hot: Iterable[pluggy.HookImpl]) -> None:
        """Put the implementations of hot plugins into pluggy's list for a hook, in one assignment."""
        caller: pluggy.HookCaller | None = getattr(self._hooks.hook, hook, None)
        if caller is None:
            caller = pluggy.HookCaller(hook, self._hooks._hookexec)  # noqa: SLF001
            setattr(self._hooks.hook, hook, caller)
        while True:  # the program may register a plugin meanwhile
            before = caller.get_hookimpls()
            cold = [impl for impl in before if not self._is_own(impl)]
            after = self._merged(cold, filter(self._is_there, hot))
            if caller.get_hookimpls() == before:
                caller._hookimpls[:] = after  # noqa: SLF001
                return

    def _merged(self, cold: list[pluggy.HookImpl], hot: Iterable[pluggy.HookImpl]) -> list[pluggy.HookImpl]:
        """Return a list of implementations as if all plugins had been registered in their present order."""
        ranks = {id(plugin): rank for rank, (_, plugin) in enumerate(self._hooks.list_name_plugin())}

        def rank_of(impl: pluggy.HookImpl) -> int:
            return ranks.get(id(impl.plugin), len(ranks))  # call_extra adds some without a plugin

        merged = [*cold]
        for impl in sorted(hot, key=rank_of):
            place = _section(impl), rank_of(impl)
            index = 0
            while index < len(merged) and _is_before(_section(merged[index]), rank_of(merged[index]), place):
                index += 1
            merged.insert(index, impl)
        return merged

    # ---- a call

    def call_hook(
        self,
        name: str,
        impls: Sequence[pluggy.HookImpl],
        kwargs: Mapping[str, object],
        firstresult: bool,  # noqa: FBT001 - as pluggy calls it
    ) -> object:
        """Call a hook: hot plugins with the versions of one hook table."""
        __tracebackhide__ = True
        editions = self._editions.get(name)
        if editions is None or not (editions[-1].impls or any(map(self._is_own, impls))):
            return self._execute(name, impls, kwargs, firstresult)
        flight = self._flight
        record = flight.enter(name)
        flight.step_out(record)  # what the program's own plugins call is not part of this call
        self._count(name, record.table)
        token = _calling.set(record)
        try:
            fitting = self._fitting(impls, editions, record.table)
            returned = self._execute(name, fitting, kwargs, firstresult)
            return self._maker.live(returned, "") if self._maker else returned
        except BaseException as error:
            self._blame(error, name, kwargs, record.table)
            raise
        finally:
            _calling.reset(token)
            flight.step_in(record)
            flight.leave(record)

    def _count(self, hook: str, table: HookTable) -> None:
        """Count the call for the handlers of hot plugins, also for those that a first result spares."""
        wrappers = table.points.get(wrappers_at(hook), ())
        if wrappers:
            self._flight.counts[wrappers_at(hook)].value += 1
        for handler in (*table.points.get(hook, ()), *wrappers):
            handler.count()

    def _fitting(
        self, impls: Sequence[pluggy.HookImpl], editions: Sequence[_Edition], table: HookTable
    ) -> Sequence[pluggy.HookImpl]:
        """Return the implementations with those of hot plugins as of a hook table."""
        wanted = next(each for each in reversed(editions) if each.first <= table.number)
        read = next(filter(None, map(self._edition_of.get, impls)), None)
        if read is wanted:
            return impls
        hot = [impl for impl in impls if self._is_own(impl)]
        if not hot:
            return impls
        left_out = {impl.plugin_name for impl in read.impls} if read else set()  # by subset_hook_caller
        left_out -= {impl.plugin_name for impl in hot}
        cold = [impl for impl in impls if not self._is_own(impl)]
        return self._merged(cold, [impl for impl in wanted.impls if impl.plugin_name not in left_out])

    def _blame(self, error: BaseException, hook: str, kwargs: Mapping[str, object], table: HookTable) -> None:
        """Record an error that a hot plugin raised as its fault; it reaches the program all the same."""
        modules = _raised_in(error.__traceback__)
        for name, version in table.versions.items():
            if any(f"{module}.".startswith(f"{version.parent}.") for module in modules):
                points = hook, wrappers_at(hook)
                at_hook = [each for each in table.plugins.get(name, ()) if each.point in points]
                if at_hook:
                    self._host.blame(at_hook[0], error, {**kwargs})


def _specified() -> None:
    """Stand for the function of a specification."""


def _is_same_module(namespace: object, name: str) -> bool:
    """Return whether a namespace is another version of a plugin's module ``name``, or the program's copy."""
    other = getattr(namespace, "__name__", "")
    return isinstance(namespace, ModuleType) and other in (name, name.partition(".")[2])


def _is_copy(other: object, plugin: HotPlugin) -> bool:
    """Return whether a plugin of the program is the program's own copy of a hot one."""
    point = plugin._hotload_point  # noqa: SLF001
    if point is None or type(other) is HotPlugin:
        return False
    module = other.__name__ if isinstance(other, ModuleType) else getattr(other, "__module__", "")
    return module == point.module


def _package_of(namespace: object) -> str:
    is_module = isinstance(namespace, ModuleType)
    return str(getattr(namespace, "__name__" if is_module else "__module__", "")).partition(".")[0]


def _distribution_of(plugin: HotPlugin) -> importlib.metadata.Distribution | None:
    """Return the installed distribution whose entry point a plugin is, or ``None``."""
    point = plugin._hotload_point  # noqa: SLF001
    if point is None:
        return None
    found = importlib.metadata.entry_points(name=point.name, module=point.module)
    return next((each.dist for each in found), None)


def _section(impl: pluggy.HookImpl) -> tuple[bool, int]:
    """Return the part of pluggy's list that an implementation belongs to; pluggy calls the last one first."""
    return bool(impl.wrapper or impl.hookwrapper), 0 if impl.trylast else 2 if impl.tryfirst else 1


def _is_before(section: tuple[bool, int], rank: int, place: tuple[tuple[bool, int], int]) -> bool:
    """Return whether an implementation is before one at ``place`` in pluggy's list."""
    if section != place[0]:
        return section < place[0]
    return rank > place[1] if section[1] == 0 else rank <= place[1]


def _raised_in(trace: TracebackType | None) -> list[str]:
    """Return the modules in which a hook implementation raised an error.

    There is none if the error came through another call of a hook, which has reported it.
    """
    modules: list[str] = []
    calls = 0
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        calls += (module, trace.tb_frame.f_code.co_name) == (__name__, _Bridge.call_hook.__name__)
        modules = [] if module.startswith("pluggy.") else [*modules, module]
        trace = trace.tb_next
    return modules if calls == 1 else []
