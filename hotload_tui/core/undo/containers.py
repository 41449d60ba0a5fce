"""References to a generation in lists, dictionaries, sets and attributes of other code: named, or removed."""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Final, NamedTuple, cast

from hotload_tui.core.holders import Reference
from hotload_tui.core.leak_path import CACHE, attribute_of, is_module, is_within, namespace_of, of_type
from hotload_tui.core.module_names import unique_name
from hotload_tui.core.undo.claims import PARENTS
from hotload_tui.core.undo.owner import Owner, Script, name_of

_CONTAINERS = (dict, list, set, deque)
_REGISTERS = (*_CONTAINERS, tuple, frozenset)
_GENERAL = ("builtins", "collections")
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, functools.partial)
_PLAIN = (str, bytes, int, float, bool, type(None))
EMPTIED: Final = "now None"
"""How an attribute stands whose value from before the plugin is not known."""
LOST: Final = "the live version's is lost until its next load"
"""How an entry stands that replaced a function of the live version which cannot be found again."""


IN_USE: Final = "other code may rely on it; release it in on_unload"
"""Why an object that a load created stays where it is registered."""


class StayingVersion(NamedTuple):
    """The version that stays live after a failed load, which may have replaced its entries."""

    root: str
    """The start of the unique names of its modules."""
    script: Script

    def counterpart(self, thing: object, failed: Removal, key: object) -> object:
        """Return this version's function or class in place of ``thing`` at ``key``; ``None`` if unknown."""
        cached = type(thing) is CACHE
        thing = vars(thing).get("__wrapped__") if cached else thing
        is_class = issubclass(type(thing), type)
        if not (type(thing) is FunctionType or is_class):
            return None
        kind, function = cast("type", thing), cast("FunctionType", thing)
        module = str(unique_name(of_type(kind, "__module__") if is_class else function.__module__))
        name = str(of_type(kind, "__qualname__") if is_class else function.__qualname__)
        if not self.has_entry(failed, key, name):
            return None
        home = sys.modules.get(f"{self.root}{module.removeprefix(failed.root)}")
        if not is_class and not cached and failed.is_one_of_many(function):
            return self._one_of_many(home, failed.script, function)
        found: object = home
        for part in name.split("."):
            found = _member(found, part)
        return found if not cached or type(found) is CACHE else None

    def has_entry(self, failed: Removal, key: object, name: str) -> bool:
        """Return whether this version has an entry at ``key``, where the failed one put the thing ``name``.

        It has none if its code mentions neither the key nor all that the failed code has on one line with the
        name: then the entry is new in the failed version.
        """
        beside = failed.script.names_beside(name)
        is_known = self.script.mentions(key if type(key) is str else name_of(key)) is not None
        return is_known or bool(beside and all(self.script.mentions(word) for word in beside))

    def _one_of_many(self, home: object, failed: Script, function: FunctionType) -> object:
        """Return this version's function of several with one name, as ``def _(…)``: by its code or place.

        The module has at most the last of them, and a registry may have had the only reference.
        """
        code = function.__code__
        all_failed, all_own = failed.definitions(code), self.script.definitions(code)
        found = next((each for each in all_own if _is_same(each, code)), None)
        if found is None and len(all_own) == len(all_failed) and code in all_failed:
            found = all_own[all_failed.index(code)]
            if found.co_argcount != code.co_argcount or any(_is_same(found, each) for each in all_failed):
                return None
        if found is None or found.co_freevars or not is_module(home):
            return None
        if function.__defaults__ or function.__kwdefaults__:
            return None  # those of this version are not known
        return FunctionType(found, namespace_of(home))


def _is_same(code: CodeType, other: CodeType) -> bool:
    return code.replace(co_firstlineno=other.co_firstlineno) == other


def _member(thing: object, name: str) -> object:
    if is_module(thing):
        return namespace_of(thing).get(name)
    return cast("type", thing).__dict__.get(name) if issubclass(type(thing), type) else None


