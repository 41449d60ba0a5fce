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
    """Yield a folder for sockets, with a short path because socket paths are limited."""
    session = Path(tempfile.mkdtemp(prefix="hl-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    yield session
    shutil.rmtree(session)


@pytest.fixture
def hotload(workspace: Workspace, session: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hotload]:
    """Yield the command in the workspace, and check that no plugin module is left at the end."""
    assert session.is_dir()
    monkeypatch.chdir(workspace.root)
    command, known = Hotload(workspace), set(sys.modules)
    yield command
    command.close()
    assert [name for name in set(sys.modules) - known if name.startswith("hotplug")] == []
