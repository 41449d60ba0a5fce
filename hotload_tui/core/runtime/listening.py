"""Listening sockets that pass from version to version of a plugin, so that no connection is refused.

``register`` gets a socket without an address: a trial takes no port. The socket is bound when the version
goes live, after the previous version has closed the ports that the new one does not use.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from hotload_tui.core.errors import RegisterError

if TYPE_CHECKING:
    import socket  # takes 5 ms; a plugin that does not listen does not import it

BACKLOG: Final = 128
"""Number of connections that may wait until a plugin accepts them."""

_FOREVER = 2_000_000.0  # seconds; the system call takes no more than 24 days

Address: TypeAlias = tuple[str, int, int]
"""The host and port that a plugin asks for; for port 0, any free port, also the number of that call."""


class Port:
    """A host and port at which versions of a plugin listen, with the socket that they share."""

    def __init__(self, host: str, number: int, backlog: int, *, reuse: bool) -> None:
        """Prepare; nothing is bound before ``open``."""
        self.host = host
        self.number = number
        self.is_open = False
        self._backlog = backlog
        self._reuse = reuse
        self._socket = self._new()

    def open(self) -> bool:
        """Listen; return false if duplicates that were made before are of no use.

        Raises:
            OSError: the address is in use or unknown.
            OverflowError: there is no port of this number.

        """
        if self.is_open:
            return True
        is_unused = not self._is_used()
        if not is_unused:
            self._socket.close()
            self._socket = self._new()
        self._socket.bind((self.host, self.number))
        self._socket.listen(self._backlog)
        self.number = self._socket.getsockname()[1]
        self.is_open = True
        return is_unused

    def duplicate(self) -> socket.socket:
        """Return another socket for the same port; if the port is not open, both listen when it is."""
        if self._socket.fileno() == -1:  # it could not be opened again
            self._socket = self._new()
        return self._socket.dup()

    def close(self) -> None:
        """Stop listening; duplicates go on."""
        self._socket.close()
        self.is_open = False

    def _is_used(self) -> bool:
        """Return whether the socket is closed, or the plugin has made it listen at another port."""
        with contextlib.suppress(OSError):
            return self._socket.fileno() == -1 or self._socket.getsockname()[1] != 0
        return False  # some systems have no name for a socket without an address

    def _new(self) -> socket.socket:
        """Return a socket like that of ``socket.create_server``, not bound yet."""
        import socket

        made = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        if os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._reuse:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made


KeptPorts: TypeAlias = dict[Address, Port]
"""The ports of a plugin's live version by address, kept between its versions."""


class Listening:
    """The listening sockets of one version of a plugin.

    The version gets duplicates: it may close them, and the kept port goes on to collect connections.
    """

    def __init__(self, kept: KeptPorts) -> None:
        """Prepare; ``kept`` are the ports of the live version."""
        self._kept = kept
        self._used: KeptPorts = {}
        self._places: dict[Address, tuple[str, int]] = {}
        self._given: list[tuple[socket.socket, Port]] = []

    def __bool__(self) -> bool:
        """Return whether the version listens at a port."""
        return bool(self._used)

    def listen(
        self, host: str, number: int, backlog: int, *, reuse: bool, place: tuple[str, int]
    ) -> socket.socket:
        """Return a socket that listens once the version is live; at once, if the live version listens.

        ``place``: the file and line of the call. Raises ``OSError``.
        """
        asked = 0 if number else sum(each[:2] == (host, number) for each in self._used)
        address = (host, number, asked)
        port = self._used.get(address) or self._kept.get(address)
        if port is None:
            port = Port(host, number, backlog, reuse=reuse)
            if number == 0:  # takes nothing from anybody, and the plugin may ask for the number
                port.open()
        self._used[address] = port
        self._places[address] = place
        given = port.duplicate()
        # All duplicates share one flag, "non-blocking". With a limit, a socket works whatever another version
        # does with the flag; a socket without one would fail, or block the other version's event loop.
        given.settimeout(_FOREVER)
        self._given.append((given, port))
        return given

    def open(self, plugin: str) -> None:
        """Open the ports that the live version does not have. Raises ``RegisterError``."""
        for address, port in self._used.items():
            try:
                is_bound = port.open()
            except (OSError, OverflowError) as error:
                self.shut()
                file, line = self._places[address]
                problem = f"ctx.listen('{port.host}', {port.number}): {error}"
                raise RegisterError(plugin, problem, file=file, line=line) from None
            if not is_bound:
                self.close_given(port)
        self.reopen()

    def shut(self) -> None:
        """Close the ports that the live version does not have."""
        for address, port in self._used.items():
            if self._kept.get(address) is not port:
                port.close()
                self.close_given(port)

    def reopen(self) -> None:
        """Open again what the version, which goes on after all, has closed when its workers ended.

        A server closes its socket when it stops, and the worker that starts again has the same object.
        """
        for given, port in self._given:
            if given.fileno() == -1 and port.is_open:
                limit = given.gettimeout()
                type(given).__init__(given, fileno=port.duplicate().detach())  # the plugin has this object
                given.settimeout(limit)

    def commit(self) -> None:
        """Keep the ports of this version, which is live now, and close the others."""
        keep(self._kept, self._used)

    def close(self) -> None:
        """Close what this version was given, and the ports that no live version keeps."""
        self.shut()
        for given, _ in self._given:
            given.close()
        self._given, self._used = [], {}

    def drop_others(self, previous: Listening | None) -> Callable[[], None]:
        """Close the kept ports that this version does not use; return the undo, which raises ``OSError``.

        ``previous`` is that of the live version, if there is one.
        """
        dropped = {address: port for address, port in self._kept.items() if address not in self._used}
        for address, port in dropped.items():
            del self._kept[address]
            port.close()
            if previous is not None:
                previous.close_given(port)

        def undo() -> None:
            self._kept.update(dropped)
            for port in dropped.values():
                port.open()
            if previous is not None:
                previous.reopen()

        return undo

    def close_given(self, port: Port) -> None:
        """Close what this version was given for a port."""
        for given, its_port in self._given:
            if its_port is port:
                given.close()


def keep(kept: KeptPorts, used: KeptPorts) -> None:
    """Keep the ports in ``used``, and close all others in ``kept``."""
    for address in [address for address in kept if address not in used]:
        kept.pop(address).close()
    kept.update(used)


def explain_taken(message: str, kept: KeptPorts) -> tuple[str, ...]:
    """Return what to do if a plugin could not bind a port because hotload keeps it for the plugin."""
    if "in use" not in message:
        return ()
    return tuple(
        f"hotload keeps {port.host}:{port.number} for ctx.listen; to bind this port otherwise, "
        "disable and enable the plugin"
        for port in kept.values()
        if re.search(rf"\b{port.number}\b", message)
    )