class Removal:
    """Removes references to the generation ``root`` from the containers of other code."""

    def __init__(
        self,
        root: str,
        script: Script,
        live: StayingVersion | None = None,
        records: Mapping[int, frozenset[int]] | None = None,
    ) -> None:
        """``script`` is the generation's code; a failed load may have replaced entries of ``live``.

        ``records`` are the dictionaries and lists that libraries made for an entry during the load.
        """
        self.root = root
        self.script = script
        self._live = live
        self._records = records or {}

    def is_one_of_many(self, function: FunctionType) -> bool:
        """Return whether several functions of the generation have the name of this one."""
        return len(self.script.definitions(function.__code__)) > 1

    def remove(self, hold: Reference) -> str:
        """Remove one reference, and return how the entry stands now; empty if it is gone.

        Raises:
            LookupError: the reference cannot be removed; the text says why.

        """
        if not hold.way:
            raise LookupError("a local variable of running code")
        keeper = hold.keeper(self.root)
        if keeper:
            raise LookupError(f"the holder belongs to {keeper}")
        holder, thing = hold.way[-1], hold.thing
        if type(holder) is CACHE:
            holder.cache_clear()
            return ""
        record = self._record_of(hold)
        if record is not None:
            return self._restored(hold, *record) or self._take_out(*record)
        place = _attribute(hold)
        if place is not None:
            return self._reset(hold, *place)
        if issubclass(type(holder), _CONTAINERS):
            return self._take_out(*(self._written_record(hold) or (holder, thing)))
        if type(holder) in (tuple, frozenset) and _put_instead(hold):
            return ""
        raise LookupError(f"a {name_of(holder)} cannot be changed")  # a tuple, a closure, C code

    def is_in_use(self, hold: Reference) -> bool:
        """Return whether a reference shows that other code relies on an object which a load created.

        Code that only keeps a register has the object in a dictionary, list or set.
        """
        if self.is_beside_the_point(hold):
            return False
        holder, keeper = hold.way[-1], hold.keeper(self.root)
        if keeper or type(holder) in (FunctionType, CellType):
            return keeper in ("", "a plugin")
        return type(holder) is not CACHE and (_is_attribute(hold) or not issubclass(type(holder), _REGISTERS))

    def is_beside_the_point(self, hold: Reference) -> bool:
        """Return whether a reference to an object that a load created is none of its registrations.

        Running code refers to it for a moment, perhaps in a copy of a register; but a register in an object
        of a local variable, such as the application in ``main``, is one like others, and so is one of a
        class of the program. The standard library and this package keep own registers.
        """
        is_local = hold.where.startswith("local '") and all(
            issubclass(type(each), _REGISTERS) and of_type(type(each), "__module__") in _GENERAL
            for each in hold.way
        )
        if hold.is_activity or not hold.way or is_local:
            return True
        return hold._replace(way=hold.way[:1]).keeper(self.root) not in ("", "a plugin")

    def _record_of(self, hold: Reference) -> tuple[object, object] | None:
        """Return the container and its entry, a tuple, dictionary or list made for the plugin's object.

        Without the entry the name would still be taken, by an entry that does not work.
        """
        way, entry = [*hold.way], hold.thing
        while len(way) > 1 and (_is_key(way) or self._is_record(way[-1], entry)):
            entry = way.pop()
        if entry is hold.thing or not issubclass(type(way[-1]), _CONTAINERS):
            return None
        if type(entry) is dict and type(way[-1]) not in PARENTS:  # perhaps an older one
            return None
        is_attribute = len(way) > 1 and _is_namespace(way[-1], way[-2])
        return None if is_attribute or (len(way) == 1 and hold.is_in_module) else (way[-1], entry)

    def _restored(self, hold: Reference, holder: object, entry: object) -> str:
        """Put the live version's object into a tuple that a failed load has put in the place of another."""
        if self._live is None or type(holder) is not dict or type(entry) is not tuple:
            return ""
        table = cast("dict[object, object]", holder)
        for key in [key for key, value in table.copy().items() if value is entry]:
            other = self._counterpart(hold.thing, key, ())
            if other is not None and entry is hold.way[-1]:
                table[key] = tuple(other if item is hold.thing else item for item in entry)
                return "the live version's again"
        return ""

    def _is_record(self, holder: object, part: object) -> bool:
        """Return whether a container exists only for an object in it."""
        if issubclass(type(holder), tuple):
            items = tuple.__iter__(cast("tuple[object, ...]", holder))
            return all(item is part or not _is_alike(item, part) for item in items)
        made = self._records.get(id(holder))
        if made is None or id(part) not in made:
            return False
        table = cast("dict[object, object]", holder)
        return made.issuperset(map(id, [*table, *table.values()] if type(holder) is dict else table))

    def _take_out(self, holder: object, thing: object) -> str:
        """Remove ``thing``; see what is there with the built-in methods, but remove with the class's own.

        Raises:
            LookupError: it is still there.

        """
        said = ""
        if issubclass(type(holder), dict):
            table = cast("dict[Hashable, object]", holder)
            said = self._take_from(table, thing)
            left = [part for entry in dict.items(table) for part in entry]
        elif issubclass(type(holder), set):
            members = cast("set[object]", holder)
            members.discard(thing)
            left = [*set.__iter__(members)]
        else:
            items = cast("list[object]", holder)  # or a deque
            kind = list if issubclass(type(holder), list) else deque
            for index, item in reversed([*enumerate(kind.__iter__(items))]):
                if item is thing:
                    del items[index]
            left = [*kind.__iter__(items)]
        if any(part is thing for part in left):
            raise LookupError("its class keeps the entry")
        return said

    def _written_record(self, hold: Reference) -> tuple[object, object] | None:
        """Return the container and its entry, such as ``{"path": "/x", "view": function}``, of the plugin.

        Nothing else refers to the entry, and the plugin's code mentions all that is in it. ``None`` if it
        may be another's, such as a list that has no other items.
        """
        *above, entry = hold.way
        if not above or type(entry) not in (dict, list) or id(entry) in hold.shared:
            return None
        *top, outer = above
        is_namespace = _is_namespace(outer, top[-1]) if top else hold.is_in_module
        if is_namespace or not issubclass(type(outer), _CONTAINERS):
            return None
        pairs = cast("dict[object, object]", entry).items() if type(entry) is dict else ()
        items = [*pairs] or [(item,) for item in cast("list[object]", entry)]
        others = [part for item in items if item[-1] is not hold.thing for part in item]
        keys = [item[0] for item in items if len(item) > 1]
        is_kept = issubclass(type(outer), dict) and (not others or self._is_of_live(outer, entry))
        return None if is_kept or not self._is_written(others, keys) else (outer, entry)

    def _is_of_live(self, outer: object, entry: object) -> bool:
        """Return whether the live version probably has an entry with the same key: it gets this one."""
        found = [key for key, value in cast("dict[object, object]", outer).items() if value is entry]
        live = self._live
        return live is not None and any(type(key) is str and live.script.mentions(key) for key in found)

    def _is_written(self, values: Iterable[object], keys: Iterable[object]) -> bool:
        """Return whether the code of the generation has all these texts, and there are some."""
        parts, owner = [*values, *keys], Owner(self.root)
        texts = [part for part in parts if type(part) is str]
        others = (part for part in parts if type(part) not in (str, int, float, bool, type(None)))
        return bool(texts) and all(map(self.script.mentions, texts)) and all(map(owner.owns, others))

    def _take_from(self, table: dict[Hashable, object], thing: object) -> str:
        said = ""
        for key, value in dict.copy(table).items():
            if key is thing:
                del table[key]
            elif value is thing:
                other = self._counterpart(thing, key, dict.values(table))
                if other is None:
                    del table[key]
                    said = LOST if self._is_lost(thing, key) else said
                else:
                    table[key] = other
                    said = "the live version's again"
        return said

    def _counterpart(self, thing: object, key: object, others: Iterable[object]) -> object:
        if self._live is None:
            return None
        found = self._live.counterpart(thing, self, key)
        return None if any(other is found for other in others) else found

    def _is_lost(self, thing: object, key: object) -> bool:
        """Return whether the live version probably had an entry at ``key`` that cannot be restored.

        An entry whose key belongs to the failed load is new.
        """
        if self._live is None or Owner(self.root).owns(key):
            return False
        if type(thing) is not FunctionType:
            return type(key) is str and self._live.script.mentions(key) is not None
        is_defined = bool(self._live.script.definitions(thing.__code__))
        is_known = is_defined and self._live.has_entry(self, key, name_of(thing))
        return is_known and self._live.counterpart(thing, self, key) is None

    # ---- attributes

    def _reset(self, hold: Reference, owner: object, name: str) -> str:
        """Restore the live version's, the wrapped or the class's value, else set ``None``: one is expected.

        If the attribute's object is itself an entry of a list, dictionary or set, and nothing else refers to
        it, and a library made it for the plugin's object (a route, a job, a sink): remove that entry.
        """
        entry = None if self.script.sets(name) else _entry_for(hold)
        if entry is not None:
            return self._take_out(*entry)
        other = self._counterpart(hold.thing, name, ())
        if other is not None:
            _set(owner, name, other)
            return "the live version's again"
        wrapped = self._wrapped(hold.thing)
        if wrapped is not None:
            _set(owner, name, wrapped)
            return ""
        is_grown = type(hold.thing) is tuple and not any(type(item) in _PLAIN for item in hold.thing)
        is_shared = is_module(owner) or issubclass(type(owner), type)
        if not is_grown and not is_shared and any(name in of_kind for of_kind in _class_values(owner)):
            object.__delattr__(owner, name)
            return ""
        _set(owner, name, () if is_grown else None)  # a register that a library grows by a copy
        return "" if is_grown else EMPTIED

    def _wrapped(self, thing: object) -> object:
        """Return the function of other code that a wrapper of the generation wraps; ``None`` if unknown."""
        while type(thing) is FunctionType and is_within(thing.__globals__.get("__name__"), self.root):
            thing = vars(thing).get("__wrapped__")
        return thing if type(thing) is FunctionType else None


