"""IPython's ``%autoreload 2``: each cell checks for changed files before it runs."""

from __future__ import annotations

from typing import cast

from IPython.core.interactiveshell import InteractiveShell
from modules import imported, lowest_of
from protocol import Task, serve

if __name__ == "__main__":
    task = Task()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "autoreload")
    shell.run_line_magic("autoreload", "2")
    modules = imported(task)
    shell.push({"modules": modules, "lowest_of": lowest_of})

    def lowest() -> int:
        """Run a cell that calls the plugins."""
        shell.run_cell("lowest = lowest_of(modules)")
        return cast("int", shell.user_ns["lowest"])

    lowest()  # after its first cell it knows the modules
    serve(task, lowest)
