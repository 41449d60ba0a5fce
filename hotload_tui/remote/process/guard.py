"""``Guard``: the host's heartbeat, and its descriptors, which plugins can close."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable
from typing import Final

from hotload_tui.remote.process.autopsy import CUT_OFF
from hotload_tui.remote.process.breadcrumbs import BEAT, Breadcrumbs
from hotload_tui.remote.process.inquest import CUT_OFF_SEEN, recent

logger = logging.getLogger("hotload.engine")

_STREAMS: Final = (1, 2)


class Guard:
    """Beats, mends the standard streams, and ends a host that can serve no more."""

    def __init__(self, crumbs: Breadcrumbs, descriptors: Iterable[int], stop: threading.Event) -> None:
        """Begin; without one of ``descriptors`` the host is of no use, until it is asked to ``stop``."""
        self._stop = stop
        self._crumbs = crumbs
        self._needed = {descriptor: _identity(descriptor) for descriptor in descriptors}
        self._copies = {stream: os.dup(stream) for stream in _STREAMS}
        self._streams = {stream: _identity(stream) for stream in _STREAMS}
        threading.Thread(target=self._run, name="hotload-heartbeat", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._crumbs.beat()
            if not self._stop.is_set() and any(
                _identity(descriptor) != known for descriptor, known in self._needed.items()
            ):
                os._exit(CUT_OFF)
            for stream, known in self._streams.items():
                if _identity(stream) != known:
                    self._mend(stream)
            time.sleep(BEAT)

    def _mend(self, stream: int) -> None:
        with contextlib.suppress(OSError):
            os.dup2(self._copies[stream], stream)
        crumb = recent(self._crumbs.trail(), time.monotonic() - CUT_OFF_SEEN)
        who = f"{crumb.plugin} was running then" if crumb else "nobody knows by whom"
        logger.warning("descriptor %d of the host was closed or replaced (%s); it is mended", stream, who)


def _identity(descriptor: int) -> tuple[int, int]:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return (-1, -1)
    return status.st_dev, status.st_ino
