"""Native modules that hotload builds from a plugin's sources, in C, Cython or Rust.

``x.pyx``, and ``x.c`` that defines ``PyInit_x``, are the sources of the module ``x``. A file ``native.toml``
declares others, and a crate with a ``Cargo.toml`` declares itself. setuptools, Cython and cargo build each
module in a process of its own, in a scratch folder that contains only the files whose SHA-256 the module is
known by. So machine code is never older than its source: a file that does not count is not found.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import posixpath
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from hotload_tui.core.artifact import Artifact, NativeModule
from hotload_tui.core.checks import PYTHON
from hotload_tui.core.config_files import dotted, problems_in
from hotload_tui.core.errors import ArtifactError, CompileError
from hotload_tui.core.faults import install_advice
from hotload_tui.core.module_names import installed_spec
from hotload_tui.core.native_worker import Job
from hotload_tui.core.primitives import monotonic
from hotload_tui.core.source import FileFacts, Source, SourceFile, decoded

COMPILER: Final = "gcc"
"""The C compiler that a fault names if there is none; any other works, too."""

_SUFFIX: Final = EXTENSION_SUFFIXES[0]
_SOURCES: Final = (".c", ".pyx")
_DECLARATION: Final = "native.toml"
_CRATE: Final = "Cargo.toml"
_MARKS: Final = (*_SOURCES, _DECLARATION, _CRATE)
_CARGO: Final = "cargo"
_ADVICE: Final = {
    COMPILER: "xcode-select --install" if sys.platform == "darwin" else f"apt install {COMPILER} python3-dev",
    _CARGO: f"apt install {_CARGO}",
}
_HEADERS: Final = (".h", ".hh", ".hpp", ".hxx", ".inc", ".inl", ".def", ".pxd", ".pxi")
_COMPILERS: Final = ("cc", COMPILER, "clang")
_SETTINGS: Final = ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED", "ARCHFLAGS")
_WORKER: Final = Path(__file__).with_name("native_worker.py")
_PATIENCE: Final = 300.0  # seconds for all native modules of one plugin
_SAME_TIME: Final = 500_000_000  # ns: files that one copy or installation wrote
_NOTES: Final = 20  # messages of the compiler beside the first error


class Declaration(Struct, frozen=True, forbid_unknown_fields=True):
    """One table of ``native.toml``; its name is the dotted name of the module."""

    kind: Literal["extension", "ctypes"] = "extension"
    """An extension module of Python, or a library for ctypes."""
    sources: tuple[str, ...] = ()
    """By default the ``.pyx`` or ``.c`` file with the name of the module."""
    include: tuple[str, ...] = ()
    """Folders with headers."""
    flags: tuple[str, ...] = ()
    """Arguments for the C compiler and the linker."""


class Unit(Struct, frozen=True):
    """One native module that hotload builds; paths are relative to the plugin's directory."""

    module: str
    """Its dotted name."""
    kind: Literal["extension", "ctypes", "rust"]
    sources: tuple[str, ...]
    """The files that the build begins with; of a crate, its ``Cargo.toml``."""
    files: tuple[str, ...]
    """All files that the build can read."""
    inputs: str
    """SHA-256 over these files, the declaration and the version of Python."""
    include: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The file that names the module in messages."""
        return self.sources[0]

    @property
    def is_cython(self) -> bool:
        """Whether Cython translates a source to C first."""
        return any(source.endswith(".pyx") for source in self.sources)

    @property
    def stem(self) -> str:
        """The path of the module's file without its suffix."""
        return self.module.replace(".", "/")

    @property
    def path(self) -> str:
        """The path of the module's file."""
        return f"{self.stem}{_SUFFIX}"


class Natives(NamedTuple):
    """The native modules of a new artifact."""

    modules: tuple[NativeModule, ...]
    built: tuple[str, ...]
    """The sources of those that were built now."""


def may_have_units(paths: Iterable[str]) -> bool:
    """Return whether a plugin with these files may have native modules to build."""
    return any(path.endswith(_MARKS) for path in paths)


