"""Thousands of messages of nonsense: their senders are disconnected, and others are not affected."""

import contextlib
import itertools
import random
import socket
import struct
import threading
from collections.abc import Callable

from hotload_tui import HotloadManager
from hotload_tui.core.api import Call
from hotload_tui.core.events import AnyEvent, PluginLoaded
from hotload_tui.remote import RemoteManager, Server, wire
from tests.conftest import without_memory
from tests.counts import MESSAGES
from tests.remote.conftest import hotload_threads
from tests.waiting import PATIENCE, until

Connect = Callable[[Server], RemoteManager]

HELLO = wire.encode(wire.Hello(wire.VERSION))
VALID = [
    wire.encode(message)
    for message in (
        wire.Hello(wire.VERSION),
        wire.Listen(),
        Call("snapshot"),
        Call("detail", ("greet",)),
        Call("source", ("greet", "plugin.py", None)),
        Call("log", (0,)),
        Call("enable", ("greet",)),
        Call("clean", ("nobody",)),
        Call("invoke", ("greet", "Ada", [1, {"a": None}]), {"b": 1e300}),
    )
]


def framed(payload: bytes) -> bytes:
    """Prefix a message with its length."""
    return struct.pack(">I", len(payload)) + payload


def mutated(chance: random.Random, payload: bytes) -> bytes:
    """Change, insert or remove a few bytes."""
    changed = bytearray(payload)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(changed) + 1)
        changed[place : place + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 2))
    return bytes(changed)


def nonsense(chance: random.Random) -> bytes:
    """Return bytes that a hostile, broken or foreign program might send."""
    valid = chance.choice(VALID)
    huge = struct.pack(">I", chance.choice([wire.LIMIT + 1, 2**31, 2**32 - 1]))
    nested = bytes([chance.choice([0x91, 0x81, 0xDD, 0xDF, 0xC6])]) * chance.randint(1, 2000)
    return chance.choice(
        [
            chance.randbytes(chance.randint(1, 200)),
            framed(chance.randbytes(chance.randint(0, 200))),
            framed(valid)[: chance.randrange(len(valid) + 4)],
            huge + valid,
            framed(nested),
            framed(valid),
            framed(mutated(chance, valid)),
            framed(mutated(chance, valid)),
        ]
    )


def send_nonsense(server: Server, seed: int, count: int) -> None:
    """Send many messages, each on its own connection; most connections greet first, to be accepted."""
    chance = random.Random(seed)
    for _ in range(count):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor, contextlib.suppress(OSError):
            visitor.settimeout(PATIENCE)
            visitor.connect(str(server.socket))
            if chance.random() < 0.9:
                visitor.sendall(framed(HELLO))
            visitor.sendall(nonsense(chance))
            visitor.shutdown(socket.SHUT_WR)
            if chance.random() < 0.9:  # the others leave without reading
                while visitor.recv(65536):
                    pass


def test_nonsense_affects_no_other_client(manager: HotloadManager, server: Server, connect: Connect) -> None:
    """During a flood of nonsense consoles still work, and afterwards no client thread is left."""
    console = connect(server)
    heard: list[AnyEvent] = []
    console.subscribe(heard.append)
    senders = [
        threading.Thread(target=send_nonsense, args=(server, seed, MESSAGES // 4)) for seed in range(4)
    ]
    for sender in senders:
        sender.start()
    rounds = itertools.count()

    def is_over() -> bool:
        assert console.invoke("greet", "Ada").values == ("Hello, Ada",)
        next(rounds)
        return not any(sender.is_alive() for sender in senders)

    until(is_over)
    assert next(rounds) > 1
    (status,) = console.rebuild("greet", force=True)
    assert [event.generation for event in heard if isinstance(event, PluginLoaded)] == [status.generation]
    assert without_memory(*connect(server).snapshot().plugins) == without_memory(*manager.snapshot().plugins)
    server.close()
    # A client's thread that has just hung up is not the server's any more, and ends by itself.
    until(lambda: not hotload_threads(), lambda: str(hotload_threads()))
