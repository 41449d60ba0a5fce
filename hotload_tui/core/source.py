"""A plugin's source: which of its files count, their bytes, and the digest over them.

Every regular file under the plugin's directory counts, except files that ``is_noise`` or the patterns of
``[watch] ignore`` match, and the C file that Cython has made from a ``.pyx`` file beside it. Digest, artifact
and watcher all use this rule.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import MAGIC_NUMBER, decode_source
from pathlib import Path
from typing import Final, TypeAlias

from msgspec import Struct

from hotload_tui.core.errors import DiscoverError, near
from hotload_tui.core.layout import DEFAULT, PLUGIN_ENTRY, Layout, PluginEntry
from hotload_tui.core.packages import missing
from hotload_tui.core.primitives import perf_counter, time_ns

_stat, _scandir = os.stat, os.scandir  # a plugin can replace them

NOISE = r"""\..*                                              # hidden
      | __pycache__ | node_modules | venv
      | .*\.(pyc|pyo|o|tmp|bak|orig|rej|part|swp|vsctmp|lock)
      | .*~ | \#.*\# | 4913                               # backups and probes of vim, nano, emacs
      | .*___jb_(tmp|old)___                              # JetBrains' safe write
      | sed[A-Za-z0-9]{6}                                 # sed -i
      | (bdist|lib|temp)\.(linux|macosx|win)[\w.]*-[\w.-]+ # what setuptools puts into build/
      | .*\.py\.[A-Za-z0-9]{6}                            # Qt's and rsync's temporary files
    """
_NOISE = re.compile(NOISE, re.VERBOSE)


def is_noise(name: str) -> bool:
    """Return whether a file or folder name belongs to an editor, a cache or a build, not to the plugin."""
    return _NOISE.fullmatch(name) is not None


class SourceRule:
    """Decides which files are left out, with patterns as in a ``.gitignore`` in each plugin's directory.

    No pattern leaves out the entry.
    """

    def __init__(self, ignore: Sequence[str] = (), layout: Layout = DEFAULT) -> None:
        self.layout = layout
        self._spec = None
        if ignore:
            from pathspec import GitIgnoreSpec  # takes 30 ms, so it is imported only for patterns

            self._spec = GitIgnoreSpec.from_lines(ignore)

    def leaves_out(self, path: str, *, is_folder: bool) -> bool:
        """Return whether a file or folder does not count; check the folders above it first.

        ``path`` is relative to the plugin's directory, with forward slashes.
        """
        if self._spec is not None and path not in self.layout.entries:
            is_named = self._spec.check_file(f"{path}/" if is_folder else path).include
            if is_named is not None:  # false: a pattern that begins with ``!`` matches
                return is_named
        return is_noise(path.rpartition("/")[2])

    def leaves_out_below(self, parts: Sequence[str]) -> bool:
        """Return whether a path, or a folder above it, does not count; the path need not exist."""
        if self._spec is None:
            return any(is_noise(part) for part in parts)
        ways = ("/".join(parts[: end + 1]) for end in range(len(parts)))
        *folders, path = ways
        return any(self.leaves_out(folder, is_folder=True) for folder in folders) or (
            self.leaves_out(path, is_folder=False)
        )


FileFacts: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, mtime and ctime in ns; they differ if the content may have changed."""


class Listing(Struct, frozen=True):
    """The folders and files of a plugin at one moment; paths are relative, with forward slashes."""

    folders: dict[str, tuple[int, int, int, int]]
    """Device, inode, mtime and ctime in ns; ``""`` is the plugin's own directory."""
    files: dict[str, FileFacts | None]
    """``None``: not a regular file now, such as a link to a file that does not exist yet."""
    links: dict[str, tuple[int, int]]
    """The folders that are reached through a link, with device and inode of the linked directory."""


def scan(root: Path, rule: SourceRule) -> Listing:
    """List the files and folders of the plugin at ``root``; a folder reached twice counts once.

    Raises:
        OSError: a folder cannot be listed; a plugin must not lose files silently.

    """
    if rule.layout.is_file(root):
        return Listing({}, {root.name: facts_of(os.fspath(root))}, {})
    listing = Listing({}, {}, {})
    seen: set[tuple[int, int]] = set()
    pending = [("", os.path.islink(root))]  # noqa: PTH114 - Path takes half of the time of a scan
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
    """Return whether nothing was added, removed or written; three times as fast as ``scan``.

    Raises:
        OSError: a folder is gone or cannot be read.

    """
    for path, facts in listing.folders.items():
        if folder_facts(f"{root}/{path}") != facts:
            return False
    for path, found in listing.files.items():  # noqa: SIM110 - saves a tenth of the time
        if facts_of(f"{root}/{path}") != found:
            return False
    return True


