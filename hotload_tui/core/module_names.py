"""Which version of a plugin a module name belongs to, although all versions of a module have the same name.

In a plugin's module, ``__name__`` is the stable name ``hotplug.<plugin>.<module>``. So ``__module__`` of its
classes and functions is the same in each version, as libraries expect that compare it, and its loggers keep
their names. The key in ``sys.modules`` and ``__spec__.name`` are unique: they contain the version.

To tell the versions apart, each generation has string objects of its own: they are equal to those of the
other generations, but not identical to them. A class or function takes ``__module__`` from the namespace in
which it is created, and Python passes on the object itself. So its identity tells the generation, without any
work for each class, and without a change of the plugin's objects.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec
from types import FunctionType
from typing import Final, cast

_unique: dict[int, str] = {}
"""The unique names by the identity of the stable name's string object; a ``ModuleNames`` keeps the object."""


class ModuleNames:
    """The stable names of one generation's modules.

    Who must recognize the generation's objects keeps this object, because it may outlive the generation: a
    class without functions does not keep its module alive.
    """

    def __init__(self, root: str, parent: str) -> None:
        """Name the modules whose unique names begin with ``root`` so that they begin with ``parent``."""
        self._root = root
        self.parent = parent
        self._names: dict[str, str] = {}
        names = self._names
        _known[root] = weakref.ref(self, lambda _: _forget(root, names))

    def stable(self, unique: str) -> str:
        """Return the stable name of a module as a string object that only this generation has."""
        name = self._names.get(unique)
        if name is None:
            text = f"{self.parent}{unique[len(self._root) :]}"
            name = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")  # a new object
            name = self._names.setdefault(unique, name)
            _unique[id(name)] = unique
        return name

    def are_in_use(self, known: Callable[[], Iterable[int]] = tuple) -> bool:
        """Return whether something else refers to one of the names, such as a class.

        ``known`` returns the identity of a name once for each reference that does not count.
        """
        counts = [*map(sys.getrefcount, self._names.values())]
        if all(map(_UNUSED.__eq__, counts)):
            return False
        others = Counter(known())
        expected = [_UNUSED + others[key] for key in map(id, self._names.values())]
        return counts != expected


_UNUSED = next(map(sys.getrefcount, {0: object()}.values()))
"""The count of references to a value that only a dictionary holds."""
_known: dict[str, weakref.ref[ModuleNames]] = {}


def _forget(root: str, names: dict[str, str]) -> None:
    _known.pop(root, None)
    for name in names.values():
        _unique.pop(id(name), None)


def names_below(root: str) -> ModuleNames | None:
    """Return the names of the generation whose unique names begin with ``root``, or ``None``."""
    found = _known.get(root)
    return None if found is None else found()


def is_of_plugin(module: str) -> bool:
    """Return whether a module of this name, unique or stable, belongs to a plugin that is in memory."""
    found = [reference() for reference in list(_known.values())]
    return any(f"{module}.".startswith(f"{names.parent}.") for names in found if names is not None)


def installed_spec(name: str) -> ModuleSpec | None:
    """Return the spec of a module without dots in its name; ``None`` if it cannot be imported.

    Finders of plugins are not asked: their code may not end.
    """
    module = sys.modules.get(name)
    return spec_on_path(name) if module is None else module.__spec__


def spec_on_path(name: str) -> ModuleSpec | None:
    """Return the spec of a module without dots in its name as a fresh process would find it, or ``None``.

    Neither the finders of plugins are asked, nor that of hotload, which finds the live versions of plugins.
    """
    for finder in _finders():
        kind = finder if isinstance(finder, type) else type(finder)
        if str(module_of_class(kind)).partition(".")[0] == _OWN:
            continue
        find: object = getattr(finder, "find_spec", None)
        spec = find(name, None) if callable(find) else None
        if spec is not None:
            return cast("ModuleSpec", spec)
    return None


def look_again() -> None:
    """Make all finders but those of plugins look at the disk again; see ``importlib.invalidate_caches``."""
    for finder in _finders():
        forget: object = getattr(finder, "invalidate_caches", None)
        if callable(forget):
            forget()


def _finders() -> list[object]:
    """Return the finders of modules, except those of plugins: their code may not end."""
    finders: list[object] = list(sys.meta_path)
    kinds = [each if isinstance(each, type) else type(each) for each in finders]
    places = map(module_of_class, kinds)
    return [finder for finder, place in zip(finders, places, strict=True) if not is_of_plugin(str(place))]


_OWN: Final = __name__.partition(".")[0]
_read_module: Final[Callable[[type], object]] = type.__dict__["__module__"].__get__


def module_of_class(kind: type) -> object:
    """Return the ``__module__`` of a class without running code of its metaclass; ``None`` if it has none.

    A class that C code or a call of ``type`` has made may have none.
    """
    try:
        return _read_module(kind)
    except AttributeError:
        return None


def unique_name(name: object) -> object:
    """Return the unique name of the module from whose namespace ``name`` comes; otherwise ``name`` itself."""
    return _unique.get(id(name), name)


def module_of_function(function: FunctionType) -> object:
    """Return the ``__module__`` of a function; if it has none, the root of its generation.

    A function whose code a library generates, as attrs does, may have a namespace without ``__name__``; its
    builtins are those of its generation.
    """
    if function.__module__ is not None or "__name__" in function.__globals__:
        return function.__module__
    return getattr(function.__builtins__.get("__import__"), "root", None)
