"""Plugin tables that change while the program runs."""

from collections.abc import Callable, Iterator, KeysView

from msgspec.structs import replace

from hotload_tui import Config
from hotload_tui.core.config import PluginConfig
from hotload_tui.core.events import PluginLoaded
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]


class Interrupted(dict[str, PluginConfig]):
    """Tables that run another reader while they are copied."""

    def __init__(self, tables: dict[str, PluginConfig], read: Callable[[], None]) -> None:
        super().__init__(tables)
        self._read = read

    def keys(self) -> KeysView[str]:  # type: ignore[override] # what it really returns has no public name
        """Run the reader."""
        self._read()
        return super().keys()

    def __iter__(self) -> Iterator[str]:
        """Iterate as usual; a copy calls ``keys`` only for a mapping that defines its own ``__iter__``."""
        return super().__iter__()


def test_a_reader_of_changing_settings_sees_the_old_or_the_new_ones(workspace: Workspace, run: Run) -> None:
    """A reader always sees either the old or the new settings, because the tables are exchanged at once."""
    workspace["greet"] = answering("hello")

    def of(word: str) -> Config:
        return workspace.config(plugins={"greet": PluginConfig(settings={"word": word})})

    running = run(of("old"))
    seen = []

    def read() -> None:
        seen.append(running.manager.detail("greet").settings)

    new = of("new")
    running.manager.reconfigure(lambda: replace(new, plugins=Interrupted(new.plugins, read)))
    read()
    assert seen[0] == {"word": "old"}
    assert seen[-1] == {"word": "new"}
    assert all(seen)


def test_an_edit_and_a_new_table_are_one_load(workspace: Workspace, run: Run) -> None:
    """An edit and new settings cause a single load, of the new source with the new settings."""
    workspace["greet"] = answering("old")
    running = run(workspace.config())
    workspace["greet"] = "def register(ctx):\n    ctx.hook('greet', lambda: ctx.settings['word'])\n"
    running.events.clear()
    table = PluginConfig(settings={"word": "new"})
    running.manager.reconfigure(lambda: workspace.config(plugins={"greet": table}))
    assert running.host.call("greet") == ["new"]
    assert len(running.told(PluginLoaded)) == 1
