"""The objects of a plugin's own classes wherever they are in the process, and the code that keeps them.

The collector visits each object that it tracks, and names those that refer to a class: so no list of all
objects is needed. It does not know the objects of some libraries that contain only simple values, such as
``msgspec.Struct``, nor objects that the program has frozen with ``gc.freeze``.
"""

from __future__ import annotations

import enum
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence

from hotload_tui.core.holders import Reference, holds_of
from hotload_tui.core.hooks.live import LiveVersion
from hotload_tui.core.leak_path import (
    classes_of,
    is_module,
    is_within,
    known,
    namespace_of,
    of_type,
    referrers_of,
)
from hotload_tui.core.module_names import unique_name


def instances_of_others(version: LiveVersion) -> Iterator[object]:
    """Yield the objects of the classes that other versions of the plugin have made.

    Members of enumerations are left out: each version has its own. So are classes.
    """
    kinds = [
        kind
        for kind in classes_of(version.parent)
        if not version.is_own(kind) and not issubclass(kind, (enum.Enum, type))
    ]
    wanted = {*map(id, kinds)}
    for thing in referrers_of(tuple(kinds)):
        if id(type(thing)) in wanted:
            yield thing


def holders_of(things: Sequence[object], version: LiveVersion, own: set[int]) -> dict[int, str]:
    """Return where other code keeps ``things``, by identity; what only the plugin keeps is left out.

    ``things`` are objects of other versions of the plugin, or are in such objects. ``own`` are the identities
    of objects that the search has made.
    """
    found: dict[int, str] = {}
    modules = {name: each for name, each in sys.modules.copy().items() if is_within(name, version.parent)}
    own = own | {*map(id, map(namespace_of, filter(is_module, modules.values())))}
    roots = defaultdict[str, list[object]](list)
    for thing in things:
        module = str(unique_name(of_type(type(thing), "__module__")))
        roots[f"{version.parent}.{module[len(version.parent) + 1 :].partition('.')[0]}"].append(thing)
    for root, some in roots.items():
        holds, _ = holds_of(some, own | {id(things), *map(id, roots.values())}, root)
        for hold in holds:
            if _is_by_other_code(hold, root):
                found.setdefault(id(hold.target), hold.where)
    return found


def _is_by_other_code(hold: Reference, root: str) -> bool:
    """Return whether a reference is to an object of the generation, not to a function that leads to it."""
    kind = type(hold.thing)
    module = str(unique_name(of_type(kind, "__module__")))
    is_object = f"{module}.".startswith(f"{root}.") and not issubclass(kind, type)
    is_in_state = bool(hold.way) and known(hold.way[0]).endswith("ctx.state")
    return is_object and (is_in_state or hold.keeper(root) != "hotload")
