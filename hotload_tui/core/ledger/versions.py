"""Whether a namespace changed since, told by the number that CPython gives each dictionary at each change.

To copy and compare all attributes of all modules takes longer than most loads; to compare one number for each
module takes a twentieth. Up to 3.13 the number is a field of the object (PEP 509). It can only be read from
memory, so it is tried first, and where it is not what it is known to be, each namespace counts as changed.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
from typing import Protocol, TypeVar

_OFFSET = object.__basicsize__ + 8  # bytes before the field: the head of every object, the number of entries
_IS_THERE = sys.implementation.name == "cpython" and sys.version_info < (3, 14) and sys.maxsize > 1 << 32
_K = TypeVar("_K")
_CHANGES = ("added = 1", "added = 2", "global added; added = 3", "del added", "globals().update(kept=1)")

_fields: dict[int, ctypes.c_uint64] = {}  # by address, which is all that they depend on
_never_the_same = itertools.count()


class Version(Protocol):
    """What tells the version of one namespace, as long as that is kept."""

    @property
    def value(self) -> int:
        """A number that is another one after each change, and may be at other times."""
        ...


class _Unknown:
    @property
    def value(self) -> int:
        return next(_never_the_same)


def teller_of(namespace: dict[_K, object]) -> Version:
    """Return what tells the version of a namespace again and again; whoever keeps it keeps the namespace."""
    if not IS_EXACT:
        return _Unknown()
    address = id(namespace)
    field = _fields.get(address)
    if field is None:
        field = _fields[address] = ctypes.c_uint64.from_address(address + _OFFSET)
    return field


def version_of(namespace: dict[_K, object]) -> int:
    """Return a number that is another one after each change of the namespace, and may be at other times."""
    return teller_of(namespace).value


def _is_reliable() -> bool:
    """Tell whether the number notices what code does to a namespace."""
    namespace: dict[str, object] = {"kept": 0}
    seen = [version_of(namespace)]
    for change in _CHANGES:
        exec(change, namespace)  # noqa: S102 - as a module changes its own
        seen.append(version_of(namespace))
    return len(set(seen)) == len(seen) and version_of(namespace) == seen[-1]


IS_EXACT = _IS_THERE
IS_EXACT = IS_EXACT and _is_reliable()
"""Whether a namespace that is only read keeps its version."""
