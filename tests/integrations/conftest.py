"""A program whose plugins register things in libraries."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from hotload_tui import Config
from hotload_tui.core.model import PluginState
from tests.conftest import Running, Workspace

Run = Callable[[Config], Running]


class Program(ModuleType):
    """The module ``program``, which plugins import, with a manager."""

    def __init__(self, workspace: Workspace, running: Running) -> None:
        super().__init__("program")
        self.workspace = workspace
        self.running = running

    def __setattr__(self, name: str, value: object) -> None:
        """Set a name that plugins import; for type checkers, modules have any."""
        super().__setattr__(name, value)

    def save(self, source: str, name: str = "it", **files: str) -> PluginState:
        """Save a version of a plugin, and return the plugin's state."""
        for file, text in files.items():
            self.workspace[f"{name}/{file}.py"] = text
        self.workspace[name] = source
        self.running.manager.scan_and_load_all()
        return self.running.status(name).state

    def problem(self, name: str = "it") -> str:
        """Return the message and the notes of the plugin's fault."""
        fault = self.running.fault(name)
        return " ".join([fault.message, *fault.notes])


@pytest.fixture
def program(workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Return a program without plugins."""
    program = Program(workspace, run(workspace.config()))
    monkeypatch.setitem(sys.modules, "program", program)
    return program


@functools.cache
def django_is_set_up() -> None:
    """Configure Django, once per process, with a database in memory."""
    import django
    from django.conf import settings

    settings.configure(
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()
