"""What lies in a plugin's directory, without reading any of it: by this a change shows."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from hotload_tui.core.source.rule import SourceRule

FileFacts: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, bytes, mtime and ctime in ns: they differ if the content may have changed."""


class Listing(Struct, frozen=True):
    """The folders and files of a plugin at one moment; paths are relative, with forward slashes."""

    folders: dict[str, tuple[int, int, int, int]]
    """Device, inode, mtime and ctime in ns; ``""`` is the plugin's own directory."""
    files: dict[str, FileFacts | None]
    """``None``: no regular file now, such as a link to what is not there yet."""
    links: dict[str, tuple[int, int]]
    """The folders that are reached through a link, and the directory that each leads to."""


def scan(root: Path, rule: SourceRule) -> Listing:
    """List what belongs to the plugin in the directory ``root``; a folder reached twice counts once.

    Raises:
        OSError: a folder cannot be listed; a plugin must not shrink in silence.

    """
    listing = Listing({}, {}, {})
    seen: set[tuple[int, int]] = set()
    pending = [("", os.path.islink(root))]  # noqa: PTH114 - half of the time of a scan is spent in Path
    while pending:
        folder, is_link = pending.pop()
        path = os.path.join(root, folder) if folder else os.fspath(root)  # noqa: PTH118 - as above
        facts = folder_facts(path)
        if facts[:2] in seen:
            continue
        seen.add(facts[:2])
        listing.folders[folder] = facts
        if is_link:
            listing.links[folder] = facts[:2]
        pending += reversed(_list(path, folder, rule, listing.files))
    return listing


def is_as_listed(root: str, listing: Listing) -> bool:
    """Tell whether nothing was added, removed or written; three times as fast as ``scan``.

    Raises:
        OSError: a folder is not there any more, or cannot be read.

    """
    for path, facts in listing.folders.items():
        if folder_facts(f"{root}/{path}") != facts:
            return False
    for path, found in listing.files.items():  # noqa: SIM110 - a tenth of the time
        if facts_of(f"{root}/{path}") != found:
            return False
    return True


def is_older(
    folders: Mapping[str, tuple[int, int, int, int]], files: Mapping[str, FileFacts | None], moment: int
) -> bool:
    """Tell whether nothing of a listing was changed after ``moment``, in ns since the epoch."""
    return all(max(facts[2:]) < moment for facts in folders.values()) and all(
        facts is not None and max(facts[3:]) < moment for facts in files.values()
    )


def facts_of(path: str) -> FileFacts | None:
    """Return the facts of a regular file, or ``None`` where there is none."""
    # A pipe or socket would block whoever reads it; a dangling link is somebody's lock file.
    try:
        found = os.stat(path)  # noqa: PTH116 - as above
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def folder_facts(path: str) -> tuple[int, int, int, int]:
    """Return device, inode, mtime and ctime of a folder; raises ``OSError``."""
    found = os.stat(path)  # noqa: PTH116 - as above
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _list(
    path: str, folder: str, rule: SourceRule, files: dict[str, FileFacts | None]
) -> list[tuple[str, bool]]:
    """Add the files of a folder, and return the folders in it, each with whether it is a link."""
    folders = []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            relative = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = _is_folder(entry)
            if rule.leaves_out(relative, is_folder=is_folder):
                continue
            if is_folder:
                folders.append((relative, entry.is_symlink()))
            else:
                files[relative] = facts_of(entry.path)
    return folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False