def is_older(
    folders: Mapping[str, tuple[int, int, int, int]], files: Mapping[str, FileFacts | None], moment: int
) -> bool:
    """Return whether nothing in a listing was changed after ``moment``, in ns since the epoch."""
    return all(max(facts[2:]) < moment for facts in folders.values()) and all(
        facts is not None and max(facts[3:]) < moment for facts in files.values()
    )


def facts_of(path: str) -> FileFacts | None:
    """Return the facts of a regular file, or ``None`` if there is none."""
    # Reading a pipe or socket would block; a dangling link is the lock file of some program.
    try:
        found = _stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def folder_facts(path: str) -> tuple[int, int, int, int]:
    """Return device, inode, mtime and ctime of a folder; raises ``OSError``."""
    found = _stat(path)
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _list(
    path: str, folder: str, rule: SourceRule, files: dict[str, FileFacts | None]
) -> list[tuple[str, bool]]:
    """Add the files of a folder to ``files``; return the folders in it, each with whether it is a link."""
    folders, translated = [], []
    with _scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            relative = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = _is_folder(entry)
            if rule.leaves_out(relative, is_folder=is_folder):
                continue
            if is_folder:
                folders.append((relative, entry.is_symlink()))
            else:
                files[relative] = facts_of(entry.path)
                if relative.endswith(_CYTHON):
                    translated.append(relative.removesuffix(_CYTHON))
    if (f"{folder}/{_CRATE}" if folder else _CRATE) in files:  # where cargo builds into the folder target/
        folders = [each for each in folders if each[0].rpartition("/")[2] != "target"]
    for stem in translated:
        for suffix in _GENERATED:
            files.pop(f"{stem}{suffix}", None)
    return folders


_CRATE: Final = "Cargo.toml"
_CYTHON: Final = ".pyx"
_GENERATED: Final = (".c", ".cpp", ".html")  # Cython's translation, and its annotated listing


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


FORMAT = 1
"""Increased when artifacts of earlier releases cannot be read any more."""

_HELD: Final = 1 << 20  # bytes; a larger data file is not held in memory
_ATTEMPTS = 3
_GRAIN = 2_000_000_000  # ns: the coarsest resolution of times in a file system
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_NO_PATTERNS: Final = SourceRule()


class SourceFile(Struct, frozen=True):
    """One file as it was read."""

    path: str
    """Relative to the plugin's directory, with forward slashes."""
    content: bytes
    """Empty for a large data file, which is read again when it is needed."""
    sha256: str
    place: str = ""
    """The path of a large data file; empty for other files."""
    large: int = 0
    """The number of bytes of a large data file; 0 for other files."""

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.large or len(self.content)


class Source(Struct, frozen=True):
    """A plugin's files as they were at one moment."""

    name: str
    root: str
    """Absolute path of the plugin's directory; of a single file, the directory that contains it."""
    files: tuple[SourceFile, ...]
    """In order of path; empty if the digest was known without reading the files."""
    digest: str
    """64 hexadecimal digits."""
    facts: dict[str, FileFacts | None]
    """The facts of each file, which show a later change without reading."""
    seconds: float = 0.0
    """Duration of reading."""
    folders: dict[str, tuple[int, int, int, int]] = {}
    """The facts of each folder, which show a later added file without listing; empty if unknown."""
    read_at: int = 0
    """When reading began, in ns since the epoch."""
    entry: PluginEntry = PLUGIN_ENTRY

    @property
    def path(self) -> Path:
        """The plugin's directory, or its single file."""
        return Path(self.root, self.entry.file) if self.entry.is_alone else Path(self.root)

    @property
    def entry_content(self) -> bytes:
        """The bytes of the entry."""
        return next(file.content for file in self.files if file.path == self.entry.file)


def read_source(name: str, root: Path, rule: SourceRule = _NO_PATTERNS) -> Source:
    """Read every file of the plugin ``name`` once.

    Raises:
        DiscoverError: there is no readable entry, or another file cannot be read.

    """
    vanished = ""
    for _ in range(_ATTEMPTS):
        try:
            return _read(name, root, rule)
        except FileNotFoundError as error:
            vanished = error.filename  # between listing and reading, as while an editor saves: read again
    raise DiscoverError(name, f"{near(vanished)} vanished while it was read")


def check_entry(name: str, root: Path, layout: Layout = DEFAULT) -> None:
    """Raise ``DiscoverError`` if the entry is not a regular file; the file is not read."""
    try:
        _check_entry(name, root, layout)
    except OSError as error:
        raise _unreadable(name, error) from None


def decoded(content: bytes) -> str:
    """Return the text of a Python file as the compiler reads it; replace bytes that cannot be decoded."""
    try:
        return decode_source(content)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        return content.decode("utf-8", "replace")


