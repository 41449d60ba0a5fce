"""Imports of a plugin that nothing here would answer: said before it is loaded; nothing is executed."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import warnings
from collections.abc import Iterable, Iterator

from msgspec import Struct

from hotload_tui.core.compiler.code import is_module
from hotload_tui.core.faults import install_command
from hotload_tui.core.source import Source, SourceFile, decoded

_LINE = re.compile(r"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import\b|import[ \t]+([^#;\n]+))", re.MULTILINE)
_MOST = 4096  # plugins whose words are kept
_CAUGHT = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_Import = ast.Import | ast.ImportFrom


class UnresolvedImport(Struct, frozen=True):
    """An import that would raise ``ModuleNotFoundError`` if it ran now."""

    file: str
    """Relative to the plugin's directory."""
    line: int
    module: str
    """As it is written, with leading dots."""

    def describe(self) -> str:
        """Say it as ``file:line: text``."""
        return f"{self.file}:{self.line}: no module named {self.module} is installed or in this plugin"

    def obstacle(self) -> str:
        """Say also what installs it."""
        head = self.module.partition(".")[0]
        return f"{self.describe()}; install it first: {install_command(head)}" if head else self.describe()


def unresolved_imports(source: Source) -> tuple[UnresolvedImport, ...]:
    """Return what the plugin imports and is neither its own nor installed, in order of file and line.

    Left out is what may be meant to fail: an import under ``if``, in a ``try`` that catches its failing, and
    everything of a plugin that changes ``sys.path``.
    """
    files = [file for file in source.files if is_module(file.path)]
    if any(b"sys.path" in file.content for file in files):
        return ()
    own = _Own(source)
    words = _words_of(source.root, files)
    return tuple(found for file in files for found in _of_file(file, own, words[file.sha256]))


def foreign_packages(source: Source) -> frozenset[str]:
    """Return the first names of what a plugin imports and is neither its own nor the standard library's."""
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
    """Tell whether there is a module of this name, without dots; none of its code is run."""
    if name in sys.modules or name in sys.stdlib_module_names:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except Exception:  # foreign code: a finder of somebody else's; nothing is known then
        return True


class _Own:
    """What the plugin's own files answer."""

    def __init__(self, source: Source) -> None:
        self._paths = {file.path for file in source.files}
        self._folders = {
            path[:index] for path in self._paths for index, char in enumerate(path) if char == "/"
        }
        self._stems = {path.partition(".")[0] for path in self._paths}
        self._plugin = source.name

    def answers(self, importer: str, module: str) -> bool:
        """Tell whether ``module``, as it is written in the file ``importer``, is there."""
        bare = module.lstrip(".")
        dots = len(module) - len(bare)
        if not dots:
            head = bare.partition(".")[0]
            return head == self._plugin or self._has([head])
        folder = importer.split("/")[:-1]
        if dots - 1 > len(folder):
            return False
        return not bare or self._has([*folder[: len(folder) - dots + 1], *bare.split(".")])

    def _has(self, parts: list[str]) -> bool:
        """Tell whether there is such a module; below a plain file there may be anything."""
        places = ["/".join(parts[: index + 1]) for index in range(len(parts))]
        return any(f"{place}.py" in self._paths for place in places) or (
            places[-1] in self._folders or places[-1] in self._stems
        )


def _of_file(file: SourceFile, own: _Own, words: Iterable[str]) -> Iterator[UnresolvedImport]:
    # Reading the words costs a hundredth of parsing, and in nearly every file all of them are there.
    if all(_is_there(module, file.path, own) for module in words):
        return
    text = decoded(file.content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # compiling it says what is wrong
    for node in _certain(tree.body):
        for module in _modules(node):
            if not _is_there(module, file.path, own):
                yield UnresolvedImport(file.path, node.lineno, module)


_known: dict[str, dict[str, tuple[str, ...]]] = {}
"""By plugin's directory, what its files import, by their SHA-256: most files of one that changed did not."""


def _words_of(root: str, files: Iterable[SourceFile]) -> dict[str, tuple[str, ...]]:
    """Return what files import, by their SHA-256."""
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
    # The head only: to find what is below it, its code would have to run.
    return bool(head) and is_installed(head)


def _certain(body: Iterable[ast.AST]) -> Iterator[_Import]:
    """Walk the imports that run whenever what they stand in runs."""
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


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
