"""watchdog with ``importlib.reload`` of the saved file's package, each module after those that it imports."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from modules import imported, lowest_of
from protocol import Task, serve
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer


class Reloader(FileSystemEventHandler):
    """A handler that reloads when a file was written and closed."""

    def on_closed(self, event: FileSystemEvent) -> None:
        """Reload the package of the file."""
        package = Path(str(event.src_path)).parent.name
        for name in sorted(key for key in sys.modules if key.startswith(f"{package}.")):  # part_…, plugin
            importlib.reload(sys.modules[name])


if __name__ == "__main__":
    task = Task()
    modules = imported(task)
    observer = Observer()
    observer.schedule(Reloader(), str(task.root / "plugins"), recursive=True)
    observer.start()
    serve(task, lambda: lowest_of(modules))
    observer.stop()
