"""Random user actions; after each one the host runs the same versions as a cold start would."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from hotload_tui import Config, HookHost, HotloadManager, PluginState
from hotload_tui.core.compiled import Record
from hotload_tui.core.errors import RefusedError
from hotload_tui.core.events import PluginLoaded, PluginRetired
from hotload_tui.core.runtime.naming import identifier
from hotload_tui.core.source import read_source
from tests.conftest import answering, without_memory
from tests.core.conftest import Histories, plugin_modules
from tests.counts import IS_RANDOM, MODEL_EXAMPLES

NAMES = ("a", "a-b", "json")
BROKEN = {
    "syntax error": ("def register(ctx)\n", "compile"),
    "no register": ("x = 1\n", "compile"),
    "empty": ("", "compile"),
    "raising import": ("import sys\nsys.left_behind = 1\ndel sys.left_behind\nregister = missing\n", "load"),
    "broken helper": ("from . import no_such_helper\ndef register(ctx): ...\n", "load"),
    "raising register": ("def register(ctx):\n    ctx.hook('greet', print)\n    1 / 0\n", "register"),
    "wrong register": ("def register(): ...\n", "register"),
}

_names = st.sampled_from(NAMES)
BOUNDED = settings(
    max_examples=MODEL_EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    derandomize=not IS_RANDOM,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Expected:
    """The model's record of one plugin."""

    source: str
    """The answer of its newest source, a key of ``BROKEN``, or ``gone`` if it has no plugin.py."""
    serves: str | None = None
    """The answer of the live version; ``None`` if there is none."""
    on_record: str | None = None
    """The answer of the last good version that a cold start with a broken source finds."""
    is_on: bool = True

    @property
    def is_broken(self) -> bool:
        """Whether the source cannot be loaded."""
        return self.source in BROKEN or self.source == "gone"

    def looked_at(self) -> Expected:
        """Return the record after the manager has looked at the disk."""
        if not self.is_on:
            return replace(self, serves=None)
        if not self.is_broken:
            if self.serves == self.source:
                return self  # nothing is loaded, so nothing is recorded
            return replace(self, serves=self.source, on_record=self.source)
        return self if self.serves is not None else replace(self, serves=self.on_record)

    @property
    def phase(self) -> str | None:
        """The phase of the plugin's fault; ``None`` if it has no fault."""
        if not self.is_on or not self.is_broken:
            return None
        return "discover" if self.source == "gone" else BROKEN[self.source][1]

    @property
    def state(self) -> PluginState:
        """The state that the table shows."""
        if not self.is_on:
            return PluginState.OFF
        if not self.is_broken:
            return PluginState.OK
        return PluginState.STALE if self.serves is not None else PluginState.FAIL


