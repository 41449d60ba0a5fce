"""Imports of plugin code reach its own generation.

Each generation has a builtins dictionary of its own, whose ``__import__`` maps the short names that a
plugin's author writes (``import utils`` for a file beside ``plugin.py``, ``import greet.utils`` for the same
in ``greet``) to the generation's unique ones. Relative imports need no help: ``__package__`` is unique. The
standard library wins over files of the same name, and those win over installed packages.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Protocol


class Importing(Protocol):
    """What the private import needs to know of its generation."""

    plugin: str
    root: str
    top_names: frozenset[str]

    def importing(self, load: Callable[[], ModuleType]) -> ModuleType:
        """Run ``load`` with the generation's modules in reach."""
        ...


class PrivateImport:
    """The ``__import__`` of one generation."""

    def __init__(self, generation: Importing) -> None:
        self._generation = generation
        self._importlib = _Importlib(self)

    def __call__(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the signature of __import__
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import as the statement does."""
        real = builtins.__import__
        if level:
            return self._generation.importing(lambda: real(name, globals, locals, fromlist or (), level))
        own = self.own_name(name)
        if own is not None:
            target, bound = own
            if fromlist:
                return self._generation.importing(lambda: real(target, globals, locals, fromlist, 0))
            return self._generation.importing(lambda: _imported(real, target, bound))
        module = real(name, globals, locals, fromlist or (), 0)
        if module is importlib:
            return self._importlib
        return module

    def own_name(self, name: str) -> tuple[str, str] | None:
        """Return the unique name of what ``name`` means inside the plugin, and of what importing it binds.

        ``None``: it is none of the plugin's.
        """
        generation = self._generation
        head, _, rest = name.partition(".")
        if head in sys.stdlib_module_names:
            return None
        if head == generation.plugin and not self._is_sibling(head, rest):
            return (f"{generation.root}.{rest}" if rest else generation.root), generation.root
        if head in generation.top_names:
            return f"{generation.root}.{name}", f"{generation.root}.{head}"
        return None

    def _is_sibling(self, head: str, rest: str) -> bool:
        """Tell whether the plugin's own name means a module of that name beside ``plugin.py``."""
        beside = self._generation.top_names
        return head in beside and (not rest or rest.partition(".")[0] not in beside)

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """``importlib.import_module`` for this generation's code."""
        if name.startswith("."):
            known = self.own_name(package) if package else None
            anchor = known[0] if known else package
            return self._generation.importing(lambda: importlib.import_module(name, anchor))
        own = self.own_name(name)
        target = own[0] if own else name
        return self._generation.importing(lambda: importlib.import_module(target))


def _imported(real: Callable[[str], ModuleType], target: str, bound: str) -> ModuleType:
    real(target)  # not import_module: its frame would stand in every traceback of a plugin
    return sys.modules[bound]


class _Importlib(ModuleType):
    """Stands for ``importlib`` in a plugin, so that ``import_module`` maps short names too."""

    def __init__(self, private: PrivateImport) -> None:
        super().__init__("importlib", importlib.__doc__)
        self.import_module = private.import_module
        self.__import__ = private

    def __getattr__(self, name: str) -> object:
        return getattr(importlib, name)
