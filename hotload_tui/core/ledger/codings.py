"""Codecs: search functions, error handlers, and the codecs that were found."""

from __future__ import annotations

import codecs
import encodings
import functools
import gc
from collections.abc import Callable, Hashable, MutableMapping
from typing import cast

from hotload_tui.core.ledger.owner import name_of
from hotload_tui.core.ledger.register import MISSING, Entries, Register


class SearchFunctions(Register):
    """What ``codecs.register`` was given; the interpreter's list is found by one that is always in it."""

    category = "codec"
    words = ("codecs",)

    def read(self) -> Entries:  # noqa: D102 - as Register
        return {id(function): function for function in _functions()}

    def sight(self) -> object:  # noqa: D102 - as Register
        return [*map(id, _functions())]

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        for function in _functions().copy():
            if id(function) == key and value is MISSING:
                codecs.unregister(cast("Callable[[str], None]", function))

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"search function {name_of(value)}"


@functools.cache
def _functions() -> list[object]:
    for holder in gc.get_referrers(encodings.search_function):
        if type(holder) is list and all(map(callable, holder)):
            return holder
    return []


@functools.cache
def error_handlers() -> MutableMapping[Hashable, object] | None:
    """Return the interpreter's dictionary of ``codecs.register_error``; ``None`` if it is not found."""
    for holder in gc.get_referrers(codecs.lookup_error("strict")):
        if type(holder) is dict and {"strict", "ignore", "replace"} <= holder.keys():
            return cast("MutableMapping[Hashable, object]", holder)
    return None