class Plugins(Histories):
    """Real files, a real manager that is notified of each change, and a model of the expected result."""

    watched = False

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Expected] = {}
        self.forgotten: dict[str, str | None] = {}  # the last good versions of deleted plugins
        self.twins: dict[str, str] = {}  # the answers of the _x that exist beside an x

    def config(self) -> Config:
        """Return settings that keep few versions, with frequent sweeps if the manager watches."""
        return self.workspace.config(enable_watch=self.watched, keep_generations=2, sweep_interval=0.5)

    # ---- user actions on files

    @rule(name=_names, with_helper=st.booleans())
    def edit(self, name: str, *, with_helper: bool) -> None:
        """Create, fix or change a plugin."""
        self.count += 1
        answer = f"{name} {self.count}"
        source = answering(answer)
        if with_helper:
            source = "from . import helper\n" + source.replace(repr(answer), "helper.ANSWER")
            self.workspace[f"{self.place(name)}/helper.py"] = f"ANSWER = {answer!r}\n"
        self.workspace[f"{self.place(name)}/plugin.py"] = source
        self.changed(name, answer)

    @rule(name=_names, how=st.sampled_from(sorted(BROKEN)))
    def break_it(self, name: str, how: str) -> None:
        """Save a source that cannot be loaded."""
        self.workspace[f"{self.place(name)}/plugin.py"] = BROKEN[how][0]
        self.changed(name, how)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove_the_entry(self, data: st.DataObject) -> None:
        """Delete plugin.py and leave the directory."""
        name = self.chosen(data)
        (self.workspace.plugins / self.place(name) / "plugin.py").unlink(missing_ok=True)
        self.changed(name, "gone")

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Delete the whole directory."""
        name = self.chosen(data)
        shutil.rmtree(self.workspace.plugins / self.place(name))
        self.forgotten[name] = self.model.pop(name).on_record
        self.uncover(name)
        self.noticed(name)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), other=_names)
    def rename(self, data: st.DataObject, other: str) -> None:
        """Rename a directory to a name that no plugin has."""
        name = self.chosen(data)
        if other in self.model:
            return
        was = self.model.pop(name)
        path = self.workspace.plugins / (other if was.is_on else f"_{other}")
        (self.workspace.plugins / (name if was.is_on else f"_{name}")).rename(path)
        self.forgotten[name] = was.on_record
        self.uncover(name)
        self.model[other] = Expected(was.source, is_on=was.is_on, on_record=self.forgotten.get(other))
        self.noticed(name, other)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), by_command=st.booleans())
    def switch(self, data: st.DataObject, *, by_command: bool) -> None:
        """Disable an enabled plugin or enable a disabled one, by command or by renaming the directory."""
        name = self.chosen(data)
        is_on = self.model[name].is_on
        if name in self.twins:
            with pytest.raises(RefusedError, match="exists already"):
                (self.host.manager.disable if by_command else self.host.manager.enable)(name)
            return
        if by_command:
            (self.host.manager.disable if is_on else self.host.manager.enable)(name)
        else:
            path = self.workspace.plugins / self.place(name)
            path.rename(path.with_name(f"_{name}" if is_on else name))
        self.model[name] = replace(self.model[name], is_on=not is_on)
        self.noticed(name)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def put_beside(self, data: st.DataObject) -> None:
        """Make x beside _x, or _x beside x; x is the one that counts."""
        name = self.chosen(data)
        if name in self.twins:
            return
        self.count += 1
        answer, was = f"{name} {self.count}", self.model[name]
        self.workspace[f"_{name}" if was.is_on else name] = answering(answer)
        self.twins[name] = answer if was.is_on else was.source
        if not was.is_on:
            self.model[name] = replace(was, source=answer, is_on=True)
        self.noticed(name)

    # ---- user commands

    @rule(force=st.booleans())
    def rebuild_all(self, *, force: bool) -> None:
        """Rebuild the changed plugins, or all of them."""
        self.host.manager.rebuild(force=force)
        failing = [name for name, known in self.model.items() if known.is_on and known.is_broken]
        self.reloaded(*(failing if failing and not force else self.model))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), force=st.booleans())
    def rebuild(self, data: st.DataObject, *, force: bool) -> None:
        """Rebuild one plugin."""
        name = self.chosen(data)
        if self.model[name].is_on:
            self.host.manager.rebuild(name, force=force)
            self.reloaded(name)

    @rule()
    def scan(self) -> None:
        """Scan again and check that nothing happens, because nothing has changed."""
        before = without_memory(*self.host.manager.snapshot().plugins)
        self.host.manager.scan()
        self.host.manager.scan_and_load_all()
        assert without_memory(*self.host.manager.snapshot().plugins) == before

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def clean(self, data: st.DataObject) -> None:
        """Remove one plugin's artifacts."""
        name = self.chosen(data)
        others = {path.name for path in self.artifacts() if not path.name.startswith(f"{name}-")}
        self.host.manager.clean(name)
        assert others <= {path.name for path in self.artifacts()}
        self.model[name] = replace(self.model[name], on_record=None)

    @rule()
    def clean_all(self) -> None:
        """Remove all artifacts, including those of deleted plugins."""
        self.host.manager.clean()
        assert self.artifacts() == []
        self.forgotten = {}
        self.model = {name: replace(known, on_record=None) for name, known in self.model.items()}

    @rule(data=st.data(), cut=st.booleans())
    def damage(self, data: st.DataObject, *, cut: bool) -> None:
        """Truncate an artifact or change a byte near its end; this loses a last good version."""
        paths = self.artifacts()
        if not paths:
            return
        path = data.draw(st.sampled_from(paths))
        content = bytearray(path.read_bytes())
        content[-40] = 0
        path.write_bytes(content[:-9] if cut else content)
        name, _, digest = path.stem.rpartition("-")
        if Record(self.workspace.compiled).last_good(name).startswith(digest):
            self.forgotten.pop(name, None)
            if name in self.model:
                self.model[name] = replace(self.model[name], on_record=None)

    @rule()
    def restart(self) -> None:
        """Stop the host and start another one."""
        self.host.manager.stop()
        assert self.host.host.call("greet") == []
        self.host = self.started()
        for name, known in self.model.items():
            self.model[name] = replace(known, serves=None).looked_at()

    # ---- invariants

    @invariant()
    def serves_what_it_should(self) -> None:
        """Compare calls, states, faults, modules and files with the model."""
        manager, host = self.host.manager, self.host.host
        serving = {name: known.serves for name, known in sorted(self.model.items()) if known.serves}
        assert host.call("greet") == list(serving.values())
        assert {status.name: status.state for status in manager.snapshot().plugins} == {
            name: known.state for name, known in self.model.items()
        }
        for status in manager.snapshot().plugins:
            known = self.model[status.name]
            phase = status.fault.phase if status.fault else None
            assert phase == (known.phase if known.is_on else None)
            assert bool(status.digest) == bool(status.generation) == bool(known.serves)
            assert (status.digest == status.source_digest != "") == (known.state is PluginState.OK)
        assert not list(self.workspace.compiled.glob(".*"))
        assert self.host.wait_for(lambda: self.retired() == len(self.host.told(PluginLoaded)) - len(serving))
        modules = {name.split(".")[1] for name in plugin_modules() if name not in self.foreign}
        assert modules == set(map(identifier, serving))

    # ---- the model

    def retired(self) -> int:
        """Return the number of retired generations."""
        return len(self.host.told(PluginRetired))

    def place(self, name: str) -> str:
        """Return the name of the plugin's directory."""
        return name if self.model.get(name, Expected("")).is_on else f"_{name}"

    def chosen(self, data: st.DataObject) -> str:
        """Return a random existing plugin."""
        return data.draw(st.sampled_from(sorted(self.model)))

    def uncover(self, name: str) -> None:
        """Record that x is gone, so that its _x counts if there is one."""
        if name in self.twins:
            on_record = self.forgotten.pop(name)
            self.model[name] = Expected(self.twins.pop(name), is_on=False, on_record=on_record)

    def artifacts(self) -> list[Path]:
        """Return all artifacts."""
        return sorted(self.workspace.compiled.glob("*.hotplug"))

    def changed(self, name: str, source: str) -> None:
        """Record a saved change, and have the manager notice it."""
        known = self.model.get(name) or Expected("", on_record=self.forgotten.get(name))
        self.model[name] = replace(known, source=source)
        self.noticed(name)

    def noticed(self, *names: str) -> None:
        """Report the change to the manager, or wait until its watcher has noticed it."""
        for name in names:
            if name in self.model:
                self.model[name] = self.model[name].looked_at()
        if not self.watched:
            for name in names:
                self.host.manager.handle_file_change(self.workspace.plugins / name)
            return
        want = {name: (known.state, known.phase, self.digest(name)) for name, known in self.model.items()}
        serving = [known.serves for _, known in sorted(self.model.items()) if known.serves]
        assert self.host.wait_for(lambda: self.seen() == want and self.host.host.call("greet") == serving)
        self.host.manager.scan()  # returns when the watcher's thread has finished

    def seen(self) -> dict[str, tuple[PluginState, str | None, str]]:
        """Return the state of each plugin, the phase of its fault and the digest of its source."""
        plugins = self.host.manager.snapshot().plugins
        return {
            one.name: (
                one.state,
                one.fault.phase if one.fault else None,
                "" if one.state is PluginState.OFF else one.source_digest,
            )
            for one in plugins
        }

    def digest(self, name: str) -> str:
        """Return the digest of the source on disk; empty for a source that is not read."""
        known = self.model[name]
        if not known.is_on or known.source == "gone":
            return ""
        return read_source(name, self.workspace.plugins / name).digest

    def reloaded(self, *names: str) -> None:
        """Record that these plugins were loaded again, if they are enabled."""
        for name in names:
            known = self.model[name]
            if known.is_on and not known.is_broken:
                known = replace(known, on_record=known.source)
            self.model[name] = known.looked_at()


