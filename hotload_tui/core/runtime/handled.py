"""The objects that a function of the standard library has in hand when it looks up a module by its name.

All versions of a plugin's module have the same name, so ``sys.modules[kind.__module__]`` alone does not tell
which version is meant. Functions such as ``inspect.getsource``, ``typing.get_type_hints`` and the pickler of
``multiprocessing`` have the object itself in a variable, or a variable leads to it.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Container, Iterable, Iterator
from types import ModuleType
from typing import cast

from hotload_tui.core.interpreter import caller, stacks, traced_now, variables_of
from hotload_tui.core.module_names import unique_name
from hotload_tui.core.undo.owner import module_of

_PACKAGE = f"{__name__.partition('.')[0]}."
_WIDEST = 50  # objects to look at in one container
_DEEPEST = 2  # from a variable: the attributes and items, and theirs
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class statement created the type, not the interpreter


def handled_modules() -> Iterator[str]:
    """Yield the unique names of the modules from which the objects in the caller's hands come.

    Only the standard library's functions at the top of the stack count: code of the host that has an old
    object in a variable means the live version when it uses the stable name.
    """
    frame = caller()
    traced: Container[int] | None = None
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] in sys.stdlib_module_names:
            traced = traced_now(stacks()) if traced is None else traced
            for thing in _things_in(variables_of(frame, traced).values(), _DEEPEST):
                module = module_of(thing)
                unique = unique_name(module)
                if type(unique) is str and unique is not module:
                    yield unique
        elif not name.startswith(_PACKAGE):
            return
        frame = frame.f_back


def _things_in(values: Iterable[object], deeper: int) -> Iterator[object]:
    """Yield objects, and those in their attributes or items, without running code of a plugin."""
    for thing in itertools.islice(values, _WIDEST):
        yield thing
        kind = type(thing)
        if not deeper:
            continue
        if kind in (tuple, list):
            yield from _things_in([*cast("list[object]", thing)], deeper - 1)
        elif kind is dict:
            yield from _things_in(cast("dict[object, object]", thing).copy().values(), deeper - 1)
        elif kind.__flags__ & _HEAP_TYPE and not issubclass(kind, (type, ModuleType)):
            with contextlib.suppress(AttributeError, TypeError):  # an object with slots only
                attributes = object.__getattribute__(thing, "__dict__")
                yield from _things_in(attributes.copy().values(), deeper - 1)
