"""A client of a host's socket sees a plugin whose earlier version is still called."""

import pytest

from hotload_tui.core.events import AnyEvent, PluginOld, PluginOldEnded
from hotload_tui.core.interpreter import CALLS, works
from hotload_tui.core.model import PluginState
from hotload_tui.remote import RemoteManager, serve
from tests.conftest import Running, Workspace
from tests.kept import VIEW, old_plugin, routes
from tests.waiting import until

pytestmark = pytest.mark.skipif(not works(CALLS), reason="each call is reported only with this trick")


def test_an_old_plugin_through_the_socket(workspace: Workspace) -> None:
    """The state, the caller, the holder and both events arrive."""
    workspace["greet"] = VIEW
    running = Running(workspace.config())
    running.manager.start()
    heard: list[AnyEvent] = []
    with serve(running.manager) as server, RemoteManager(server.socket) as remote:
        remote.subscribe(heard.append)
        with old_plugin(workspace, running):
            until(lambda: remote.snapshot().plugins[0].state is PluginState.OLD)
            (old,) = [plugin.old for plugin in remote.snapshot().plugins]
            assert "in route_page; kept by " in old
            assert until(lambda: [event for event in heard if isinstance(event, PluginOld)])
            routes.clear()
            until(lambda: remote.snapshot().plugins[0].state is PluginState.OK)
            assert until(lambda: [event for event in heard if isinstance(event, PluginOldEnded)])
    running.manager.stop()
