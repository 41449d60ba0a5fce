"""Imports of plugin code reach its own generation.

Each generation has a builtins dictionary of its own, whose ``__import__`` maps the short names that a
plugin's author writes (``import utils`` for a file beside ``plugin.py``, ``import greet.utils`` for the same
in ``greet``) to the generation's unique ones. Relative imports need no help: ``__package__`` is unique. The
standard library wins over files of the same name, and those win over installed packages.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from hotload_tui.core.generation.standard import Standard

if TYPE_CHECKING:
    from hotload_tui.core.generation.modules import Generation


class PrivateImport:
    """The ``__import__`` of one generation."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self._standard = Standard(generation, self)

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
            return self.generation.importing(lambda: real(name, globals, locals, fromlist or (), level))
        own = self.own_name(name)
        if own is not None:
            target, bound = own
            if fromlist:
                return self.generation.importing(lambda: real(target, globals, locals, fromlist, 0))
            return self.generation.importing(lambda: _imported(real, target, bound))
        if name.startswith(f"{self.generation.parent}."):  # pickles and the like have the unique name
            return self.generation.importing(lambda: real(name, globals, locals, fromlist or (), 0))
        module = real(name, globals, locals, fromlist or (), 0)
        return self._standard.instead_of(module, name, has_fromlist=bool(fromlist))

    def own_name(self, name: str) -> tuple[str, str] | None:
        """Return the unique name of what ``name`` means inside the plugin, and of what importing it binds.

        ``None``: it is none of the plugin's.
        """
        generation = self.generation
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
        beside = self.generation.top_names
        return head in beside and (not rest or rest.partition(".")[0] not in beside)

    def absolute(self, name: str, package: str | None = None) -> str:
        """Return the unique name for what the author wrote, or the name itself if it is not the plugin's.

        A relative name without a ``package`` stays as it is.
        """
        if name.startswith("."):
            return importlib.util.resolve_name(name, self.absolute(package)) if package else name
        own = self.own_name(name)
        return own[0] if own else name

    def import_module(self, name: str) -> ModuleType:
        """Import a module by the name that the author writes."""
        target = self.absolute(name)
        return self.generation.importing(lambda: importlib.import_module(target))


def _imported(real: Callable[[str], ModuleType], target: str, bound: str) -> ModuleType:
    real(target)  # not import_module: its frame would stand in every traceback of a plugin
    return sys.modules[bound]
