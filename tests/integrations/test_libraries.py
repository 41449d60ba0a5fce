"""Plugins that register things in real libraries, each file of cases in a process of its own.

The libraries (Django, SQLAlchemy, discord.py and others) have so many objects that each collection takes ten
times as long: in the process of the other tests, they would make all of those slower.
"""

import subprocess
import sys
from pathlib import Path

import pytest

DEPRECATED = "'asyncio.iscoroutinefunction' is deprecated"  # from Python 3.14 on; discord.py uses it
CASES = sorted(Path(__file__).with_name("libraries").glob("*_cases.py"))


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_registrations_in_libraries(cases: Path) -> None:
    """What plugins register in libraries is there once, of the right version, or gone."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["-W", f"ignore:{DEPRECATED}:DeprecationWarning", str(cases)]
    done = subprocess.run(command, cwd=cases.parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
