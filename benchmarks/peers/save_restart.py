"""A new process for each save: ``watchfiles.run_process`` with defaults."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from protocol import Task
from watchfiles import run_process

if __name__ == "__main__":
    task = Task()
    child = [sys.executable, str(Path(__file__).with_name("entry.py")), *sys.argv[1:]]
    run_process(task.root / "plugins", target=shlex.join(child), target_type="command")
