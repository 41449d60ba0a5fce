"""``Process``: the registers, and who changed which entry on top of whom."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass, field

from hotload_tui.core.ledger.attributes import Attributes
from hotload_tui.core.ledger.chain import relink
from hotload_tui.core.ledger.owner import Owner
from hotload_tui.core.ledger.register import MISSING, Change, Register, is_same
from hotload_tui.core.ledger.registers import registers

_UNKNOWN = object()


@dataclass(eq=False, slots=True)
class _Stack:
    """The values of one entry: the host's, and above it those of generations, the newest last."""

    original: object
    layers: list[tuple[str, object]] = field(default_factory=list)


class Process:
    """What the generations of one host have changed; loads and undoings take turns by its ``lock``."""

    def __init__(self, module_path: str) -> None:
        """All modules below ``module_path`` are plugins'."""
        plugins = Owner(module_path)
        self.attributes = Attributes(plugins)
        self.registers: tuple[Register, ...] = (*registers(plugins.owns), self.attributes)
        for register in self.registers[:-1]:
            register.read()  # some are looked for in the collector's lists, before a host may freeze those
        self.lock = threading.RLock()
        self._plugins = plugins
        self._stacks: dict[tuple[Register, Hashable], _Stack] = {}

    def let_go(self) -> None:
        """Keep nothing of what was read for the loads of a batch."""
        for register in self.registers:
            register.let_go()

    def record(self, root: str, register: Register, change: Change) -> None:
        """Note that the generation ``root`` changed an entry."""
        stack = self._stacks.get((register, change.key))
        if stack is None:
            stack = self._stacks[register, change.key] = _Stack(self._original(register, change))
        stack.layers.append((root, change.after))

    def _original(self, register: Register, change: Change) -> object:
        """Return what was there before all plugins: what one left there unseen would be held by that."""
        if not self._plugins.owns(change.before):
            return change.before
        if register is not self.attributes:
            return MISSING
        known = self.attributes.original(change.key, change.before)
        return _UNKNOWN if known is MISSING else known

    def hand_over(self, root: str, to: str, register: Register, key: Hashable) -> None:
        """Let a change go on as one of the generation ``to``."""
        layers = self._stacks[register, key].layers
        layers[:] = [(to if layer[0] == root else layer[0], layer[1]) for layer in layers]

    def undo(self, owner: Owner, register: Register, key: Hashable) -> None:
        """Put back what was below a generation's change, unless somebody changed it since.

        Raises:
            LookupError: nobody knows what that was.

        """
        stack = self._stacks[register, key]
        index = next(index for index, layer in enumerate(stack.layers) if layer[0] == owner.root)
        _, value = stack.layers.pop(index)
        if not stack.layers:
            del self._stacks[register, key]
        below = stack.layers[index - 1][1] if index else stack.original
        if below is _UNKNOWN:
            raise LookupError(
                "another version had put something there, and what was before that is not known"
            )
        current = register.current(key)
        if index < len(stack.layers):
            root, above = stack.layers[index]
            if owner.owns(value) and below is not MISSING:
                relink(above, Owner(root), value, below)
        elif is_same(current, value) or owner.owns(current):
            register.write(key, below)
        register.forget(key, value)
