"""Tables of plugins that change while the program runs."""

from collections.abc import Callable, Iterator, KeysView

from msgspec.structs import replace

from hotload_tui import Config
from hotload_tui.core.config import PluginConfig
from hotload_tui.core.events import PluginLoaded
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]


class Interrupted(dict[str, PluginConfig]):
    """Tables that let another reader in while somebody copies them."""

    def __init__(self, tables: dict[str, PluginConfig], read: Callable[[], None]) -> None:
        super().__init__(tables)
        self._read = read

    def keys(self) -> KeysView[str]:  # type: ignore[override] # what it really returns has no public name
        """Let the reader in."""
        self._read()
        return super().keys()

    def __iter__(self) -> Iterator[str]:
        """Do as any dictionary; only one that has its own way is asked for its keys when it is copied."""
        return super().__iter__()


def test_whoever_reads_settings_while_they_change_sees_the_old_or_the_new_ones(
    workspace: Workspace, run: Run
) -> None:
    """Never none: the tables are exchanged at once, whenever the reader comes."""
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
    """What the plugin runs is then the new source with the new settings."""
    workspace["greet"] = answering("old")
    running = run(workspace.config())
    workspace["greet"] = "def register(ctx):\n    ctx.hook('greet', lambda: ctx.settings['word'])\n"
    running.events.clear()
    table = PluginConfig(settings={"word": "new"})
    running.manager.reconfigure(lambda: workspace.config(plugins={"greet": table}))
    assert running.host.call("greet") == ["new"]
    assert len(running.told(PluginLoaded)) == 1
