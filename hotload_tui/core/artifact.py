"""The file format under ``compiled/``: one verified file with everything that a load needs.

An artifact is a stored (uncompressed) zip, which ``unzip -l`` lists. It contains ``source/<path>`` for every
file of the plugin, ``code/<path>c`` for the compiled code of each Python file, ``native/<path>`` for each
native module that the build has made, and ``manifest.json`` as the last entry. The zip comment holds the
offset, size and SHA-256 of the manifest; the manifest holds those of each member. A member is verified when
it is read, and always before it is unmarshalled, because the interpreter does not check marshalled bytes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import marshal
import os
import re
import stat
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType
from typing import BinaryIO

import msgspec
from msgspec import Struct

from hotload_tui.core.compiled import FULL, artifact_name, replace_file
from hotload_tui.core.errors import ArtifactError, StorageError, near
from hotload_tui.core.layout import PLUGIN_ENTRY, PluginEntry
from hotload_tui.core.primitives import Lock
from hotload_tui.core.source import FORMAT

MAGIC = f"{MAGIC_NUMBER.hex()}-{sys.flags.optimize}"
"""Identifies the interpreter that compiled the code of an artifact."""

_COMMENT = re.compile(rb"hotplug (\d+) (\d+) ([0-9a-f]{64})")
_END_RECORD = 22  # bytes of a zip's end record without its comment
_TAIL = 512  # bytes at the end of the file that contain the end record and the comment
_IN_MEMORY = 1 << 20  # bytes; a larger file is read member by member through an open descriptor
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip; a fixed date makes equal input give equal bytes


class Member(Struct, frozen=True):
    """One file of the plugin inside an artifact; offsets and sizes are in bytes."""

    path: str
    sha256: str
    offset: int
    size: int
    code_offset: int = 0
    code_size: int = 0
    """0: the file has no compiled code."""
    code_sha256: str = ""
    warnings: tuple[str, ...] = ()
    """What the compiler and the checks of the source warn about in this file."""


class NativeMember(Member, frozen=True):
    """A native module inside an artifact that was built from files of the plugin."""

    inputs: str = ""
    """SHA-256 over everything from which it was built, except the tools."""
    tools: str = ""
    """The versions of the tools that built it."""
    is_library: bool = False
    """Whether it is a library for ctypes, and no extension module of Python."""


class Manifest(Struct, frozen=True):
    """The table of contents of an artifact."""

    format: int
    magic: str
    plugin: str
    digest: str
    description: str
    members: tuple[Member, ...]
    requires: tuple[str, ...] = ()
    """The plugins that ``REQUIRES`` in ``plugin.py`` names."""
    reload: str = ""
    """The value of ``RELOAD`` in ``plugin.py``; empty if there is none."""
    entry: PluginEntry = PLUGIN_ENTRY
    """What runs at a load."""
    natives: tuple[NativeMember, ...] = ()
    """The native modules that the build has made; they are no files of the plugin."""


class NativeModule(Struct, frozen=True):
    """A native module that was built from files of the plugin, as the input for an artifact."""

    path: str
    content: bytes
    inputs: str
    tools: str
    warnings: tuple[str, ...] = ()
    is_library: bool = False


class Entry(Struct, frozen=True):
    """One file of the plugin, as the input for an artifact."""

    path: str
    content: bytes
    sha256: str
    code: bytes = b""
    """Marshalled code; empty for a file that is not a Python module."""
    warnings: tuple[str, ...] = ()
    place: str = ""
    """The path from which a large file is read; ``content`` is empty then."""


def exposure(fact: os.stat_result, plugins: Path | None) -> str:
    """Return which other user can change a file or folder, and so what runs as this user; or nothing.

    The administrator counts as this user, and so does a group that has no other member. The owner of the
    folder ``plugins`` counts too: that user can write the code of each plugin, which runs as this user.
    """
    if sys.platform == "win32":
        return ""  # on Windows the mode does not show the access rights
    if fact.st_uid not in (os.getuid(), 0) and fact.st_uid != owner_of(plugins):
        return f"user {fact.st_uid} owns"
    if fact.st_mode & stat.S_IWOTH and not stat.S_ISLNK(fact.st_mode):
        return "everybody can write to"
    if fact.st_mode & stat.S_IWGRP and is_shared(fact.st_gid):
        return f"group {fact.st_gid} can write to"
    return ""


def owner_of(folder: Path | None) -> int | None:
    """Return the user who owns a folder; ``None`` if it is missing."""
    try:
        return folder.stat().st_uid if folder is not None else None
    except OSError:
        return None


def remedy(fact: os.stat_result, folder: str, plugins: Path | None) -> str:
    """Return how to take a folder back; where its owner and mode are fixed, as in a mount, use another.

    The administrator gives it to the owner of the folder ``plugins``, whose project it may be.
    """
    me, owner = os.getuid(), owner_of(plugins)
    is_foreign = fact.st_uid not in (me, 0, owner)
    user = me if me or owner is None else owner
    take = f"chown -R {user} {folder}" if is_foreign else f"chmod -R go-w {folder}"
    return f"{take}, or choose a folder of your own with --compiled or compiled_dir (in a container, too)"


@functools.cache
def is_shared(group: int) -> bool:
    """Return whether a group may have other members; many systems give each user a private group."""
    if sys.platform == "win32":
        return False
    import grp  # both only for what a group can write to
    import pwd

    try:
        me = pwd.getpwuid(os.getuid())
        return group != me.pw_gid or bool(set(grp.getgrgid(group).gr_mem) - {me.pw_name})
    except KeyError:
        return True


class Artifact:
    """A published artifact, open for reading.

    It stays readable after its file is removed from ``compiled/``.

    Raises:
        ArtifactError: the file is missing, unreadable or damaged, has another format or Python version, or
            another user can change it or its folder.

    """

    def __init__(self, path: Path, plugins: Path | None = None) -> None:
        """Open the file and verify its manifest; members are verified when they are read.

        The owner of the folder ``plugins`` may own the file and its folder too.
        """
        self.path = path
        self._plugins = plugins
        self._lock = Lock()
        self._bytes = b""
        self._sources = b""  # all of them, for ``may_say``: the code, which says the same, is longer
        # No file object: it would count as an open file of the plugin.
        self._handle: int | None = None
        self._sound: set[tuple[int, int]] = set()  # (offset, size) of members in memory that are verified
        try:
            self._open()
            self.manifest = self._read_manifest()
        except OSError as error:
            raise ArtifactError(f"{near(path)} cannot be read: {error.strerror}") from error
        # A native module that was built counts instead of one of the same name in the plugin.
        members = (*self.manifest.members, *self.manifest.natives)
        self.members: Mapping[str, Member] = {member.path: member for member in members}

    def source(self, path: str) -> bytes:
        """Return the file ``path`` of the plugin as it was compiled; raises ``KeyError`` if it is missing."""
        member = self.members[path]
        return self._verified(member.offset, member.size, member.sha256, path)

    def native(self, path: str) -> NativeModule | None:
        """Return the native module ``path`` that the build has made; ``None`` if there is none."""
        for each in self.manifest.natives:
            if each.path == path:
                content = self.source(path)
                return NativeModule(path, content, each.inputs, each.tools, each.warnings, each.is_library)
        return None

    def code(self, path: str) -> bytes:
        """Return the marshalled code of the Python file ``path``; raises ``KeyError`` if it has none."""
        member = self.members[path]
        if not member.code_size:
            raise KeyError(path)
        return self._verified(member.code_offset, member.code_size, member.code_sha256, path)

    def code_object(self, path: str, file_name: str) -> CodeType:
        """Return the code object of ``path``, with ``file_name`` as its file name.

        Raises:
            SyntaxError: no ``import`` statement can name the file, so the build has not compiled it.

        """
        if not self.members[path].code_size:
            return compile(self.source(path), file_name, "exec", dont_inherit=True)
        code = marshal.loads(self.code(path))  # noqa: S302 - verified against the manifest
        if not isinstance(code, CodeType):
            raise self._damaged(f"{path} holds no code")
        return code if code.co_filename == file_name else _relocated(code, file_name)

    def may_say(self, words: tuple[str, ...], most: int) -> bool:
        """Return whether the artifact may contain one of the words; the bytes are not verified.

        Always true for an artifact over ``most`` bytes, which is not searched.
        """
        if not 0 < len(self._bytes) <= most:
            return True
        if not self._sources:
            self._sources = b"\0".join(
                self._bytes[member.offset : member.offset + member.size] for member in self.members.values()
            )
        return any(map(self._sources.__contains__, _encoded(words)))

    def _open(self) -> None:
        # Opened once: another process may replace the file with one of another size at any time.
        handle = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            fact = os.fstat(handle)
            self._refuse(self.path, fact)
            self._refuse(self.path.parent, os.stat(self.path.parent))  # noqa: PTH116 - at each load
            self._size = fact.st_size
            if self._size > _IN_MEMORY:
                self._handle = handle
            else:
                self._bytes = os.read(handle, self._size)  # reading with a file object takes twice as long
        finally:
            if self._handle is None:
                os.close(handle)

    def _refuse(self, path: Path, fact: os.stat_result) -> None:
        who = exposure(fact, self._plugins)
        if who:
            folder = near(path if stat.S_ISDIR(fact.st_mode) else path.parent)
            raise ArtifactError(
                f"{near(path)} is refused: {who} it, and its code would run as you; "
                f"{remedy(fact, folder, self._plugins)}"
            )

    def _read_manifest(self) -> Manifest:
        tail = self._slice(max(0, self._size - _TAIL), min(self._size, _TAIL))
        start = tail.rfind(b"PK\x05\x06")
        comment = _COMMENT.fullmatch(tail[start + _END_RECORD :]) if start >= 0 else None
        if comment is None:
            raise self._damaged("it is cut short or no artifact")
        offset, size, digest = int(comment[1]), int(comment[2]), comment[3].decode()
        raw = self._verified(offset, size, digest, "the manifest")
        try:
            manifest = msgspec.json.decode(raw, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged(f"its manifest cannot be read ({error})") from error
        if (manifest.format, manifest.magic) != (FORMAT, MAGIC):
            raise ArtifactError(f"{near(self.path)} was made by another Python or release")
        return manifest

    def _verified(self, offset: int, size: int, sha256: str, what: str) -> bytes:
        content = self._slice(offset, size)
        if (offset, size) in self._sound:
            return content
        if hashlib.sha256(content).hexdigest() != sha256:
            raise self._damaged(f"{what} does not match its SHA-256")
        if self._handle is None:
            self._sound.add((offset, size))
        return content

    def _slice(self, offset: int, size: int) -> bytes:
        if self._handle is None:
            return self._bytes[offset : offset + size]
        parts = []
        with self._lock:
            os.lseek(self._handle, offset, os.SEEK_SET)
            while size and (part := os.read(self._handle, size)):  # one read gives at most 2 GiB
                parts.append(part)
                size -= len(part)
        return b"".join(parts)

    def _damaged(self, reason: str) -> ArtifactError:
        return ArtifactError(f"{near(self.path)} is damaged: {reason}")

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """Close the descriptor of a large artifact when its last user is gone."""
        handle: int | None = getattr(self, "_handle", None)
        if handle is not None:
            with contextlib.suppress(OSError):  # a plugin has closed all descriptors
                close(handle)


@functools.cache
def _encoded(words: tuple[str, ...]) -> tuple[bytes, ...]:
    shortest = (word for word in words if not any(other in word for other in words if other != word))
    return tuple(word.encode() for word in shortest)


def write_artifact(
    folder: Path,
    plugin: str,
    digest: str,
    entries: Iterable[Entry],
    *,
    description: str = "",
    requires: tuple[str, ...] = (),
    reload: str = "",
    entry: PluginEntry = PLUGIN_ENTRY,
    natives: Iterable[NativeModule] = (),
) -> tuple[Path, int]:
    """Publish an artifact in ``folder`` and return its path and size in bytes.

    A reader sees the whole file or none of it: the file is written under a temporary name in the same folder
    and then renamed. The function does not wait for the disk; use ``make_durable`` for that.

    Raises:
        ArtifactError: the folder cannot be created or written.

    """
    target = folder / artifact_name(plugin, digest)
    entries = list(entries)
    size = 0

    def write(file: BinaryIO) -> None:
        nonlocal size
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            members = tuple(_add(archive, file, entry) for entry in entries)
            built = tuple(_add_native(archive, file, native) for native in natives)
            manifest = msgspec.json.encode(
                Manifest(FORMAT, MAGIC, plugin, digest, description, members, requires, reload, entry, built)
            )
            offset = _store(archive, file, "manifest.json", manifest)
            archive.comment = (
                f"hotplug {offset} {len(manifest)} {hashlib.sha256(manifest).hexdigest()}".encode()
            )
        size = file.tell()

    try:
        if any(entry.place for entry in entries):
            replace_file(target, write, is_durable=False)
        else:
            buffer = io.BytesIO()  # one write takes less time than many
            write(buffer)
            replace_file(target, buffer.getvalue(), is_durable=False)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in FULL:
            raise StorageError(
                f"cannot write {near(target)}: {reason}; hotload tries again once {near(folder)} has room "
                "and can be written, or choose another folder with compiled_dir"
            ) from error
        raise ArtifactError(
            f"cannot write {near(target)}: {reason}; make {near(folder)} a folder that you can write to, "
            "or choose another with compiled_dir"
        ) from error
    return target, size


def _add(archive: zipfile.ZipFile, buffer: BinaryIO, entry: Entry) -> Member:
    if entry.place:
        offset, size = _stream(archive, buffer, entry)
        return Member(entry.path, entry.sha256, offset, size)
    offset = _store(archive, buffer, f"source/{entry.path}", entry.content)
    if not entry.code:
        return Member(entry.path, entry.sha256, offset, len(entry.content))
    return Member(
        entry.path,
        entry.sha256,
        offset,
        len(entry.content),
        code_offset=_store(archive, buffer, f"code/{entry.path}c", entry.code),
        code_size=len(entry.code),
        code_sha256=hashlib.sha256(entry.code).hexdigest(),
        warnings=entry.warnings,
    )


def _add_native(archive: zipfile.ZipFile, buffer: BinaryIO, native: NativeModule) -> NativeMember:
    offset = _store(archive, buffer, f"native/{native.path}", native.content)
    return NativeMember(
        native.path,
        hashlib.sha256(native.content).hexdigest(),
        offset,
        len(native.content),
        warnings=native.warnings,
        inputs=native.inputs,
        tools=native.tools,
        is_library=native.is_library,
    )


def _store(archive: zipfile.ZipFile, buffer: BinaryIO, name: str, content: bytes) -> int:
    """Write one member and return the offset of its bytes."""
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return buffer.tell() - len(content)


def _stream(archive: zipfile.ZipFile, buffer: BinaryIO, entry: Entry) -> tuple[int, int]:
    """Copy a large file from its place; return the offset and the number of its bytes.

    Raises:
        ArtifactError: the file has changed since it was read, or cannot be read.

    """
    about = zipfile.ZipInfo(f"source/{entry.path}", _EPOCH)
    total, size = hashlib.sha256(), 0
    try:
        with open(entry.place, "rb") as file:  # noqa: PTH123 - as in ``read_file``
            about.file_size = os.fstat(file.fileno()).st_size
            with archive.open(about, "w") as member:
                while block := file.read(_IN_MEMORY):
                    member.write(block)
                    total.update(block)
                    size += len(block)
            offset = buffer.tell() - size
    except FileNotFoundError as error:
        raise ArtifactError(f"{near(entry.place)} vanished while its plugin was built") from error
    if total.hexdigest() != entry.sha256:
        raise ArtifactError(f"{near(entry.place)} changed while its plugin was built")
    return offset, size


def _relocated(code: CodeType, file_name: str) -> CodeType:
    """Return ``code`` as if compiled at ``file_name``, for a project that was moved since the build."""
    constants = tuple(
        _relocated(constant, file_name) if isinstance(constant, CodeType) else constant
        for constant in code.co_consts
    )
    return code.replace(co_filename=file_name, co_consts=constants)
