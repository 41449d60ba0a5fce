import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Hotload
from tests.conftest import Workspace


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder for sockets; a short one, for their paths are limited."""
    session = Path(tempfile.mkdtemp(prefix="hl-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    yield session
    shutil.rmtree(session)


@pytest.fixture
def hotload(workspace: Workspace, session: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hotload]:
    """Give the command in the workspace; what it loaded in this process must be unloaded at the end."""
    assert session.is_dir()
    monkeypatch.chdir(workspace.root)
    command, known = Hotload(workspace), set(sys.modules)
    yield command
    command.close()
    assert [name for name in set(sys.modules) - known if name.startswith("hotplug")] == []