def units(plugin: str, hashes: Mapping[str, str], read: Callable[[str], bytes]) -> Iterator[Unit]:
    """Yield the native modules to build from a plugin's files.

    ``hashes`` contains the SHA-256 of each file, and ``read`` returns the content of one. Raises
    ``CompileError`` if ``native.toml`` or a ``Cargo.toml`` is wrong.
    """
    declared = _declared(plugin, hashes, read)
    taken = {source for each in declared.values() for source in each.sources}
    for path in hashes:
        stem, dot, suffix = path.rpartition(".")
        module, is_named = stem.replace("/", "."), all(part.isidentifier() for part in stem.split("/"))
        if path in taken or module in declared or not is_named:
            continue
        if f"{dot}{suffix}" in _SOURCES and (suffix == "pyx" or _has_entry_point(stem, read(path))):
            declared[module] = Declaration(sources=(path,))
    for module, each in declared.items():
        files = tuple(sorted(_reachable(each.sources, hashes, read)))
        facts = (module, each.kind, each.sources, each.include, each.flags)
        inputs = _inputs(facts, files, hashes)
        yield Unit(module, each.kind, each.sources, files, inputs, each.include, each.flags)
    for path in hashes:
        if path.rpartition("/")[2] == _CRATE and (name := _library_name(plugin, path, read(path))):
            folder = path.removesuffix(_CRATE)
            files = tuple(sorted(each for each in hashes if _is_of_crate(each, folder)))
            module = f"{folder}{name}".replace("/", ".")
            yield Unit(module, "rust", (path,), files, _inputs((module, "rust"), files, hashes))