def _set(owner: object, name: str, value: object) -> None:
    if is_module(owner):
        namespace_of(owner)[name] = value
    elif issubclass(type(owner), type):
        type.__setattr__(cast("type", owner), name, value)
    else:
        object.__setattr__(owner, name, value)


def _put_instead(hold: Reference) -> bool:
    """Put a tuple or frozenset without the plugin's object in the place of one; return whether that fits.

    Libraries grow such a register by a copy. Next to things of another kind, the object is part of a whole.
    """
    *above, holder = hold.way
    items = [item for item in cast("Iterable[object]", holder) if item is not hold.thing]
    if not above or not all(_is_alike(item, hold.thing) for item in items):
        return False
    rest = frozenset(items) if type(holder) is frozenset else tuple(items)
    place = _attribute(hold._replace(way=tuple(above), thing=holder))
    if place is not None:
        _set(*place, rest)
        return True
    if type(above[-1]) is not dict:
        return False
    table = cast("dict[object, object]", above[-1])
    keys = [key for key, value in table.copy().items() if value is holder]
    table.update(dict.fromkeys(keys, rest))
    return bool(keys)


def _is_key(way: list[object]) -> bool:
    """Return whether the last object is a tuple that is a key of the dictionary before it."""
    *_, table, key = way
    is_pair = issubclass(type(table), dict) and issubclass(type(key), tuple)
    return is_pair and any(each is key for each in dict.copy(cast("dict[object, object]", table)))


