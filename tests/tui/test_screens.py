"""The whole screen as text: each view equals its approved text at the smaller sizes, or at all three."""

import difflib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.counts import ALL_CASES

SIZES = ((80, 24), (120, 36), (200, 50))[: 2 + ALL_CASES]
AGREED = Path(__file__).parent / "screens"
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(400)  # dozens of screens, each until it is stable
def test_every_view_is_as_agreed(tmp_path: Path) -> None:
    """Each view equals its file; ``python -m screenshots.make --texts tests/tui/screens`` accepts changes."""
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [
        sys.executable,
        "-m",
        "screenshots.make",
        "--texts",
        str(tmp_path / "now"),
        "--agreed",
        str(AGREED),
        *(f"--size={width}x{height}" for width, height in SIZES),
    ]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=380)
    agreed = sorted(path for width, height in SIZES for path in AGREED.glob(f"*-{width}x{height}.txt"))
    assert [path.name for path in agreed] == sorted(path.name for path in (tmp_path / "now").iterdir())
    differences = "\n".join(line for path in agreed for line in differing(path, tmp_path / "now"))
    assert not differences, differences


def differing(agreed: Path, now: Path) -> Iterator[str]:
    """Yield the lines of a view that differ from the approved ones."""
    before, after = agreed.read_text("utf-8"), (now / agreed.name).read_text("utf-8")
    yield from difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{agreed.name}, agreed", f"{agreed.name}, now", lineterm=""
    )
