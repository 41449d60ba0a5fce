"""What was built and loaded: which artifact of each plugin served last, and which killed the host.

It lies beside the artifacts, so that a cold start with a broken source serves the last good one. Several
processes may share it: each changes its own plugins' part of what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

from hotload_tui.core.artifact import alone, replace_file
from hotload_tui.core.errors import ArtifactError, near
from hotload_tui.core.plugin import Fault

FILE = "last-good.json"

_Kept: TypeAlias = dict[str, dict[str, str]]  # plugin → what is kept of it → its text

_LAST_GOOD = "last_good"  # digest; keys that are not known here are those of later releases, and stay
_HELD = "held"  # digests, with blanks between
_HELD_FAULT = "held_fault"  # JSON


class LastGood:
    """The digest of each plugin's last good artifact, kept in ``compiled_dir``."""

    def __init__(self, compiled_dir: Path) -> None:
        self._path = compiled_dir / FILE
        self._kept: _Kept = {}
        self.read()

    def read(self) -> None:
        """Look what is on record now: another process may have added to it."""
        try:
            self._kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except (OSError, ValueError, msgspec.DecodeError):
            self._kept = {}  # a missing or damaged file costs a broken plugin its last good, no more

    def of(self, plugin: str) -> str:
        """Return the digest that served last; empty when none did."""
        return self._kept.get(plugin, {}).get(_LAST_GOOD, "")

    def forget(self, plugin: str | None = None) -> None:
        """Forget the last good of one plugin, or of all; raises ``ArtifactError``."""
        self.read()
        self.record(dict.fromkeys(self._kept if plugin is None else [plugin], ""))

    def record(self, digests: Mapping[str, str]) -> None:
        """Remember what serves now (an empty digest forgets the plugin); written only when it changed.

        Raises:
            ArtifactError: the file cannot be written.

        """
        if all(self.of(name) == digest for name, digest in digests.items()):
            return

        def change() -> None:
            for name, digest in digests.items():
                kept = {**self._kept.pop(name, {}), _LAST_GOOD: digest}
                if digest or kept.keys() != {_LAST_GOOD}:
                    self._kept[name] = kept

        self._write(change)

    # ---- what is held back

    def held(self, plugin: str) -> tuple[frozenset[str], Fault | None]:
        """Return the digests of a plugin that must not be loaded, and why the newest of them must not."""
        kept = self._kept.get(plugin, {})
        try:
            fault = msgspec.json.decode(kept.get(_HELD_FAULT, ""), type=Fault)
        except msgspec.DecodeError:
            fault = None
        return frozenset(kept.get(_HELD, "").split()), fault

    def hold(self, plugin: str, digest: str, fault: Fault) -> None:
        """Have one more digest of a plugin not loaded; raises ``ArtifactError``."""

        def change() -> None:
            digests = self.held(plugin)[0] | {digest}
            kept = {_HELD: " ".join(sorted(digests)), _HELD_FAULT: msgspec.json.encode(fault).decode()}
            self._kept[plugin] = {**self._kept.get(plugin, {}), **kept}

        self._write(change)

    def release(self, plugin: str) -> None:
        """Hold nothing of a plugin back any more; raises ``ArtifactError``."""
        if _HELD not in self._kept.get(plugin, {}):
            return

        def change() -> None:
            for key in (_HELD, _HELD_FAULT):
                self._kept.get(plugin, {}).pop(key, None)

        self._write(change)

    def _write(self, change: Callable[[], None]) -> None:
        """Change what is on record now, alone; raises ``ArtifactError``."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with alone(self._path.parent):
                self.read()
                change()
                replace_file(self._path, msgspec.json.encode(dict(sorted(self._kept.items()))))
        except OSError as error:
            self.read()
            raise ArtifactError(f"cannot write {near(self._path)}: {error.strerror}") from error