def _is_alike(one: object, other: object) -> bool:
    """Return whether two objects are both functions, both classes, or objects with a common base class."""
    return _sort_of(one) is _sort_of(other)


def _sort_of(thing: object) -> object:
    kind = type(thing)
    if kind in _FUNCTIONS:
        return FunctionType
    if issubclass(kind, type):  # ``int`` beside a class of the plugin tells what that is for
        return thing if of_type(thing, "__module__") == "builtins" else type
    return cast("tuple[type, ...]", of_type(kind, "__mro__"))[-2:][0]


def _class_values(owner: object) -> Iterator[dict[str, object]]:
    """Yield the values that each class of an object has for its attributes, without the slots."""
    for kind in cast("tuple[type, ...]", of_type(type(owner), "__mro__")):
        values = cast("dict[str, object]", of_type(kind, "__dict__"))
        yield {name: value for name, value in values.items() if not hasattr(type(value), "__set__")}


def _attribute(hold: Reference) -> tuple[object, str] | None:
    """Return the object and the name of the attribute that is the reference; ``None`` if it is another.

    Raises:
        LookupError: it is an attribute of a function, which often is a wrapper of the plugin's function.

    """
    *above, holder = hold.way
    owner: object
    if hold.is_attribute:
        owner = sys.modules.get(str(cast("dict[str, object]", holder).get("__name__")))
    elif above and _is_namespace(holder, above[-1]):
        owner = above[-1]
    elif issubclass(type(holder), _CONTAINERS) or type(holder) is FunctionType:
        return None
    else:
        owner = holder
    if type(owner) is FunctionType:
        raise LookupError("a function cannot be changed")
    name = (
        next((key for key, value in namespace_of(owner).items() if value is hold.thing), "")
        if is_module(owner)
        else attribute_of(owner, hold.thing)
    )
    return (owner, name) if name else None


def _is_attribute(hold: Reference) -> bool:
    """Return whether a reference is an attribute of a module, a class or an object."""
    *above, holder = hold.way
    return hold.is_attribute or bool(above and _is_namespace(holder, above[-1]))


def _is_namespace(thing: object, owner: object) -> bool:
    """Return whether ``thing`` is the dictionary of the attributes of ``owner``."""
    if type(thing) is not dict or issubclass(type(owner), (*_CONTAINERS, ModuleType)):
        return False
    if issubclass(type(owner), type):
        return True  # a class refers to no other dictionary
    try:
        return object.__getattribute__(owner, "__dict__") is thing
    except (AttributeError, TypeError):  # slots only
        return False


def _entry_for(hold: Reference) -> tuple[object, object] | None:
    """Return the container and its entry that exists only for the plugin's object; ``None`` if none does."""
    way, below = [*hold.way], hold.thing
    if len(way) > 1 and _is_namespace(way[-1], way[-2]):
        way.pop()
    while len(way) > 1:
        entry = way.pop()
        if id(entry) in hold.shared or issubclass(type(entry), (FunctionType, type)):
            return None
        if issubclass(type(entry), tuple) and any(
            item is not below and _is_alike(item, below)
            for item in tuple.__iter__(cast("tuple[object, ...]", entry))
        ):
            return None
        below = entry
        if issubclass(type(way[-1]), _CONTAINERS):
            if len(way) > 1 and _is_namespace(way[-1], way[-2]):
                if id(way.pop()) in hold.shared:
                    return None
                continue
            return None if len(way) == 1 and hold.is_in_module else (way[-1], entry)
    return None
