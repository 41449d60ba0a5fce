"""The trash: artifacts that somebody cleaned away, kept for a while in case it was a mistake.

``compiled/trash/<when>/`` has what one command removed; the newest few are kept, within a bound.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from hotload_tui.core.artifact.folder import alone
from hotload_tui.core.errors import ArtifactError, near

_FOLDER = "trash"
_KEPT = 5  # commands
_LARGEST = 64 * 2**20  # bytes, of all but the newest


def discard(folder: Path, paths: Iterable[Path], when: str) -> int:
    """Move artifacts of ``folder`` into the trash of the command ``when``; returns how many.

    ``when`` sorts as the commands came. Raises ``ArtifactError``: one cannot be moved.
    """
    count, bin_ = 0, folder / _FOLDER / when
    with alone(folder):
        for path in paths:
            try:
                bin_.mkdir(parents=True, exist_ok=True)
                path.replace(bin_ / path.name)
            except FileNotFoundError:
                continue  # removed meanwhile by another process
            except OSError as error:
                raise ArtifactError(f"cannot remove {near(path)}: {error.strerror}") from error
            count += 1
        _prune(folder / _FOLDER)
    return count


def restore(folder: Path, when: str) -> int:
    """Move back what a command removed and nobody has made anew; returns how many.

    Raises ``ArtifactError``: one cannot be moved.
    """
    count, bin_ = 0, folder / _FOLDER / when
    try:
        with alone(folder):
            for path in sorted(bin_.glob("*")):
                if not (folder / path.name).exists():
                    path.replace(folder / path.name)
                    count += 1
            shutil.rmtree(bin_, ignore_errors=True)
    except OSError as error:
        raise ArtifactError(f"cannot bring back artifacts in {near(folder)}: {error.strerror}") from error
    return count


def _prune(trash: Path) -> None:
    with contextlib.suppress(OSError):  # another process may be at it, too
        bins = sorted(trash.iterdir(), reverse=True)
        size = 0
        for number, each in enumerate(bins):
            size += sum(path.stat().st_size for path in each.iterdir())
            if number and (number >= _KEPT or size > _LARGEST):
                shutil.rmtree(each, ignore_errors=True)
