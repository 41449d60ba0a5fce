"""Files of an artifact for ``importlib.resources``: what was loaded, not what is on disk now."""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib.resources.abc import Traversable, TraversableResources
from typing import IO

from hotload_tui.core.artifact import Artifact


class ArtifactPath(Traversable):
    """A file or folder inside an artifact."""

    def __init__(self, artifact: Artifact, path: str) -> None:
        self._artifact = artifact
        self._path = path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._path.rpartition("/")[2]

    def iterdir(self) -> Iterator[ArtifactPath]:
        """Yield the files and folders directly inside."""
        start = f"{self._path}/" if self._path else ""
        heads = {
            path[len(start) :].partition("/")[0] for path in self._artifact.members if path.startswith(start)
        }
        for head in sorted(heads):
            yield ArtifactPath(self._artifact, start + head)

    def is_file(self) -> bool:
        """Tell whether it is a file."""
        return self._path in self._artifact.members

    def is_dir(self) -> bool:
        """Tell whether it is a folder."""
        return not self.is_file() and any(True for _ in self.iterdir())

    def joinpath(self, *descendants: object) -> ArtifactPath:
        """Return the path below this one; ``..`` and absolute paths lead nowhere."""
        parts = [part for name in descendants for part in str(name).split("/") if part not in ("", ".")]
        return ArtifactPath(self._artifact, "/".join([*filter(None, [self._path]), *parts]))

    def __truediv__(self, child: object) -> ArtifactPath:
        return self.joinpath(child)

    def read_bytes(self) -> bytes:
        """Return the file's bytes; ``FileNotFoundError`` where there is none."""
        try:
            return self._artifact.source(self._path)
        except KeyError:
            raise FileNotFoundError(f"{self._path} is not in {self._artifact.path}") from None

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Return the file's text, as UTF-8 unless told otherwise."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def open(  # type: ignore[override]  # the typeshed overloads differ between Python versions
        self,
        mode: str = "r",
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[bytes] | IO[str]:
        """Open the file for reading."""
        if mode not in ("r", "rb"):
            raise ValueError(f"mode {mode!r}: files of an artifact can only be read")
        stream = io.BytesIO(self.read_bytes())
        if mode == "rb":
            return stream
        return io.TextIOWrapper(stream, encoding or "utf-8", errors, newline)

    def __repr__(self) -> str:
        return f"ArtifactPath({str(self._artifact.path)!r}, {self._path!r})"


class ArtifactResources(TraversableResources):
    """The resources of one package."""

    def __init__(self, artifact: Artifact, folder: str) -> None:
        self._root = ArtifactPath(artifact, folder)

    def files(self) -> ArtifactPath:
        """Return the package's folder inside the artifact."""
        return self._root
