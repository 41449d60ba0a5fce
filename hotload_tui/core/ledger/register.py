"""``Register``: a place in the process that a plugin can change, read whole before and after a load."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from typing import Final, NamedTuple, TypeAlias, cast

from hotload_tui.core.ledger.owner import Owner, name_of
from hotload_tui.core.ledger.versions import version_of

MISSING: Final = object()
"""Stands for what is not there."""

Entries: TypeAlias = dict[Hashable, object]

_PLAIN = (str, bytes, int, float, bool, tuple, type(None))


class Change(NamedTuple):
    """One entry that is not what it was."""

    key: Hashable
    before: object
    after: object


class Register(ABC):
    """What there is of one category, and how to put it back."""

    category: str
    words: tuple[str, ...] = ()
    """What code that changes it mentions; with none, the key of the entry itself."""

    _sight: object = None
    _entries: Entries | None = None

    clues: tuple[str, ...] = ()
    """One of these stands in an artifact wherever one of the words does."""

    @property
    def searched(self) -> int:
        """Bytes of an artifact that are searched for its clues before it is read; 0: it is always read."""
        return 0

    def sight(self) -> object:
        """Return what is another value after each change, and is got sooner than the entries; or ``None``."""
        return None

    def look(self) -> Entries:
        """Return what ``read`` would; read only if it changed since the look before, until ``let_go``."""
        sight, entries = self.sight(), self._entries
        if entries is None or sight is None or sight != self._sight:
            entries = self.read()
            self._sight, self._entries = sight, entries
        return entries

    def look_on(self) -> Entries:
        """As ``look``, at once after ``changes``: what was the same then is not looked at again."""
        entries = self._entries
        return self.look() if entries is None or self._sight is None else entries

    def let_go(self) -> None:
        """Keep nothing that was read: it holds what others may wish to be freed."""
        self._sight = self._entries = None

    @abstractmethod
    def read(self) -> Entries:
        """Return all that is there now."""

    @abstractmethod
    def write(self, key: Hashable, value: object) -> None:
        """Put ``value`` in its place; ``MISSING`` takes it out."""

    @abstractmethod
    def tell(self, key: Hashable, value: object) -> str:
        """Say which entry it is."""

    def words_of(self, key: Hashable) -> tuple[str, ...]:
        """Return what code mentions that changes this entry."""
        return self.words or (str(key),)

    def current(self, key: Hashable) -> object:
        """Return what is there now."""
        return self.read().get(key, MISSING)

    def is_as_before(self, before: Entries) -> bool:
        """Tell whether nothing differs from what ``look`` returned; false where only reading would tell."""
        return before is self._entries and self._sight is not None and self._sight == self.sight()

    def changes(self, before: Entries) -> Iterator[Change]:
        """Yield what differs from an earlier reading."""
        self._entries = None
        after = self.read()
        for key in (*before, *(key for key in after if key not in before)):
            old, new = before.get(key, MISSING), after.get(key, MISSING)
            if not is_same(old, new):
                yield Change(key, old, new)

    def forget(self, key: Hashable, value: object) -> None:  # noqa: B027 - most keep no copies
        """Let go of what an entry was, after it was undone."""

    def owned(self, owner: Owner) -> Iterator[Hashable]:
        """Yield the entries that belong to somebody's modules, whenever they were made."""
        for key, value in self.read().items():
            if owner.owns(value) or owner.owns(key):
                yield key


def is_same(one: object, other: object) -> bool:
    """Tell whether two entries are one, without asking objects of others whether they are equal."""
    return one is other or (type(one) is type(other) and type(one) in _PLAIN and one == other)


def sight_of(table: object) -> object:
    """Return the identity and version of a dictionary; ``None`` of what is none."""
    return (id(table), version_of(cast("Entries", table))) if type(table) is dict else None


class Environment(Register):
    """The variables of ``os.environ``."""

    category = "environment"

    def read(self) -> Entries:  # noqa: D102 - as Register
        # As they are kept: to decode all of them at each load takes longer than all else here.
        return cast("Entries", dict(getattr(os.environ, "_data", os.environ)))

    def sight(self) -> object:  # noqa: D102 - as Register
        return sight_of(getattr(os.environ, "_data", None))

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        if value is MISSING:
            os.environ.pop(_text(key), None)
        else:
            os.environ[_text(key)] = _text(value)

    def words_of(self, key: Hashable) -> tuple[str, ...]:  # noqa: D102 - as Register
        return (_text(key),)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - it may be a secret
        return f"variable {_text(key)}"


def _text(raw: object) -> str:
    return os.fsdecode(cast("str | bytes", raw))


class Setting(Register):
    """One value of the process, with the functions that get and set it."""

    def __init__(
        self,
        category: str,
        words: tuple[str, ...],
        get: Callable[[], object],
        put: Callable[[object], object],
    ) -> None:
        self.category = category
        self.words = words
        self._get = get
        self._put = put

    def read(self) -> Entries:  # noqa: D102 - as Register
        try:
            return {"": self._get()}
        except OSError:  # a working directory that is gone
            return {}

    def sight(self) -> object:  # noqa: D102 - as Register
        found = tuple(self.read().values())
        return found if found and type(found[0]) in _PLAIN else None

    def write(self, key: Hashable, value: object) -> None:  # noqa: ARG002, D102 - as Register
        if value is not MISSING:
            self._put(value)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"{self.category} {name_of(value)}"


class Sequence(Register):
    """A list; what was taken out comes back at its end."""

    def __init__(
        self,
        category: str,
        words: tuple[str, ...],
        get: Callable[[], list[object]],
        changed: Callable[[], None] | None = None,
    ) -> None:
        self.category = category
        self.words = words
        self._get = get
        self._changed = changed

    def read(self) -> Entries:  # noqa: D102 - as Register
        return {_key(item): item for item in self._get()}

    def sight(self) -> object:  # noqa: D102 - as Register
        return [*map(_key, self._get())]

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        items = self._get()
        items[:] = [item for item in items if _key(item) != key] + ([] if value is MISSING else [value])
        if self._changed:
            self._changed()

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        parts = cast("tuple[object, ...]", value) if type(value) is tuple else (value,)
        return f"entry {' '.join(name_of(part) for part in parts)}"


def _key(item: object) -> Hashable:
    return item if type(item) in (str, tuple) else id(item)


class Table(Register):
    """A dictionary; ``None`` where there is none yet."""

    def __init__(
        self,
        category: str,
        words: tuple[str, ...],
        get: Callable[[], MutableMapping[Hashable, object] | None],
    ) -> None:
        self.category = category
        self.words = words
        self._get = get

    def read(self) -> Entries:  # noqa: D102 - as Register
        return dict(self._get() or ())

    def sight(self) -> object:  # noqa: D102 - as Register
        table = self._get()
        return 0 if table is None else sight_of(table)

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        table = self._get()
        if table is not None and value is MISSING:
            table.pop(key, None)
        elif table is not None:
            table[key] = value

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        first = key[0] if type(key) is tuple else key
        return f"{name_of(first)}: {name_of(value)}"

    def owned(self, owner: Owner) -> Iterator[Hashable]:  # noqa: D102 - as Register
        for key, value in self.read().items():
            parts = cast("tuple[object, ...]", key) if type(key) is tuple else (key,)
            if owner.owns(value) or any(map(owner.owns, parts)):
                yield key
