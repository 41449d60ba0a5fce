"""The demonstration: a temporary project, and a tour that edits its plugins while captions explain."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.errors import HotloadError, UsageError
from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.core.primitives import Event, Thread
from hotload_tui.tui.text import clean_line, count

PLUGINS: Final = "plugins"
"""The folder of the plugins in the project of the demonstration."""

PATIENCE: Final = 60.0
"""Seconds after which the tour gives up waiting for the effect of an edit."""

_OWN: Final = Path(__file__).parent / "demo"
_POLL: Final = 0.05

_SHORTEST: Final = 3.0
"""Seconds that a caption stays at least."""

_READ: Final = 16.0
"""The characters that an audience reads in a second, with a look at what they are about."""

_BREAK: Final = "\n\ndef broken(:\n"
_EDIT: Final = "\n# saved by the tour\n"


class Scene(NamedTuple):
    """What the console shows during a step of the tour."""

    caption: str
    plugin: str = ""
    """The plugin to select; empty to leave the selection as it is."""
    tab: str = ""
    """The tab to open; empty to leave the open one, which a new fault may choose."""


def time_to_read(caption: str) -> float:
    """Return the seconds that an audience needs for a caption."""
    return max(_SHORTEST, len(caption) / _READ)


class TourError(HotloadError):
    """The tour could not go on."""


@contextlib.contextmanager
def demo_project(plugins: Path | None = None, settings: Path | None = None) -> Iterator[Path]:
    """Yield a temporary project with the plugins of the demonstration, or with a copy of ``plugins``.

    ``settings``, if given, is copied as the configuration. The folder is removed at the end.

    Raises:
        UsageError: there is no folder ``plugins``.

    """
    with tempfile.TemporaryDirectory(prefix="hotload-demo-", ignore_cleanup_errors=True) as folder:
        project = Path(folder) / "demo"
        without = shutil.ignore_patterns("__pycache__", "compiled", ".git")
        if plugins is None:
            shutil.copytree(_OWN, project, ignore=without)
        elif plugins.is_dir():
            shutil.copytree(plugins, project / PLUGINS, ignore=without)
        else:
            raise UsageError(f"--plugins: there is no folder {plugins}")
        if settings is not None:
            shutil.copy(settings, project / settings.name)
        yield project


class Tour:
    """Plays in a thread of its own: each step edits files, waits for the effect, and explains it."""

    def __init__(self, api: ManagerApi, *, speed: float = 1.0, in_steps: bool = False) -> None:
        """With ``in_steps``, each step waits for ``go_on``; else ``speed`` 2 halves the time to read."""
        self._api = api
        self._speed = speed
        self._in_steps = in_steps
        self._show: Callable[[Scene], object] = lambda _: None
        self._next = Event()
        self._is_ended = False
        self._thread = Thread(self._play, "hotload-tour")

    def begin(self, show: Callable[[Scene], object]) -> None:
        """Play the tour; ``show`` is called in the tour's thread."""
        self._show = show
        self._thread.start()

    def go_on(self) -> None:
        """Go on to the next step without waiting any longer."""
        self._next.set()

    @property
    def is_under_way(self) -> bool:
        """Whether there are steps to come."""
        return self._thread.is_alive()

    def end(self) -> None:
        """End the tour after the step under way."""
        self._is_ended = True
        self._next.set()

    def _play(self) -> None:
        try:
            for scene in self._steps():
                self._present(scene)
                if self._is_ended:
                    return
        except (HotloadError, OSError) as error:
            if not self._is_ended:
                self._show(Scene(f"The tour ends here: {clean_line(str(error), 200)}"))

    def _steps(self) -> Iterator[Scene]:
        """Carry out the tour, and yield each scene; the next step begins when it has been shown."""
        self._until("the plugins to be loaded", lambda: all(map(_is_settled, self._plugins())))
        names = {plugin.name for plugin in self._plugins()}
        good = [plugin for plugin in self._plugins() if plugin.state is PluginState.OK]
        yield Scene(
            f"{count(len(names), 'plugin')} in a temporary project. Each folder is one plugin, and a saved "
            f"file goes live while the program runs.{' The space bar goes on.' if self._in_steps else ''}"
        )
        if not good:
            raise TourError("no plugin is ok, and the tour begins with one that is")
        is_own = {"greet", "prices", "slow", "leaky", "crash", "parked"} <= names
        first = "greet" if is_own else good[0].name
        yield from self._reload(first)
        yield from self._break(first)
        if is_own:
            yield from self._missing_rate()
            yield from self._slow()
            yield from self._leak()
            yield from self._crash()
        yield from self._switch("parked" if is_own else first)
        yield Scene("That was the tour. Edit the plugins yourself (e); q quits and removes the project.")

    def _reload(self, name: str) -> Iterator[Scene]:
        before = self._status(name).generation
        yield Scene(f"The tour now saves a change in {name}.", name, "overview")
        self._entry(name).write_text(self._source(name) + _EDIT, "utf-8")
        self._until(f"the new version of {name}", lambda: self._status(name).generation > before)
        status = self._status(name)
        spent = 1000 * (status.compile_seconds + status.load_seconds)
        yield Scene(
            f"The new version is live: generation {before} → {status.generation}. Building and loading it "
            f"took {spent:.1f} ms. Nothing was restarted."
        )

    def _break(self, name: str) -> Iterator[Scene]:
        good = self._source(name)
        yield Scene(f"Now a mistake: a bracket that is not closed, in {name}.", name)
        self._entry(name).write_text(good + _BREAK, "utf-8")
        self._until(f"the fault of {name}", lambda: self._status(name).fault is not None)
        yield Scene(
            f"A version that fails does not go live. {name} stays at its last good version, and the Error "
            "tab opens at the line.",
            name,
            "error",
        )
        if name == "greet":
            yield Scene(f'greet("Ada") still answers: {self._answer("greet", "Ada")}')
        self._entry(name).write_text(good, "utf-8")
        self._until(f"the end of the fault of {name}", lambda: self._status(name).fault is None)
        yield Scene("The line is fixed, and the fault is gone. History keeps it.", name, "history")

    def _missing_rate(self) -> Iterator[Scene]:
        yield Scene(
            "prices has failed since the start, with a KeyError. The other plugins run all the same.",
            "prices",
            "error",
        )
        source = self._source("prices").replace('"USD": 1.08', '"EUR": 1.0, "USD": 1.08')
        self._entry("prices").write_text(source, "utf-8")
        self._until("the fixed prices", lambda: self._status("prices").state is PluginState.OK)
        answer = self._answer("convert", 20, "USD")
        yield Scene(f'The missing rate is there now, and convert(20, "USD") answers {answer}.', "prices")

    def _slow(self) -> Iterator[Scene]:
        before = self._status("slow").generation
        yield Scene("slow takes more than a second to load. The tour saves it.", "slow", "overview")
        self._entry("slow").write_text(self._source("slow") + _EDIT, "utf-8")
        self._until("the build of slow", lambda: self._status("slow").state is PluginState.BUILD)
        yield Scene(
            f'While the new version loads, search("re") answers from generation {before}: '
            f"{self._answer('search', 're')}"
        )
        self._until("the new version of slow", lambda: self._status("slow").generation > before)
        seconds = self._status("slow").load_seconds
        yield Scene(f"After {seconds:.1f} s of loading, the new version replaced the old one in one moment.")

    def _leak(self) -> Iterator[Scene]:
        self._answer("subscribe")
        before = self._status("leaky").generation
        yield Scene("leaky has put a function into a list of the program. The tour saves it.", "leaky")
        self._entry("leaky").write_text(self._source("leaky") + _EDIT, "utf-8")
        self._until(
            "the look at the memory of leaky",
            lambda: (status := self._status("leaky")).generation > before and bool(status.memory),
        )
        yield Scene(
            f"The old version cannot be freed. hotload names what holds it: {self._status('leaky').memory}",
            "leaky",
            "history",
        )

    def _crash(self) -> Iterator[Scene]:
        yield Scene(
            "crash reads memory that is not there: a call ends the process of all plugins.",
            "crash",
            "overview",
        )
        host = self._api.snapshot().host.pid
        with contextlib.suppress(HotloadError):  # the host is gone before it answers
            self._api.invoke("crash")
        self._until(
            "another process for the plugins",
            lambda: self._api.snapshot().host.pid != host and self._status("crash").fault is not None,
        )
        self._until("the plugins to be loaded", lambda: all(map(_is_settled, self._plugins())))
        yield Scene(
            "The console is still here, and the other plugins run again in another process. crash is out of "
            "service until its source changes.",
            "crash",
            "error",
        )

    def _switch(self, name: str) -> Iterator[Scene]:
        status = self._status(name)
        if status.state is not PluginState.OFF:
            yield Scene(f"d disables a plugin: hotload renames its folder to _{name}.", name, "overview")
            self._api.disable(name)
            self._until(f"{name} to be off", lambda: self._status(name).state is PluginState.OFF)
        yield Scene(f"{name} is disabled: the name of its folder begins with an underscore.", name)
        self._api.enable(name)
        self._until(f"{name} to be ok", lambda: self._status(name).state is PluginState.OK)
        yield Scene(f"d enabled {name} again: its hooks are live, and nothing was restarted.", name)

    def _present(self, scene: Scene) -> None:
        """Show a scene, and give the audience time to read its caption."""
        self._next.clear()
        self._show(scene)
        if not self._is_ended:
            self._next.wait(None if self._in_steps else time_to_read(scene.caption) / self._speed)

    def _until(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait until ``is_so``; raises ``TourError`` after the time limit."""
        end = time.monotonic() + PATIENCE
        while not (self._is_ended or is_so()):
            if time.monotonic() > end:
                raise TourError(f"{PATIENCE:.0f} s were not enough for {what}; the Log tab has more")
            time.sleep(_POLL)

    def _plugins(self) -> tuple[PluginStatus, ...]:
        return self._api.snapshot().plugins

    def _status(self, name: str) -> PluginStatus:
        found: Iterable[PluginStatus] = (each for each in self._plugins() if each.name == name)
        status = next(iter(found), None)
        if status is None:
            raise TourError(f"{name} is gone")
        return status

    def _entry(self, name: str) -> Path:
        path = Path(self._status(name).path)
        return path if path.is_file() else path / self._status(name).entry

    def _source(self, name: str) -> str:
        return self._entry(name).read_text("utf-8")

    def _answer(self, point: str, *arguments: object) -> str:
        """Call a hook point; return its first value, as Python writes it."""
        values = self._api.invoke(point, *arguments).values
        return repr(values[0]) if values else "nothing"


def _is_settled(plugin: PluginStatus) -> bool:
    return plugin.state is not PluginState.BUILD