class ColdStartedPlugins(Plugins):
    """The same actions; after each one a second host starts on a copy of the artifacts."""

    @invariant()
    def a_cold_start_serves_the_same(self) -> None:
        """Compare with a new host that knows only the files on disk."""
        copy = self.root / "compiled of the cold start"
        if self.workspace.compiled.exists():
            shutil.copytree(self.workspace.compiled, copy)
        config = self.workspace.config(enable_watch=False, compiled_dir=str(copy), module_path="hotcold")
        with HotloadManager(HookHost(), config) as cold:
            served, statuses = cold.invoke("greet").values, cold.snapshot().plugins
        shutil.rmtree(copy, ignore_errors=True)
        after = {name: replace(known, serves=None).looked_at() for name, known in self.model.items()}
        assert list(served) == [known.serves for _, known in sorted(after.items()) if known.serves]
        assert {one.name: one.state for one in statuses} == {name: one.state for name, one in after.items()}
        running = {one.name: one for one in self.host.manager.snapshot().plugins}
        for one in statuses:
            if one.state is PluginState.OK:
                assert one.digest == running[one.name].digest


class WatchedPlugins(Plugins):
    """The same actions with a watcher; each one waits until the watcher has noticed it."""

    watched = True


TestPlugins = Plugins.TestCase
TestPlugins.settings = BOUNDED
TestColdStartedPlugins = ColdStartedPlugins.TestCase
TestColdStartedPlugins.settings = settings(BOUNDED, max_examples=max(1, MODEL_EXAMPLES // 5))
TestWatchedPlugins = WatchedPlugins.TestCase
TestWatchedPlugins.settings = settings(BOUNDED, max_examples=max(1, MODEL_EXAMPLES // 5))