def _inputs(facts: tuple[object, ...], files: Iterable[str], hashes: Mapping[str, str]) -> str:
    parts = [facts, sys.implementation.cache_tag, _SUFFIX, *((each, hashes[each]) for each in files)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _has_entry_point(stem: str, content: bytes) -> bool:
    name = stem.rpartition("/")[2].encode()
    return re.search(rb"\bPyInit_%b\b" % name, content) is not None


def _declared(plugin: str, hashes: Mapping[str, str], read: Callable[[str], bytes]) -> dict[str, Declaration]:
    """Return the declarations in ``native.toml`` by module, each with its sources."""
    if _DECLARATION not in hashes:
        return {}
    table = _toml(plugin, _DECLARATION, read(_DECLARATION))
    problems = [*problems_in(table, dict[str, Declaration])]
    if problems:
        raise CompileError(plugin, f"{_DECLARATION}: {'; '.join(problems)}", file=_DECLARATION)
    found = {}
    for module, each in msgspec.convert(table, dict[str, Declaration]).items():
        stem = module.replace(".", "/")
        beside = [f"{stem}{suffix}" for suffix in (".pyx", ".c") if f"{stem}{suffix}" in hashes]
        sources = each.sources or tuple(beside[:1]) or (f"{stem}.c",)
        for source in sources:
            if source not in hashes:
                problem = f"{_DECLARATION}: {dotted((module,))}: there is no file {source} in the plugin"
                raise CompileError(plugin, f"{problem}; list the files in sources", file=_DECLARATION)
        found[module] = msgspec.structs.replace(each, sources=sources)
    return found


def _toml(plugin: str, path: str, content: bytes) -> dict[str, object]:
    import tomllib  # imported only if there is such a file

    try:
        return tomllib.loads(decoded(content))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        at = int(line[1]) if line else 0
        raise CompileError(plugin, f"{path}: not valid TOML: {error}", file=path, line=at) from None


def _library_name(plugin: str, path: str, content: bytes) -> str:
    """Return the name of the library that a crate builds for other languages; empty if it builds none."""
    table = _toml(plugin, path, content)
    match table:
        case {"lib": {"crate-type": [*kinds], **library}} if "cdylib" in kinds:
            package = table.get("package")
            name = library.get("name") or (package.get("name") if isinstance(package, dict) else "")
            return str(name).replace("-", "_")
        case _:
            return ""


def _is_of_crate(path: str, folder: str) -> bool:
    rest = path.removeprefix(folder)
    return path.startswith(folder) and (rest in (_CRATE, "build.rs") or rest.startswith("src/"))


def _reachable(sources: Iterable[str], hashes: Mapping[str, str], read: Callable[[str], bytes]) -> set[str]:
    """Return the sources, all headers, and the files whose names occur in one of these."""
    found = {*sources, *(path for path in hashes if path.endswith(_HEADERS))}
    others = [path for path in hashes if path not in found and not path.endswith(".py")]
    pending = sorted(found)
    while pending and others:
        text = read(pending.pop())
        named = [path for path in others if path.rpartition("/")[2].encode() in text]
        others = [path for path in others if path not in named]
        found.update(named)
        pending += named
    return found


def units_of(source: Source) -> list[Unit]:
    """Return the native modules to build from a source; raises ``CompileError`` as ``units`` does."""
    if not may_have_units(file.path for file in source.files):
        return []
    files = {file.path: file for file in source.files}
    hashes = {file.path: file.sha256 for file in source.files}
    try:
        return [*units(source.name, hashes, lambda path: _content(source.name, files[path]))]
    except CompileError as error:
        error.file = str(Path(source.root, error.file))
        raise


def built_modules(source: Source) -> set[str]:
    """Return the names of the modules that hotload builds from a source; none if a declaration is wrong."""
    with contextlib.suppress(CompileError):
        return {unit.module for unit in units_of(source)}
    return set()


def _content(plugin: str, file: SourceFile) -> bytes:
    """Return the bytes of a file; raises ``CompileError`` if a large one has changed since it was read."""
    if not file.place:
        return file.content
    with contextlib.suppress(OSError):
        content = Path(file.place).read_bytes()
        if hashlib.sha256(content).hexdigest() == file.sha256:
            return content
    raise CompileError(plugin, f"{file.path} changed while its plugin was built", file=file.place)


def mismatch(artifact: Artifact) -> str:
    """Return why the native modules in an artifact are not those of its source; empty if they are.

    Without a compiler, another version of it does not count: an artifact can move to a machine without one.
    """
    hashes = {member.path: member.sha256 for member in artifact.manifest.members}
    if not may_have_units(hashes):
        return ""
    made = {each.path: each for each in artifact.manifest.natives}
    for unit in units(artifact.manifest.plugin, hashes, artifact.source):
        native = made.get(unit.path)
        if native is None:
            if not _prebuilt(unit, hashes):
                return f"has no native module for {unit.source}"
            continue
        tools = tools_for(unit)
        if native.inputs != unit.inputs or (tools and native.tools != tools):
            return f"has a native module for {unit.source} that other tools have built ({native.tools})"
    return ""


def _prebuilt(unit: Unit, paths: Iterable[str]) -> str:
    """Return the native module for this Python that is beside the source in the plugin; empty if none is."""
    return next(
        (f"{unit.stem}{suffix}" for suffix in EXTENSION_SUFFIXES if f"{unit.stem}{suffix}" in paths), ""
    )


# ---- what a build needs


def c_compiler() -> str:
    """Return the path of the C compiler; empty if there is none."""
    named = (os.environ.get("CC"), sysconfig.get_config_var("CC"))
    names = [shlex.split(str(name))[0] for name in named if name]
    return next(filter(None, map(shutil.which, (*names, *_COMPILERS))), "")


def tools_for(unit: Unit) -> str:
    """Return the versions of everything that a build uses, as one line; empty if something is missing."""
    if _missing(unit):
        return ""
    packages = [f"{name} {_version(name)}" for name in _packages(unit)]
    environment = [f"{name}={os.environ[name]}" for name in _SETTINGS if name in os.environ]
    if unit.kind == "rust":
        packages = [_version_of(shutil.which(name) or "") for name in (_CARGO, "rustc")]
    python = sys.version.partition(" ")[0]
    return ", ".join((_version_of(c_compiler()), *packages, f"Python {python}", *environment))


def _packages(unit: Unit) -> tuple[str, ...]:
    if unit.kind == "rust":
        return ()
    return ("Cython", "setuptools") if unit.is_cython else ("setuptools",)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _version_of(path: str) -> str:
    """Return the version of the program at ``path``; of no path, a constant."""
    if not path:
        return "?"
    facts = os.stat(path)  # noqa: PTH116 - only to see a change
    return _version_text(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache
def _version_text(path: str, *_facts: int) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the compiler that setuptools runs
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return path
    return (done.stdout or done.stderr).partition("\n")[0].strip() or path


def _missing(unit: Unit) -> str:
    """Return the package or the program that a build lacks; empty if it lacks nothing."""
    if unit.kind == "rust" and not shutil.which(_CARGO):
        return _CARGO
    for package in _packages(unit):
        if installed_spec(package) is None:
            return package
    return "" if c_compiler() or sys.platform == "win32" else COMPILER


def lack(plugin: str, unit: Unit, root: str) -> CompileError | None:
    """Return the error of a native module that cannot be built here; ``None`` if it can."""
    missing, file = _missing(unit), str(Path(root, unit.source))
    if not missing:
        return None
    if missing in _ADVICE:
        what = "a C compiler" if missing == COMPILER else missing
        problem = f"{unit.source} needs {what}, and there is none on the PATH: install {missing}"
        error = CompileError(plugin, problem, file=file, program=missing)
        error.add_note(f"for example: {_ADVICE[missing]}")
        return error
    what = "translated to C by Cython" if missing == "Cython" else f"built by {missing}"
    problem = f"{unit.source} is {what}, which is not installed"
    error = CompileError(plugin, problem, file=file)
    error.__cause__ = ModuleNotFoundError(problem, name=missing)
    if not c_compiler():
        error.add_note(f"it also needs a C compiler, and there is none on the PATH: install {COMPILER}")
    return error


def obstacles(source: Source, pending: Iterable[Unit]) -> Iterator[str]:
    """Yield why native modules cannot be built here, each with the command that installs what is missing."""
    for unit in pending:
        if error := lack(source.name, unit, source.root):
            missing = _missing(unit)
            yield f"{error}; {_ADVICE.get(missing) or install_advice(missing)}"


# ---- building


class NativeBuilder:
    """Builds the native modules of plugins, and keeps those of a build that failed for the next one."""

    def __init__(self) -> None:
        self._made: dict[str, NativeModule] = {}
        self._running: deque[_Process] = deque()
        self._is_cancelled = False

    def build(self, source: Source, known: Artifact | None, *, fresh: bool) -> Natives:
        """Return the native modules of a source; build those that neither ``known`` nor the source contains.

        ``known`` is the newest artifact of the plugin; ``fresh`` takes no module from it.

        Raises:
            CompileError: a module does not compile, or the compiler or a package is missing.

        """
        wanted = [unit for unit in units_of(source) if not _is_prebuilt(unit, source, known)]
        if not wanted:
            return Natives((), ())
        found: dict[str, NativeModule] = {}
        for unit in wanted:
            if not fresh and (native := self._reused(unit, known)):
                found[unit.path] = native
        pending = [unit for unit in wanted if unit.path not in found]
        for unit in pending:
            if error := lack(source.name, unit, source.root):
                raise error
        if pending:
            for native in self._built(source, pending):
                found[native.path] = self._made[native.inputs] = native
        for unit in wanted:
            self._made.pop(unit.inputs, None)
        return Natives(tuple(found[unit.path] for unit in wanted), tuple(unit.source for unit in pending))

    def pending(self, source: Source, known: Artifact | None) -> list[Unit]:
        """Return the native modules that ``build`` would build now."""
        wanted = (unit for unit in units_of(source) if not _is_prebuilt(unit, source, known))
        return [unit for unit in wanted if not self._reused(unit, known)]

    @contextlib.contextmanager
    def cancelled(self) -> Iterator[None]:
        """End the builds of other threads, which raise ``CompileError``, until the end of the block."""
        self._is_cancelled = True
        try:
            for process in list(self._running):
                process.end()
            yield
        finally:
            self._is_cancelled = False

    def _built(self, source: Source, pending: Sequence[Unit]) -> Iterator[NativeModule]:
        """Build modules in processes of their own, one for each core at a time; yield each that is built.

        Raises ``CompileError`` for the first that fails, after the others are built.
        """
        waiting, running = deque(pending), self._running
        ends_at, failed = monotonic() + _PATIENCE, None
        with tempfile.TemporaryDirectory(prefix="hotload-build-", ignore_cleanup_errors=True) as folder:
            try:
                while (waiting or running) and not self._is_cancelled:
                    while waiting and len(running) < (os.cpu_count() or 1):
                        place = Path(folder, str(len(waiting)))
                        running.append(_Process(source, waiting.popleft(), place))
                        if self._is_cancelled:  # since the condition was checked
                            running[-1].end()
                    try:
                        native = running[0].result(ends_at - monotonic())
                    except CompileError as error:
                        failed = failed or error
                    else:
                        yield native
                    running.popleft().end()
                if waiting or self._is_cancelled:
                    failed = CompileError(source.name, "the build was ended, because the host stops")
            finally:
                for process in running:
                    process.end()
                running.clear()
        if failed is not None:
            raise failed

    def _reused(self, unit: Unit, known: Artifact | None) -> NativeModule | None:
        """Return a module that the same tools have made from the same files, or ``None``."""
        tools = tools_for(unit)
        made = self._made.get(unit.inputs)
        if made is not None and made.tools == tools:
            return made
        native = None
        with contextlib.suppress(ArtifactError):  # it is damaged: build again
            native = known.native(unit.path) if known is not None else None
        is_same = native is not None and native.inputs == unit.inputs and tools in ("", native.tools)
        return native if is_same else None


def _is_prebuilt(unit: Unit, source: Source, known: Artifact | None) -> bool:
    """Return whether the plugin contains the module, built from its source as it is now.

    A module that is older than a file of its source is not; nor is one that stayed while such a file changed.
    """
    hashes = {file.path: file.sha256 for file in source.files}
    path = _prebuilt(unit, hashes)
    if not path:
        return False
    before = {member.path: member.sha256 for member in known.manifest.members} if known is not None else {}
    if known is not None and before.get(path) == hashes[path]:
        is_same = all(before.get(each) == hashes[each] for each in unit.files)
        return is_same and all(each.path != unit.path for each in known.manifest.natives)
    newest = max(_written(source.facts.get(each)) for each in unit.files)
    return _written(source.facts.get(path)) + _SAME_TIME >= newest


def _written(facts: FileFacts | None) -> int:
    return facts[3] if facts is not None else 0


class _Process:
    """The build of one module in a process of its own."""

    def __init__(self, source: Source, unit: Unit, folder: Path) -> None:
        self._source, self._unit, self._folder = source, unit, folder
        self._tools = tools_for(unit)
        files = {file.path: file for file in source.files}
        for path in unit.files:
            target = folder / "source" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_content(source.name, files[path]))
        job = Job(
            module=unit.module,
            sources=unit.sources,
            include=unit.include,
            flags=unit.flags,
            output=str(folder / "output"),
            is_cython=unit.is_cython,
            cargo=(shutil.which(_CARGO) or "") if unit.kind == "rust" else "",
            path=[str(place) for place in sys.path],
        )
        (folder / "job").write_text(json.dumps(job))
        environment = {**os.environ, "LC_ALL": "C"}
        if (compiler := c_compiler()) and "CC" not in os.environ:
            environment["CC"] = compiler
        if not PYTHON.fullmatch(os.path.basename(sys.executable or "")):  # noqa: PTH119 - only a name
            raise self._error(f"{unit.source} cannot be built: this program embeds Python; build it yourself")
        with (folder / "job").open() as given, (folder / "log").open("wb") as log:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - this interpreter
                    [sys.executable, "-P", str(_WORKER)],
                    cwd=folder / "source",
                    env=environment,
                    stdin=given,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=0,  # no session: Linux counts ``nice`` only among the processes of one
                )
            except (OSError, ValueError) as error:
                raise self._error(f"{unit.source}: no process can be started to build it: {error}") from None

    def result(self, seconds: float) -> NativeModule:
        """Wait for the end and return the module; raises ``CompileError``."""
        unit = self._unit
        try:
            code = self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            raise self._error(f"{unit.source}: the build took longer than {_PATIENCE:g} s") from None
        text = (self._folder / "log").read_text(errors="replace")
        folder = unit.source.removesuffix(_CRATE) if unit.kind == "rust" else ""
        found = (each._replace(file=f"{folder}{each.file}") for each in _messages(text))
        messages = [each for each in found if each.file in unit.files]
        output = self._folder / "output"
        if code != 0 or not output.is_file():
            raise self._failure(code, messages, text)
        said = tuple(dict.fromkeys(each.describe() for each in messages if each.level == "warning"))
        content = output.read_bytes()
        is_library = unit.kind != "extension"
        return NativeModule(unit.path, content, unit.inputs, self._tools, said, is_library)

    def end(self) -> None:
        """End the process with all that it has started."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                if sys.platform == "win32":
                    self._process.kill()
                else:
                    os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _failure(self, code: int, messages: Sequence[_Message], text: str) -> CompileError:
        """Return the error of a build, at the place that the first message names."""
        first = next((each for each in messages if each.level == "error"), None)
        if first is None:
            reason = f"ended by signal {-code}" if code < 0 else _gist(text)
            error = self._error(f"{self._unit.source} does not compile: {reason}")
            if "Python.h" in text:
                error.add_note("the headers of Python are missing: install python3-dev, or python3-devel")
            elif code >= 0:
                error.add_note("the end of the output:\n" + "\n".join(text.splitlines()[-_NOTES:]))
        else:
            error = self._error(first.place + first.text, first)
        others = dict.fromkeys(
            each.describe() for each in messages if each is not first and each.text != _ABOUT_ERRORS
        )
        for note in [*others][:_NOTES]:
            error.add_note(note)
        return error

    def _error(self, text: str, at: _Message | None = None) -> CompileError:
        root, path = self._source.root, at.file if at else self._unit.source
        if at is None:
            return CompileError(self._source.name, text, file=str(Path(root, path)))
        file = next(file for file in self._source.files if file.path == path)
        lines = decoded(_content(self._source.name, file)).split("\n")
        line = lines[at.line - 1] if 0 < at.line <= len(lines) else ""
        word = re.compile(r"\w+|.?").match(line, max(0, at.column - 1))
        columns = (word.start(), max(word.end(), word.start() + 1)) if word and at.column else (-1, -1)
        return CompileError(
            self._source.name, text, file=str(Path(root, path)), line=at.line, columns=columns
        )


# ---- the compiler's messages


class _Message(NamedTuple):
    """One message of a compiler."""

    file: str
    line: int
    column: int
    """From 1; 0 if unknown."""
    level: str
    """``error``, ``warning`` or ``note``."""
    text: str

    @property
    def place(self) -> str:
        column = f"{self.column}:" if self.column else ""
        return f"{self.file}:{self.line}:{column} "

    def describe(self) -> str:
        """Return the message as ``file:line:column: level: text``."""
        return f"{self.place}{self.level}: {self.text}"


_OF_C: Final = re.compile(
    r"([^\s:][^:]*):(\d+):(?:(\d+):)? (?:fatal )?(error|warning|note)(?:\[\w+\])?: (.+)"
)
_OF_CYTHON: Final = re.compile(r"(warning: )?([^\s:][^:]*\.p(?:yx|xd|xi)):(\d+):(\d+): (.+)")


def _messages(text: str) -> Iterator[_Message]:
    """Yield the messages in the output of a C compiler, of Cython and of cargo."""
    for line in text.splitlines():
        if match := _OF_C.fullmatch(line):
            file, number, column, level, said = match.groups()
            yield _Message(posixpath.normpath(file), int(number), int(column or 0), level, said)
        elif match := _OF_CYTHON.fullmatch(line):
            warning, file, number, column, said = match.groups()
            level = "warning" if warning else "error"
            yield _Message(posixpath.normpath(file), int(number), int(column) + 1, level, said)


def _gist(text: str) -> str:
    """Return the line of an output that names the problem; the linker's own lines come before its error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = (line for words in _PROBLEMS for line in lines if words in line)
    return next(named, lines[-1] if lines else "the compiler says nothing")


_ABOUT_ERRORS: Final = "each undeclared identifier is reported only once for each function it appears in"
_PROBLEMS: Final = ("undefined reference", "cannot find", "multiple definition", "error:", "Error:")
