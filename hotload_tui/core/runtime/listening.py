"""Listening sockets that pass from version to version of a plugin, so that no connection is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import socket  # takes 5 ms; a plugin that does not listen does not import it

BACKLOG: Final = 128
"""Number of connections that may wait until a plugin accepts them."""

_FOREVER = 2_000_000.0  # seconds; the system call takes no more than 24 days

Address: TypeAlias = tuple[str, int, int]
"""The host and port that a plugin asks for; for port 0, any free port, also the number of that call."""

KeptSockets: TypeAlias = "dict[Address, socket.socket]"
"""The sockets of a plugin's live version by address, kept between its versions."""


class Listening:
    """The listening sockets of one version of a plugin.

    The version gets duplicates: it may close them, and the kept socket goes on to collect connections.
    """

    def __init__(self, kept: KeptSockets) -> None:
        """Prepare; ``kept`` are the sockets of the live version."""
        self._kept = kept
        self._used: KeptSockets = {}
        self._given: list[tuple[socket.socket, socket.socket]] = []  # each with the socket it duplicates

    def listen(self, host: str, port: int, backlog: int, *, reuse_port: bool) -> socket.socket:
        """Return a listening socket: that of the live version, or a new one. Raises ``OSError``."""
        import socket

        asked = 0 if port else sum(each[:2] == (host, port) for each in self._used)
        address = (host, port, asked)
        found = self._used.get(address) or self._kept.get(address)
        if found is None:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            found = socket.create_server((host, port), family=family, backlog=backlog, reuse_port=reuse_port)
        self._used[address] = found
        given = found.dup()
        # All duplicates share one flag, "non-blocking". With a limit, a socket works whatever another version
        # does with the flag; a socket without one would fail, or block the other version's event loop.
        given.settimeout(_FOREVER)
        self._given.append((given, found))
        return given

    def reopen(self) -> None:
        """Open again what the version, which goes on after all, has closed when its workers ended.

        A server closes its socket when it stops, and the worker that starts again has the same object.
        """
        for given, found in self._given:
            if given.fileno() == -1:
                limit = given.gettimeout()
                type(found).__init__(given, fileno=found.dup().detach())  # the plugin has this object
                given.settimeout(limit)

    def commit(self) -> None:
        """Keep the sockets of this version, which is live now, and close the others."""
        keep(self._kept, self._used)

    def close(self) -> None:
        """Close what this version was given, and the sockets that no live version keeps."""
        for given, _ in self._given:
            given.close()
        for address, found in self._used.items():
            if self._kept.get(address) is not found:
                found.close()
        self._given, self._used = [], {}


def keep(kept: KeptSockets, used: KeptSockets) -> None:
    """Keep the sockets in ``used``, and close all others in ``kept``."""
    for address in [address for address in kept if address not in used]:
        kept.pop(address).close()
    kept.update(used)


def explain_taken(message: str, kept: KeptSockets) -> tuple[str, ...]:
    """Return what to do if a plugin could not bind a port because hotload keeps it for the plugin."""
    if "in use" not in message:
        return ()
    names = (each.getsockname() for each in kept.values())
    return tuple(
        f"hotload keeps {name[0]}:{name[1]} for ctx.listen; to bind this port otherwise, "
        "disable and enable the plugin"
        for name in names
        if re.search(rf"\b{name[1]}\b", message)
    )
