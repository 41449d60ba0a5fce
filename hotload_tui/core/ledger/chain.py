"""A wrapper around another generation's: when that goes, what it wrapped takes its place."""

from __future__ import annotations

from collections.abc import Iterator
from types import CellType, FunctionType, MethodType
from typing import cast

from hotload_tui.core.ledger.owner import Owner


def relink(top: object, owner: Owner, old: object, new: object) -> None:
    """Have all of the owner's that ``top`` leads to refer to ``new`` where it refers to ``old``.

    A patch that calls what was there before keeps that in a closure, a global or an attribute. Each reload
    would put one more around it, and each of them would be called and keep its generation.
    """
    found, waiting = {id(top)}, [top]
    while waiting:
        thing = waiting.pop()
        for part in _parts(thing, old, new):
            if id(part) not in found and owner.owns(part):
                found.add(id(part))
                waiting.append(part)


def _parts(thing: object, old: object, new: object) -> Iterator[object]:
    """Yield what a thing of the owner's refers to by itself, after the exchange."""
    if type(thing) is MethodType:
        yield thing.__func__
        yield thing.__self__
        return
    if type(thing) is FunctionType:
        yield from _cells(thing.__closure__ or (), old, new)
        yield from _exchanged(thing.__globals__, old, new)
    namespace = _namespace(thing)
    if type(namespace) is dict:
        yield from _exchanged(cast("dict[str, object]", namespace), old, new)


def _cells(cells: tuple[CellType, ...], old: object, new: object) -> Iterator[object]:
    for cell in cells:
        try:
            if cell.cell_contents is old:
                cell.cell_contents = new
            yield cell.cell_contents
        except ValueError:  # an empty one
            continue


def _exchanged(namespace: dict[str, object], old: object, new: object) -> Iterator[object]:
    for name, value in namespace.copy().items():
        if value is old:
            namespace[name] = new
        yield value


def _namespace(thing: object) -> object:
    """Return the attributes of a function or an object, without running its code."""
    try:
        return object.__getattribute__(thing, "__dict__")
    except (AttributeError, TypeError):  # it has slots
        return None
