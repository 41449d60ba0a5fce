import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Hotload
from tests.conftest import Workspace


@pytest.fixture
def hotload(workspace: Workspace) -> Iterator[Hotload]:
    """Give the command in the workspace; with a short folder for sockets, for their paths are limited."""
    session = Path(tempfile.mkdtemp(prefix="hl-"))
    command = Hotload(workspace.root, session)
    yield command
    command.close()
    shutil.rmtree(session)
