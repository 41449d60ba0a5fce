"""jurigged as in its README: ``jurigged.watch()`` with defaults."""

from __future__ import annotations

import jurigged
from modules import imported, lowest_of
from protocol import Task, serve

if __name__ == "__main__":
    task = Task()
    jurigged.watch(str(task.root / "plugins" / "*" / "*.py"), logger=lambda _: None)
    modules = imported(task)
    serve(task, lambda: lowest_of(modules))
