from hotload_tui.core.model import PluginState
from tests.remote.process.conftest import SETTINGS, Console


def test_the_consoles_host_follows_the_configuration(console: Console) -> None:
    """A saved plugin table applies in the console's host at once; a mistake is in its log and snapshot."""
    file = console.workspace.root / "hotload.toml"
    file.write_text(f"{SETTINGS}[plugins.good]\nenabled = false\n")
    console.wait_for(lambda: console.state("good") is PluginState.OFF)
    file.write_text(f"{SETTINGS}[plugins.good]\nenable = true\n")
    console.wait_for_line("error", "the configuration stays as it was", 'did you mean "enabled"?')
    assert 'did you mean "enabled"?' in console.manager.snapshot().host.config_fault
    file.write_text(SETTINGS)
    console.wait_for(lambda: console.state("good") is PluginState.OK)
