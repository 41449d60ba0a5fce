"""``PluginState``: a plugin's mapping that survives reloads."""

from __future__ import annotations

import threading
from collections.abc import Iterator, MutableMapping
from typing import Final

_DELETED: Final = object()


class KeptState:
    """What is kept of a plugin between its generations."""

    def __init__(self, values: dict[str, object] | None = None) -> None:
        """Begin with ``values`` of version 0, or with nothing."""
        self.values: dict[str, object] = {} if values is None else values
        self.version = 0
        """``STATE_VERSION`` of the generation that was swapped in last."""


class PluginState(MutableMapping[str, object]):
    """A plugin's own mapping, which survives reloads.

    Until ``commit`` writes go to an overlay, key by key, so that a failed load changes nothing and the old
    generation can go on writing meanwhile. Values are shared, not copied, and never compared.
    """

    def __init__(self, kept: KeptState) -> None:
        self._kept = kept
        self._base = kept.values
        self._overlay: dict[str, object] | None = {}
        self._lock = threading.Lock()  # a thread that register started may write during the swap
        self.version = 0
        """The version to be committed."""

    def __getitem__(self, key: str) -> object:
        overlay = self._overlay
        value = self._base[key] if overlay is None or key not in overlay else overlay[key]
        if value is _DELETED:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: object) -> None:
        if not issubclass(type(key), str):
            raise TypeError(f"a key of ctx.state is a string, not a {type(key).__name__}")
        key = str.__str__(key)  # an exact one: a member of the plugin's own StrEnum would keep its generation
        with self._lock:
            target = self._base if self._overlay is None else self._overlay
            target[key] = value

    def __delitem__(self, key: str) -> None:
        with self._lock:
            self[key]  # KeyError where there is none
            if self._overlay is None:
                del self._base[key]
            else:
                self._overlay[str.__str__(key)] = _DELETED

    def __iter__(self) -> Iterator[str]:
        overlay = dict(self._overlay or ())  # copies: other threads go on writing
        keys = [key for key in dict(self._base) if key not in overlay]
        return iter([*keys, *(key for key, value in overlay.items() if value is not _DELETED)])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

    @property
    def kept_version(self) -> int | None:
        """Version of the values that an earlier generation left; ``None`` if it left none."""
        return self._kept.version if self._base else None

    def commit(self) -> None:
        """Apply what was written to the shared mapping, and write through from now on."""
        with self._lock:
            for key, value in (self._overlay or {}).items():
                if value is _DELETED:
                    self._base.pop(key, None)
                else:
                    self._base[key] = value
            self._kept.version = self.version
            self._overlay = None
