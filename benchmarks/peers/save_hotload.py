"""This project, with the defaults of ``Config``."""

from __future__ import annotations

from typing import cast

from protocol import Task, serve

from hotload_tui import Config, HookHost, HotloadManager


def main() -> None:
    """Answer until the driver closes standard input."""
    task = Task()
    host = HookHost()
    config = Config(runtime_dir=str(task.root / "plugins"), compiled_dir=str(task.root / "compiled"))
    with HotloadManager(host, config):
        count = len(task.names)  # the first ones by name are saved
        if count == 1:  # calling many others would take processor time from the reload
            serve(task, lambda: cast("int", host.first("answer") or 0))
        else:
            serve(task, lambda: min(cast("list[int]", host.call("answer"))[:count], default=0))


if __name__ == "__main__":
    main()
