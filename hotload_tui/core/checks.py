"""Checks of a plugin's source before it runs: compilation, imports, hook points, requirements, file reads."""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import itertools
import marshal
import os
import re
import subprocess
import sys
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct

from hotload_tui.core.artifact import Entry
from hotload_tui.core.errors import CompileError
from hotload_tui.core.faults import install_advice
from hotload_tui.core.layout import PluginEntry
from hotload_tui.core.model import encodable
from hotload_tui.core.module_names import installed_spec
from hotload_tui.core.source import Source, SourceFile, decoded

LARGE = 32 << 10
"""Bytes from which on compiling a file takes about as long as starting a process.

Source: ``benchmarks/NOTES.md``.
"""

PARSED: Final = 256 << 10
"""Bytes up to which the checks parse a file in this process, which stalls all its threads meanwhile."""

_PATIENCE = 60.0  # seconds
_HEAD_SIZE: Final = 64 << 10  # characters of a file in which its docstring is looked for
PYTHON: Final = re.compile(r"(python|pypy)[\d.]*(\.exe)?")
"""The file names of interpreters: in a program that embeds Python, ``sys.executable`` is that program."""

_SCRIPT = """
import importlib.util, marshal, os, sys, warnings
name, label, optimize, function = sys.argv[1:]
if hasattr(os, "nice"):
    os.nice(10)
content = sys.stdin.buffer.read()
def attempt(text, name):
    try:
        return compile(text, name, "exec", dont_inherit=True, optimize=int(optimize)), None
    except SyntaxError as e:
        place = e.filename, e.lineno, e.offset, e.text, e.end_lineno, e.end_offset
        return None, (type(e).__name__, e.msg, place)
    except (ValueError, RecursionError, MemoryError, OverflowError) as e:
        return None, (type(e).__name__, str(e), ())
def binds(code, name):
    inner = [each for each in code.co_consts if type(each) is type(code)]
    return name in code.co_names or ("*",) in code.co_consts or any(binds(each, name) for each in inner)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    code, error = attempt(content, name)
again = None
if error:
    try:
        text = importlib.util.decode_source(content)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        text = content.decode("utf-8", "replace")
    again = attempt(text, label)[1]
said = [(w.lineno, w.category.__name__, str(w.message)) for w in caught]
made = (marshal.dumps(code), binds(code, function)) if code else (b"", False)
sys.stdout.buffer.write(marshal.dumps((sys.hexversion, *made, said, error, again)))
"""


class Compiled(NamedTuple):
    """The compiler's result for one file."""

    marshalled: bytes
    may_register: bool
    """Whether running the code can bind the name of the function that registers a plugin."""
    warnings: tuple[tuple[int, str, str], ...]
    """Line, category and text of each warning."""


