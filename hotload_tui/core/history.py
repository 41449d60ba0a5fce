"""What is on record beside the artifacts: which of each plugin served last, is held, or killed its host.

A cold start with a broken source serves the last good one, and a hold outlives the host that it was made in.
Several processes may share the file: each changes its own plugins' part of what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Struct

from hotload_tui.core.artifact import alone, replace_file
from hotload_tui.core.errors import ArtifactError, near
from hotload_tui.core.plugin import Fault

FILE = "last-good.json"

_Kept: TypeAlias = dict[str, dict[str, object]]  # plugin → what is kept of it; unknown keys stay

_LAST_GOOD, _HOLD, _BARRED = "last_good", "hold", "barred"


class Hold(Struct, frozen=True):
    """Keeps a plugin from following its source, until that changes or somebody releases it."""

    source: str
    """Digest of the source that is not followed."""
    digest: str
    """Digest of the artifact that serves in its place; empty: none does."""
    reason: str
    fault: Fault | None = None
    """What the source did, if that is why."""


class Barred(Struct, frozen=True):
    """Versions of a plugin that killed their host."""

    digests: tuple[str, ...]
    fault: Fault
    """What the newest of them did."""


_Stamp: TypeAlias = tuple[int, int, int, int]
_NONE: _Stamp = (0, 0, 0, 0)


class Record:
    """What ``compiled_dir`` has on record of each plugin."""

    def __init__(self, compiled_dir: Path) -> None:
        self._path = compiled_dir / FILE
        self._kept: _Kept = {}
        self._stamp = _NONE
        self.read()

    def read(self) -> None:
        """Look what is on record now: another process may have added to it."""
        stamp = _stamp_of(self._path)
        if stamp == self._stamp != _NONE:
            return
        self._stamp = stamp  # of before: what changes now is read the next time
        try:
            self._kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except (OSError, ValueError, msgspec.DecodeError):
            self._kept = {}  # a missing or damaged file costs a broken plugin its last good, no more

    def last_good(self, plugin: str) -> str:
        """Return the digest that served last; empty when none did."""
        digest = self._kept.get(plugin, {}).get(_LAST_GOOD)
        return digest if isinstance(digest, str) else ""

    def hold(self, plugin: str) -> Hold | None:
        """Return what keeps the plugin from following its source."""
        kept = self._kept.get(plugin, {}).get(_HOLD)
        try:
            return None if kept is None else msgspec.convert(kept, Hold)
        except msgspec.ValidationError:
            return None

    def barred(self, plugin: str) -> Barred | None:
        """Return which versions of the plugin must not be loaded."""
        kept = self._kept.get(plugin, {}).get(_BARRED)
        try:
            return None if kept is None else msgspec.convert(kept, Barred)
        except msgspec.ValidationError:
            return None

    def serve(self, digests: Mapping[str, str]) -> None:
        """Remember what serves now as the last good; raises ``ArtifactError``: it cannot be written."""
        self._change(_LAST_GOOD, digests)

    def forget(self, plugin: str | None = None) -> dict[str, str]:
        """Forget the last good of one plugin, or of all; returns what it was. Raises ``ArtifactError``."""
        self.read()
        known = {name: self.last_good(name) for name in (self._kept if plugin is None else [plugin])}
        self.serve(dict.fromkeys(known, ""))
        return {name: digest for name, digest in known.items() if digest}

    def keep(self, plugin: str, hold: Hold) -> None:
        """Hold the plugin; raises ``ArtifactError``: it cannot be written."""
        self._change(_HOLD, {plugin: msgspec.to_builtins(hold)})

    def let_go(self, plugin: str) -> None:
        """End the hold; raises ``ArtifactError``: it cannot be written."""
        self._change(_HOLD, {plugin: None})

    def bar(self, plugin: str, digest: str, fault: Fault) -> None:
        """Have one more version not loaded; raises ``ArtifactError``: it cannot be written."""
        self.read()
        before = self.barred(plugin)
        digests = {*(before.digests if before else ()), digest}
        self._change(_BARRED, {plugin: msgspec.to_builtins(Barred(tuple(sorted(digests)), fault))})

    def unbar(self, plugin: str) -> None:
        """Let every version be loaded again; raises ``ArtifactError``: it cannot be written."""
        self._change(_BARRED, {plugin: None})

    def _change(self, key: str, values: Mapping[str, object]) -> None:
        """Set what is kept of plugins under ``key`` (nothing removes it); written only when it differs."""
        if all(self._kept.get(plugin, {}).get(key) == (value or None) for plugin, value in values.items()):
            return
        try:
            if not self._path.parent.is_dir():
                self._path.parent.mkdir(parents=True, exist_ok=True)
            with alone(self._path.parent):
                self.read()
                self._stamp = _NONE  # whatever comes between, it is not on record before it is written
                for plugin, value in values.items():
                    facts = {**self._kept.pop(plugin, {}), key: value}
                    if not value:
                        del facts[key]
                    if facts:
                        self._kept[plugin] = facts
                content = msgspec.json.encode(dict(sorted(self._kept.items())))
                # Each reload comes here: what served last is not worth waiting for the disk.
                replace_file(self._path, content, is_durable=key != _LAST_GOOD)
                self._stamp = _stamp_of(self._path)  # nobody else writes meanwhile
        except OSError as error:
            self.read()
            raise ArtifactError(f"cannot write {near(self._path)}: {error.strerror}") from error


def _stamp_of(path: Path) -> _Stamp:
    """Return what tells one version of a file from the next: each is a new one, never written into."""
    try:
        facts = path.stat()
    except OSError:
        return _NONE
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
