"""What a client asks of the manager that a host serves; each question knows which method answers it."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from hotload_tui.core.api import ManagerApi


class GetSnapshot(Struct, frozen=True, tag="snapshot"):
    """Ask for the whole state."""

    def perform(self, manager: ManagerApi) -> object:
        """Ask the manager."""
        return manager.snapshot()


class GetDetail(Struct, frozen=True, tag="detail"):
    """Ask for everything known about one plugin."""

    name: str

    def perform(self, manager: ManagerApi) -> object:
        """Ask the manager."""
        return manager.detail(self.name)


class GetSource(Struct, frozen=True, tag="source"):
    """Ask for the text of one file."""

    name: str
    file: str
    generation: int | None

    def perform(self, manager: ManagerApi) -> object:
        """Ask the manager."""
        return manager.source(self.name, self.file, self.generation)


class GetLog(Struct, frozen=True, tag="log"):
    """Ask for log lines."""

    since: int

    def perform(self, manager: ManagerApi) -> object:
        """Ask the manager."""
        return manager.log(self.since)


class GetHistory(Struct, frozen=True, tag="history"):
    """Ask what happened to a plugin."""

    name: str

    def perform(self, manager: ManagerApi) -> object:
        """Ask the manager."""
        return manager.history(self.name)


class GetPlan(Struct, frozen=True, tag="plan"):
    """Ask what a rebuild would do."""

    name: str | None

    def perform(self, manager: ManagerApi) -> object:
        """Ask the manager."""
        return manager.plan(self.name)


class Rollback(Struct, frozen=True, tag="rollback"):
    """Ask for an earlier generation."""

    name: str
    generation: int

    def perform(self, manager: ManagerApi) -> object:
        """Command the manager."""
        return manager.rollback(self.name, self.generation)


class Release(Struct, frozen=True, tag="release"):
    """Ask to end a hold."""

    name: str

    def perform(self, manager: ManagerApi) -> object:
        """Command the manager."""
        return manager.release(self.name)


class Rebuild(Struct, frozen=True, tag="rebuild"):
    """Ask for a build and load."""

    name: str | None
    force: bool

    def perform(self, manager: ManagerApi) -> object:
        """Command the manager."""
        return manager.rebuild(self.name, force=self.force)


class Enable(Struct, frozen=True, tag="enable"):
    """Ask to switch a plugin on."""

    name: str

    def perform(self, manager: ManagerApi) -> object:
        """Command the manager."""
        return manager.enable(self.name)


class Disable(Struct, frozen=True, tag="disable"):
    """Ask to switch a plugin off."""

    name: str

    def perform(self, manager: ManagerApi) -> object:
        """Command the manager."""
        return manager.disable(self.name)


class Clean(Struct, frozen=True, tag="clean"):
    """Ask to remove artifacts."""

    name: str | None

    def perform(self, manager: ManagerApi) -> object:
        """Command the manager."""
        return manager.clean(self.name)


class Undo(Struct, frozen=True, tag="undo"):
    """Ask to take back the last command."""

    def perform(self, manager: ManagerApi) -> object:
        """Command the manager."""
        return manager.undo()


class New(Struct, frozen=True, tag="new"):
    """Ask for a plugin from a template."""

    name: str
    template: str = "simple"

    def perform(self, manager: ManagerApi) -> object:
        """Command the manager."""
        return manager.new(self.name, self.template)


class Pause(Struct, frozen=True, tag="pause"):
    """Ask to keep changes for later."""

    def perform(self, manager: ManagerApi) -> object:
        """Command the manager."""
        return manager.pause()


class Resume(Struct, frozen=True, tag="resume"):
    """Ask to take in what changed meanwhile."""

    def perform(self, manager: ManagerApi) -> object:
        """Command the manager."""
        return manager.resume()


class Invoke(Struct, frozen=True, tag="invoke"):
    """Ask to call a hook point."""

    point: str
    args: tuple[object, ...]
    kwargs: dict[str, object]

    def perform(self, manager: ManagerApi) -> object:
        """Command the manager."""
        return manager.invoke(self.point, *self.args, **self.kwargs)


Question: TypeAlias = (
    GetSnapshot
    | GetDetail
    | GetSource
    | GetLog
    | GetHistory
    | GetPlan
    | Rebuild
    | Rollback
    | Release
    | Enable
    | Disable
    | Clean
    | Undo
    | New
    | Pause
    | Resume
    | Invoke
)
"""What the manager answers."""