def compiled_outside(file: SourceFile, file_name: str, function: str) -> Compiled | Exception | None:
    """Compile a file in a separate process, which gives way to others; return the error if it fails.

    Return ``None`` if no process can do it; the caller then compiles the file in this process.
    """
    # In a program that embeds Python, ``sys.executable`` is that program, which must not be started again.
    if not PYTHON.fullmatch(os.path.basename(sys.executable or "")):  # noqa: PTH119 - only a name
        return None
    arguments = [file_name, f"<{file.path}>", str(sys.flags.optimize), function]
    command = [sys.executable, "-I", "-S", "-c", _SCRIPT, *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter
            command, input=file.content, capture_output=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return TimeoutError(f"compiling it takes longer than {_PATIENCE:g} s; move its data to a data file")
    except (OSError, ValueError):
        return None
    if done.returncode < 0:
        return ChildProcessError(f"the process that compiled it was ended by signal {-done.returncode}")
    return _result_of(done.stdout, file, file_name)


def _result_of(output: bytes, file: SourceFile, file_name: str) -> Compiled | Exception | None:
    with contextlib.suppress(ValueError, EOFError, TypeError):
        version, marshalled, may_register, said, error, again = marshal.loads(output)  # noqa: S302 - from the process just started
        if version == sys.hexversion:
            made = Compiled(marshalled, may_register, tuple(said))
            return made if error is None else _raised_outside(error, again, file, file_name)
    return None


_Raised: TypeAlias = tuple[str, str, tuple[object, ...]]
"""The name, text and place of an error that another process has raised."""


def _raised_outside(error: _Raised, again: _Raised | None, file: SourceFile, file_name: str) -> Exception:
    """Return an error that another process has raised; ``again``: for the text without a file's name."""
    made, second = _made_error(error), _made_error(again) if again is not None else None
    if not isinstance(made, SyntaxError):
        return made
    return _corrected(made, second if isinstance(second, SyntaxError) else made, file, file_name)


def _made_error(raised: _Raised) -> Exception:
    name, text, place = raised
    kind: type[Exception] = getattr(builtins, name)
    return kind(text, place) if place else kind(text)


_READS: Final = frozenset({"open", "read_text", "read_bytes"})
_PLACE: Final = "__file__"
_ADVICE: Final = (
    "reads the disk as it is at that moment, also in a version that is older; importlib.resources reads the"
    " file as this version has it"
)


def live_reads(file: SourceFile) -> Iterator[str]:
    """Yield a warning, as ``file:line: text``, for each call that reads a path made from ``__file__``.

    Such calls are ``open``, ``read_text`` and ``read_bytes``.
    """
    if _PLACE.encode() not in file.content or len(file.content) > PARSED:
        return
    tree = _parsed(decoded(file.content))
    places = _made_from_place(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name_of(node.func) in _READS and _names(node) & places:
            yield f"{file.path}:{node.lineno}: {_name_of(node.func)}() of a path made from {_PLACE} {_ADVICE}"


def _parsed(text: str | bytes) -> ast.Module:
    """Parse without warnings, because the compiler reports them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def _made_from_place(tree: ast.Module) -> set[str]:
    """Return ``__file__`` and all names that are assigned a value made from it."""
    made = {_PLACE}
    assignments = sorted(
        (node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AnnAssign) and node.value),
        key=lambda node: node.lineno,
    )
    for node in assignments:
        if _names(node.value) & made:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                made |= _names(target)
    return made


def _names(node: ast.AST | None) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} if node else set()


def _name_of(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


_LARGEST = 4 << 20  # bytes of a Python file; compiling a larger one stalls the whole process for seconds
_HEAD = r"(?:[ \t]*(?:#[^\n\r\f\0]*)?\n)*"  # empty lines and comments
# A file that begins with a decorator, or with a word and a space, has no docstring.
_NO_TEXT = re.compile(_HEAD + r"(?:@|[A-Za-z_]\w*[ \t])")
_PLAIN_TEXT = re.compile(_HEAD + r'"""([^"\\\t\r\f\0]*)"""[ \t]*(?:#[^\n\r\f\0]*)?(?:\n|\Z)')
_MARK = re.compile(rb"hookimpl|\bfixture\b|\bdef pytest_", re.IGNORECASE)
_STAR = ("*",)  # the constant that `from x import *` leaves in compiled code


def is_module(path: str) -> bool:
    """Return whether ``import`` can name a plugin's file: a ``.py`` file with a path of identifiers."""
    stem, dot, suffix = path.rpartition(".")
    return bool(dot) and suffix == "py" and all(part.isidentifier() for part in stem.split("/"))


def compiled(source: Source, file: SourceFile) -> Entry:
    """Compile a file and return it with its code and its warnings; raises ``CompileError``."""
    file_name = str(Path(source.root, file.path))
    entry = source.entry
    problem, line = _unfit(file, entry)
    if problem:
        raise CompileError(source.name, f"{file.path} {problem}", file=file_name, line=line)
    found = compiled_outside(file, file_name, entry.function) if len(file.content) >= LARGE else None
    if isinstance(found, Exception):
        raise CompileError(source.name, f"{file.path} does not compile", file=file_name) from found
    found = found or _compiled_here(source, file, file_name)
    if file.path == entry.file and entry.function and not found.may_register and not _may_mark(source, file):
        message = f"{entry.file} defines no {entry.function}; add: {entry.example}"
        raise CompileError(source.name, message, file=file_name, line=1)
    said = [f"{file.path}:{line}: {category}: {text}" for line, category, text in found.warnings]
    said += [] if entry.is_alone else _shadowing(file.path)
    said += live_reads(file)
    return Entry(file.path, file.content, file.sha256, found.marshalled, tuple(said))


def _may_mark(source: Source, file: SourceFile) -> bool:
    """Return whether an entry without ``register`` may define functions that are marked for pluggy.

    A package may import them from any of its modules.
    """
    return source.name in source.entry.packages or bool(_MARK.search(file.content))


def _unfit(file: SourceFile, entry: PluginEntry) -> tuple[str, int]:
    """Return why a Python file cannot be compiled at all, and the line; an empty text if it can."""
    if len(file.content) > _LARGEST:
        size = f"has {len(file.content):,} bytes"
        return f"{size}; Python files over {_LARGEST:,} are not compiled: move its data to a data file", 0
    if file.path == entry.file and (entry.function or entry.is_alone) and not file.content.strip():
        # A file is empty for a moment while an editor saves it, and an empty file compiles.
        return f"is empty; {f'define {entry.function}(ctx)' if entry.function else 'write code'} in it", 1
    if b"\0" in file.content:
        line = file.content.partition(b"\0")[0].count(b"\n") + 1
        return f"has a NUL byte in line {line}; save it as UTF-8 text", line
    return "", 0


def _compiled_here(source: Source, file: SourceFile, file_name: str) -> Compiled:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code = _code(source.name, file, file_name)
    said = tuple((w.lineno, w.category.__name__, str(w.message)) for w in caught)
    return Compiled(marshal.dumps(code), _may_bind(code, source.entry.function), said)


def _code(plugin: str, file: SourceFile, file_name: str) -> CodeType:
    try:
        return compile(file.content, file_name, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise CompileError(plugin, f"{file.path} does not compile", file=file_name) from _placed(
            error, file, file_name
        )
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise CompileError(plugin, f"{file.path} does not compile", file=file_name) from error


def _placed(error: SyntaxError, file: SourceFile, file_name: str) -> SyntaxError:
    """Return the error with its columns counted in characters of the line that was compiled.

    The interpreter reads the line from the disk, where it may have changed since, and counts bytes if it
    finds no line. So the text is compiled again under a name that no file has.
    """
    try:
        compile(decoded(file.content), f"<{file.path}>", "exec", dont_inherit=True)
    except SyntaxError as again:
        return _corrected(error, again, file, file_name)
    return _corrected(error, error, file, file_name)


def _corrected(error: SyntaxError, again: SyntaxError, file: SourceFile, file_name: str) -> SyntaxError:
    if again.msg == error.msg:
        error = again
    line = error.lineno = max(1, error.lineno or 1)  # the compiler reports a wrong coding cookie in line 0
    error.filename = file_name
    if error.text is None:  # an error found after parsing: its columns are bytes
        text = io.StringIO(decoded(file.content)).readlines()[line - 1 : line]
        raw = "".join(text).encode()
        for name in ("offset", "end_offset"):
            column = getattr(error, name)
            if column:
                setattr(error, name, len(raw[: max(0, column - 1)].decode(errors="replace")) + 1)
    return error.with_traceback(None)


def _may_bind(code: CodeType, name: str) -> bool:
    """Return whether running ``code`` can bind ``name`` by a definition, assignment, import or ``*``.

    Also true for code that only reads the name; that mistake is found after the code has run.
    """
    return (
        name in code.co_names
        or _STAR in code.co_consts
        or any(_may_bind(inner, name) for inner in code.co_consts if isinstance(inner, CodeType))
    )


def _shadowing(path: str) -> Iterator[str]:
    name = path.removesuffix(".py").removesuffix("/__init__")
    if name in sys.stdlib_module_names:
        yield f"{path}: `import {name}` is the standard library's; `from . import {name}` is this one"


def description_of(content: bytes) -> str:
    """Return the first line of a file's docstring, or an empty text; the file need not compile."""
    text = decoded(content)[:_HEAD_SIZE]
    if _NO_TEXT.match(text):  # parsing takes 0.4 of the time of compiling a small file
        return ""
    plain = _PLAIN_TEXT.match(text)
    docstring = plain[1] if plain else _parsed_docstring(text)
    return encodable(next(iter(docstring.strip().splitlines()), ""))


def _parsed_docstring(text: str) -> str:
    try:
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        end = next(token.end[0] for token in tokens if token.type == tokenize.NEWLINE)
        # Only the first statement is parsed: an error further down does not hide the docstring.
        first = "".join(itertools.islice(io.StringIO(text), end))
        return ast.get_docstring(_parsed(first)) or ""
    except Exception:  # foreign code: a docstring that cannot be parsed gives no description
        return ""


NAME = "REQUIRES"


def requires_of(plugin: str, content: bytes, file_name: str) -> tuple[str, ...]:
    """Return the plugins that ``REQUIRES`` in ``plugin.py`` names; the source must compile.

    Raises ``CompileError`` if the value is not a literal list or tuple of names.
    """
    if NAME.encode() not in content:
        return ()
    found: tuple[str, ...] = ()
    for line, value in _assigned(content, NAME):
        names = _listed_names(value)
        if names is None:
            problem = f'{NAME} is read without running the module: write a list of names, {NAME} = ["other"]'
            raise CompileError(plugin, problem, file=file_name, line=line)
        found = names
    return found


RELOAD: Final = "RELOAD"
_MODES: Final = ("swap", "replace")


def reload_of(plugin: str, content: bytes, file_name: str) -> str:
    """Return the value of ``RELOAD`` in ``plugin.py``; empty if there is none. The source must compile.

    Raises ``CompileError`` if the value is not one of the literals ``"swap"`` and ``"replace"``.
    """
    if RELOAD.encode() not in content:
        return ""
    found = ""
    for line, value in _assigned(content, RELOAD):
        if not isinstance(value, ast.Constant) or value.value not in _MODES:
            problem = f'{RELOAD} is read without running the module: write {RELOAD} = "replace" or "swap"'
            raise CompileError(plugin, problem, file=file_name, line=line)
        found = str(value.value)
    return found


_VERSION: Final = "STATE_VERSION"


def state_obstacle(content: bytes, kept: int | None) -> str:
    """Return why ``plugin.py`` cannot take over the state of version ``kept``; empty if it may be able to.

    ``kept`` is ``None`` if there is no state. The source must compile.
    """
    if kept is None or len(content) > PARSED:
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = compile(content, "<entry>", "exec", dont_inherit=True)
    if _may_bind(code, "migrate_state"):
        return ""
    versions: list[object] = [] if _may_bind(code, _VERSION) else [0]
    for _, value in _assigned(content, _VERSION):
        versions.append(value.value if isinstance(value, ast.Constant) else None)
    if len(versions) != 1 or type(versions[0]) is not int or versions[0] == kept:
        return ""  # the same version, or only running the module would show it
    change = f"the state of version {kept} to {_VERSION} {versions[0]}"
    return f"nothing brings {change}; add: def migrate_state(state, from_version) -> None: ..."


def _assigned(content: bytes, name: str) -> Iterator[tuple[int, ast.expr | None]]:
    """Yield the line and value of each top-level assignment to ``name``; no value for ``name += ...``."""
    for statement in _statements(content, name):
        match statement:
            case ast.Assign(targets, value) if any(_is_name(target, name) for target in targets):
                yield statement.lineno, value
            case ast.AnnAssign(target, _, value) if value is not None and _is_name(target, name):
                yield statement.lineno, value
            case ast.AugAssign(target) if _is_name(target, name):
                yield statement.lineno, None
            case _:
                pass


def _statements(content: bytes, name: str) -> Iterator[ast.stmt]:
    """Yield the top-level statements; of a large file only those that begin with ``name``."""
    if len(content) <= PARSED:
        yield from _parsed(content).body
        return
    # A statement goes on in the lines that are empty, indented or begin with a bracket or a comment.
    for match in re.finditer(rf"^{name}\b.*(?:\n(?:[ \t)\]}}#].*|(?=\n)))*", decoded(content), re.MULTILINE):
        with contextlib.suppress(SyntaxError):  # a line in the middle of a text
            found = _parsed(match[0]).body
            ast.increment_lineno(found[0], decoded(content)[: match.start()].count("\n"))
            yield from found


def _is_name(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Name) and target.id == name


def _listed_names(value: ast.expr | None) -> tuple[str, ...] | None:
    if not isinstance(value, ast.List | ast.Tuple):
        return None
    names = [element.value for element in value.elts if isinstance(element, ast.Constant)]
    words = [name for name in names if isinstance(name, str) and name]
    return tuple(dict.fromkeys(words)) if len(words) == len(value.elts) else None


_METHOD = "hook"


class NamedPoints(Struct, frozen=True):
    """The hook points that the calls of ``ctx.hook`` in a source name."""

    points: frozenset[str]
    is_all: bool
    """Whether the source shows the hook point of each call."""


def named_points(files: Mapping[str, bytes], default: str | None) -> NamedPoints:
    """Return the hook points that the files name; ``default`` is the configured hook point."""
    points: set[str | None] = set()
    for path, content in files.items():
        if not is_module(path) or _METHOD.encode() not in content:
            continue
        if len(content) > PARSED:
            points.add(None)
            continue
        try:
            tree = _parsed(content)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            points.add(None)
            continue
        points.update(_points(tree, default))
    return NamedPoints(frozenset(point for point in points if point is not None), None not in points)


def _points(tree: ast.AST, default: str | None) -> Iterator[str | None]:
    """Yield the hook point of each call; ``None`` if it is known only when the code runs."""
    nodes = list(ast.walk(tree))
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in nodes:
        match node:
            case ast.Call(ast.Attribute(attr="hook"), [ast.Constant(str(point)), *_]):
                yield point
            case ast.Call(ast.Attribute(attr="hook"), [ast.Lambda()]):
                yield default
            case ast.Call(ast.Attribute(attr="hook"), [ast.Name(name)]) if name in functions:
                yield default
            case ast.Call(ast.Attribute(attr="hook"), _):
                yield None
            case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
                # A decorator without parentheses; with parentheses it is a call.
                yield from (
                    default for each in decorators if isinstance(each, ast.Attribute) and each.attr == _METHOD
                )
            case _:
                pass


_LINE = re.compile(r"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import\b|import[ \t]+([^#;\n]+))", re.MULTILINE)
_MOST = 4096  # plugins whose imported names are cached
_CAUGHT = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_Import = ast.Import | ast.ImportFrom


class UnresolvedImport(Struct, frozen=True):
    """An import that would raise ``ModuleNotFoundError`` if it ran now."""

    file: str
    """Relative to the plugin's directory."""
    line: int
    module: str
    """The module as it is written in the source, with leading dots."""

    def describe(self) -> str:
        """Return the problem as ``file:line: text``."""
        return f"{self.file}:{self.line}: no module named {self.module} is installed or in this plugin"

    def obstacle(self) -> str:
        """Return the problem with the command that installs the module."""
        head = self.module.partition(".")[0]
        return f"{self.describe()}; {install_advice(head)}" if head else self.describe()


def unresolved_imports(
    source: Source, module_path: str, natives: Iterable[str] = ()
) -> tuple[UnresolvedImport, ...]:
    """Return the imported modules that are neither in the plugin nor installed, in order of file and line.

    ``natives`` are the names of the modules that the build makes. The modules below ``module_path`` are
    plugins, which may load later.
    Imports that may be meant to fail are left out: an import under ``if``, an import in a ``try`` that
    catches the failure, and all imports of a plugin that mentions ``sys.path``.
    """
    files = [file for file in source.files if is_module(file.path)]
    if any(b"sys.path" in file.content for file in files):
        return ()
    own = _Own(source, module_path, *source.entry.packages)
    own.add(natives)
    words = _words_of(source.root, files)
    return tuple(found for file in files for found in _of_file(file, own, words[file.sha256]))


def foreign_packages(source: Source) -> frozenset[str]:
    """Return the top-level packages that a plugin imports from outside itself and the standard library."""
    own = _Own(source)
    words = {
        (word.partition(".")[0], file.path)
        for file in source.files
        if is_module(file.path)
        for word in _words(decoded(file.content))
    }
    return frozenset(
        head
        for head, path in words
        if head and head not in sys.stdlib_module_names and not own.answers(path, head)
    )


def is_installed(name: str) -> bool:
    """Return whether a module with this name (without dots) exists; its code is not run."""
    if name in sys.modules or name in sys.stdlib_module_names:
        return True
    try:
        return installed_spec(name) is not None
    except Exception:  # foreign code: a third-party finder raised, so the module may exist
        return True


class _Own:
    """The modules that the plugin's own files provide."""

    def __init__(self, source: Source, *others: str) -> None:
        """Let the plugin provide the packages ``others``, too."""
        self._paths = {file.path for file in source.files}
        self._folders = {
            path[:index] for path in self._paths for index, char in enumerate(path) if char == "/"
        }
        self._stems = {path.partition(".")[0] for path in self._paths}
        self._heads = (source.name, *others)

    def add(self, modules: Iterable[str]) -> None:
        """Let the plugin provide modules that have no file of their name."""
        self._stems.update(module.replace(".", "/") for module in modules)

    def answers(self, importer: str, module: str) -> bool:
        """Return whether the plugin provides ``module``, as it is written in the file ``importer``."""
        bare = module.lstrip(".")
        dots = len(module) - len(bare)
        if not dots:
            head = bare.partition(".")[0]
            return head in self._heads or self._has([head])
        folder = importer.split("/")[:-1]
        if dots - 1 > len(folder):
            return False
        return not bare or self._has([*folder[: len(folder) - dots + 1], *bare.split(".")])

    def _has(self, parts: list[str]) -> bool:
        """Return whether the plugin has such a module; any name below a plain ``.py`` file counts."""
        places = ["/".join(parts[: index + 1]) for index in range(len(parts))]
        return any(f"{place}.py" in self._paths for place in places) or (
            places[-1] in self._folders or places[-1] in self._stems
        )


def _of_file(file: SourceFile, own: _Own, words: Iterable[str]) -> Iterator[UnresolvedImport]:
    # Finding the names takes a hundredth of the time of parsing, and in nearly every file all of them exist.
    if len(file.content) > PARSED or all(_is_there(module, file.path, own) for module in words):
        return
    try:
        tree = _parsed(decoded(file.content))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # the compiler reports the error
    for node in _certain(tree.body):
        for module in _modules(node):
            if not _is_there(module, file.path, own):
                yield UnresolvedImport(file.path, node.lineno, module)


_known: dict[str, dict[str, tuple[str, ...]]] = {}
"""Imported names by plugin directory and file's SHA-256: most files of a changed plugin are unchanged."""


def _words_of(root: str, files: Iterable[SourceFile]) -> dict[str, tuple[str, ...]]:
    """Return the imported names of each file, by the file's SHA-256."""
    before = _known.get(root, {})
    if len(_known) >= _MOST:
        _known.clear()
    now = _known[root] = {
        file.sha256: before.get(file.sha256) or tuple(map(sys.intern, _words(decoded(file.content))))
        for file in files
    }
    return now


def _words(text: str) -> Iterator[str]:
    for match in _LINE.finditer(text):
        if match[1]:
            yield match[1]
        else:
            yield from (part.split()[0] for part in match[2].split(",") if part.strip())


def _modules(node: _Import) -> Iterable[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return ["." * node.level + (node.module or "")]


def _is_there(module: str, importer: str, own: _Own) -> bool:
    if own.answers(importer, module):
        return True
    head = module.partition(".")[0]
    # Only the first part of the name is checked: to find a submodule, the package's code would have to run.
    return bool(head) and is_installed(head)


def _certain(body: Iterable[ast.AST]) -> Iterator[_Import]:
    """Yield the imports that run whenever the code around them runs."""
    for node in body:
        if isinstance(node, _Import):
            yield node
        elif not _is_guard(node):
            yield from _certain(ast.iter_child_nodes(node))


def _is_guard(node: ast.AST) -> bool:
    if isinstance(node, ast.Try | ast.TryStar):
        return any(handler.type is None or _names(handler.type) & _CAUGHT for handler in node.handlers)
    if isinstance(node, ast.With):
        return any(_names(item.context_expr) & _CAUGHT for item in node.items)
    return isinstance(node, ast.If | ast.Match | ast.expr)
