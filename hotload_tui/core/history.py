"""What was built and loaded: which artifact of each plugin served last.

It lies beside the artifacts, so that a cold start with a broken source serves the last good one.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from hotload_tui.core.artifact import replace_file
from hotload_tui.core.errors import ArtifactError, near

FILE = "last-good.json"


class LastGood:
    """The digest of each plugin's last good artifact, kept in ``compiled_dir``."""

    def __init__(self, compiled_dir: Path) -> None:
        self._path = compiled_dir / FILE
        self._digests: dict[str, str] = {}
        # A missing or damaged file costs a broken plugin its last good, no more.
        with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
            self._digests = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])

    def of(self, plugin: str) -> str:
        """Return the digest that served last; empty when none did."""
        return self._digests.get(plugin, "")

    def record(self, digests: dict[str, str]) -> None:
        """Remember what serves now (an empty digest forgets the plugin); written only when it changed.

        Raises:
            ArtifactError: the file cannot be written.

        """
        after = {name: digest for name, digest in {**self._digests, **digests}.items() if digest}
        if after == self._digests:
            return
        self._digests = after
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, msgspec.json.encode(dict(sorted(after.items()))))
        except OSError as error:
            raise ArtifactError(f"cannot write {near(self._path)}: {error.strerror}") from error
