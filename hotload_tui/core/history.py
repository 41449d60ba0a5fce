"""What was built and loaded: which artifact of each plugin served last.

It lies beside the artifacts, so that a cold start with a broken source serves the last good one. Several
processes may share it: each changes its own plugins' part of what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

from hotload_tui.core.artifact import alone, replace_file
from hotload_tui.core.errors import ArtifactError, near

FILE = "last-good.json"

_Kept: TypeAlias = dict[str, dict[str, str]]  # plugin → what is kept of it → digest

_LAST_GOOD = "last_good"  # other keys are those of later releases, and stay


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
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with alone(self._path.parent):
                self.read()
                for name, digest in digests.items():
                    kept = {**self._kept.pop(name, {}), _LAST_GOOD: digest}
                    if digest or kept.keys() != {_LAST_GOOD}:
                        self._kept[name] = kept
                replace_file(self._path, msgspec.json.encode(dict(sorted(self._kept.items()))))
        except OSError as error:
            self.read()
            raise ArtifactError(f"cannot write {near(self._path)}: {error.strerror}") from error
