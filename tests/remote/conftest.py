import contextlib
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotload_tui import Config, HotloadManager
from hotload_tui.remote import RemoteManager, Server, serve
from tests.conftest import Running, Workspace


def say(text: str) -> None:
    """Have the plugin ``greet`` log a line, which every console receives."""
    logging.getLogger("hotload.plugin.greet").info("%s", text)


def hotload_threads() -> list[str]:
    """Return the names of the servers' running threads."""
    names = ("hotload-server", "hotload-client")
    return [thread.name for thread in threading.enumerate() if thread.name in names]


@pytest.fixture(autouse=True)
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test its own folder for sockets, with a short path because socket paths are limited."""
    session = Path(tempfile.mkdtemp(prefix="hl-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    yield session / "hotload"
    shutil.rmtree(session)


@pytest.fixture
def manager(workspace: Workspace, run: Callable[[Config], Running]) -> HotloadManager:
    """Return a running manager with the plugin ``greet``."""
    workspace["greet"] = "def register(ctx):\n    ctx.hook('greet', lambda name: f'Hello, {name}')\n"
    return run(workspace.config()).manager


@pytest.fixture
def server(manager: HotloadManager) -> Iterator[Server]:
    """Yield that manager's server on a socket."""
    with serve(manager) as server:
        yield server


@pytest.fixture
def connect() -> Iterator[Callable[[Server], RemoteManager]]:
    """Yield a function that connects to a server, and close its connections afterwards."""
    with contextlib.ExitStack() as stack:
        yield lambda server: stack.enter_context(RemoteManager(server.socket))
