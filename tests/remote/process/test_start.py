"""The console's view before its host has started."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotload_tui.core.model import PluginState
from hotload_tui.remote.client import RemoteManager
from tests.conftest import Workspace
from tests.remote.process.conftest import GOOD, Console


def test_the_plugins_are_listed_before_their_host_has_started(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first snapshot lists each plugin, enabled or not, in the order of names.

    When the host is ready, the next one shows what it has loaded, also if the console connects late.
    """

    def late(path: Path, *, timeout: float) -> RemoteManager:
        console.manager._monitor.wait_until_ready()  # noqa: SLF001
        return RemoteManager(path, timeout=timeout)

    monkeypatch.setattr("hotload_tui.remote.process.hosted.RemoteManager", late)
    workspace["good"] = workspace["_idle"] = GOOD
    console = Console(workspace)
    try:
        listed = [(one.name, one.state) for one in console.manager.snapshot().plugins]
        assert [name for name, _ in listed] == ["good", "idle"]
        assert listed[1][1] is PluginState.OFF
        console.manager.wait_until_ready()
        assert console.state("good") is PluginState.OK
    finally:
        console.manager.close()


def test_a_second_console_on_one_folder_names_the_first_host(console: Console, workspace: Workspace) -> None:
    """The second console logs that another host uses the folder; the first one logs nothing."""
    second = Console(workspace)
    try:
        second.wait_for_line("warning", f"another host ({console.pid}) uses")
        assert not console.lines("another host")
    finally:
        second.manager.close()
