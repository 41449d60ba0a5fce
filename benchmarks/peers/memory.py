"""The memory that the process uses."""

import sys
from pathlib import Path


def resident() -> int:
    """Return the resident kilobytes; 0 on systems other than Linux."""
    if sys.platform != "linux":
        return 0
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