def is_as_read(source: Source, rule: SourceRule = _NO_PATTERNS) -> bool:
    """Return whether the files on disk are still the files that were read; compares facts, not contents."""
    try:
        # A recently changed folder may keep its times if it changes again.
        if source.folders and is_older(source.folders, {}, source.read_at - _GRAIN):
            listing = Listing(source.folders, source.facts, {})
            if is_as_listed(source.root, listing):
                return True
        return scan(source.path, rule).files == source.facts
    except OSError:
        return False


def read_file(root: Path, relative: str) -> SourceFile:
    """Read one file of the plugin in ``root``; raises ``OSError``."""
    place = f"{root}/{relative}"
    with open(place, "rb") as file:  # noqa: PTH123 - Path takes longer than the reading
        content = file.read(_HELD + 1)
        if len(content) > _HELD and not relative.endswith(".py"):
            total, size = hashlib.sha256(content), len(content)
            while block := file.read(_HELD):
                total.update(block)
                size += len(block)
            return SourceFile(printable(relative), b"", total.hexdigest(), place, size)
        content += file.read()
    return SourceFile(printable(relative), content, hashlib.sha256(content).hexdigest())


def printable(path: str) -> str:
    """Return the name of a file in manifests and messages, which are always UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def digest_of(files: Iterable[tuple[str, str]], entry: PluginEntry = PLUGIN_ENTRY) -> str:
    """Return the digest of a plugin from the (path, SHA-256) of its files, in order of path."""
    # The digest covers the sources, never the compiled bytes: marshal's output is not reproducible.
    total = hashlib.sha256(b"%d %b %d" % (FORMAT, MAGIC_NUMBER, sys.flags.optimize))
    for path, sha256 in files:
        total.update(b"%d:%b" % (len(path.encode()), path.encode()))
        total.update(bytes.fromhex(sha256))
    if entry != PLUGIN_ENTRY:  # the same files with another entry are another version
        total.update(f"{entry.file}:{entry.function}:{entry.is_alone}".encode())
        total.update(" ".join(entry.packages).encode())
        if entry.points:
            total.update(repr(entry.points).encode())
    return total.hexdigest()


def _read(name: str, root: Path, rule: SourceRule) -> Source:
    started, read_at = perf_counter(), time_ns()
    try:
        _check_entry(name, root, rule.layout)
        listing = scan(root, rule)
        facts = listing.files
        folder = rule.layout.folder_of(root)
        files = [read_file(folder, relative) for relative, found in facts.items() if found]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(name, error) from None
    files.sort(key=lambda file: file.path)
    entry = rule.layout.entry_of(root)
    digest = digest_of(((file.path, file.sha256) for file in files), entry)
    seconds = perf_counter() - started
    home = str(folder.absolute())
    return Source(name, home, tuple(files), digest, facts, seconds, listing.folders, read_at, entry)


def _unreadable(name: str, error: OSError) -> DiscoverError:
    return DiscoverError(
        name, f"cannot read {near(error.filename)}: {error.strerror}", file=str(error.filename)
    )


def _check_entry(name: str, root: Path, layout: Layout) -> None:
    function = layout.register
    entry = layout.folder_of(root) / layout.entry_of(root).file
    if rival := layout.rival_of(root):
        both = f"{near(root)} and {near(rival)} both define the plugin {name}"
        raise DiscoverError(name, f"{both}; rename or remove one of them", file=str(entry))
    try:
        if stat.S_ISREG(entry.stat().st_mode):
            return
    except OSError as error:  # from Python 3.14 on is_file() hides every error
        if error.errno not in _MISSING:
            raise
    if entry.is_symlink():
        reason = f"{near(entry)} is a link to {entry.readlink()}, which is no file"
    elif entry.is_dir():
        reason = f"{near(entry)} is a directory; it must be a file that defines {function}(ctx)"
    elif entry.exists():
        reason = f"{near(entry)} is no regular file; it must be a file that defines {function}(ctx)"
    else:
        reason = _absence(name, root, layout, entry.name)
    raise DiscoverError(name, reason, file=str(entry))


def _absence(name: str, root: Path, layout: Layout, entry: str) -> str:
    """Return what to do about a plugin without an entry."""
    package = layout.package_at(root)
    is_shared = package in layout.shared
    if package and not root.exists():
        return missing(package, str(root), is_shared=is_shared, is_found=package in layout.points)
    lacks, adds = f"no {entry} in {near(root)}", f"add one that defines {layout.register}(ctx)"
    if package in layout.points:
        return f"{lacks}, although an installed entry point names it; add it, or install the package again"
    if package:
        key = "shared" if is_shared else "packages"
        return f"{lacks}; {'add one' if is_shared else adds}, or remove it from {key} in hotload.toml"
    if other := layout.other_entry(root):
        return f'{lacks}; rename {other}, or set entry = "{other}" in hotload.toml'
    return f"{lacks}; {adds}, or rename the directory to _{name}"
