"""The terminal is handed to the debugger of a plugin that waits in its host, and taken back."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Final, TypeAlias

from textual.app import App

from hotload_tui.tui.system import lent_terminal

Debug: TypeAlias = Callable[[], socket.socket | None]
"""Connects to a debugger that waits; ``None`` if none does."""

_HELLO: Final = "The plugin waits: c goes on, q ends its call, h lists all commands.\n"


async def hand_over(app: App[None], connection: socket.socket) -> None:
    """Let the user talk with the debugger until it ends."""
    with lent_terminal(app):
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+c would end the console below
        await asyncio.to_thread(_relay, connection)
        signal.signal(signal.SIGINT, heard)


def _relay(connection: socket.socket) -> None:
    """Carry lines there and answers back; the end of the input is the debugger's to understand."""
    keyboard, screen = (stream.fileno() if stream else -1 for stream in (sys.__stdin__, sys.__stdout__))
    sources: list[int | socket.socket] = [connection, keyboard]
    try:
        os.write(screen, _HELLO.encode())
        while connection in sources:
            for source in select.select(sources, [], [])[0]:
                if source is connection:
                    if not (answer := connection.recv(65536)):
                        return
                    os.write(screen, answer)
                elif line := os.read(keyboard, 4096):
                    connection.sendall(line)
                else:
                    sources.remove(keyboard)
                    connection.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the host has died, or the terminal is gone
    finally:
        connection.close()
