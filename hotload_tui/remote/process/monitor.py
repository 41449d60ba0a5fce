"""``HostMonitor``: starts the host, notices when it dies or hangs, names the plugin, and starts it again."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from msgspec.structs import replace

from hotload_tui.core.config import Config
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.model import Level
from hotload_tui.remote.process import supervisor
from hotload_tui.remote.process.blame import (
    BEAT,
    CRASH,
    CUT_OFF,
    HANG,
    Crumb,
    Culprit,
    Evidence,
    Hang,
    Trail,
    busy_threads,
)
from hotload_tui.remote.process.output import Line, Reader

if TYPE_CHECKING:
    from hotload_tui.core.compiled import Record


class HostListener(Protocol):
    """Receives the events of a host."""

    def say(self, level: Level, plugin: str, text: str) -> None:
        """Add a line to the log."""
        ...

    def started(self, pid: int) -> None:
        """React to the start of a host, which may not answer yet."""
        ...

    def lost(self) -> None:
        """React to the end of the host."""
        ...

    def changed(self) -> None:
        """React to a change of the monitor's ``trouble``."""
        ...


_END: Final = 3.0  # seconds that leave() waits for the supervisor's end


class Started(NamedTuple):
    """A host was started."""

    pid: int


class Ended(NamedTuple):
    """A host ended."""

    pid: int
    code: int
    """Exit code with subprocess's meaning: negative for the signal that killed the host."""


class Orphaned(NamedTuple):
    """The supervisor itself was killed; ``Link`` has killed its host, if there was one."""


News: TypeAlias = Started | Ended | Orphaned


class Link:
    """The connection to a supervisor, and the two output streams of the hosts that it starts."""

    def __init__(self, command: Sequence[str], write: Callable[[str, Line], None]) -> None:
        """Start a supervisor that starts hosts with ``command``.

        ``write`` receives the name of a stream (``stdout`` or ``stderr``) and a line from it.
        """
        self.news: Final[queue.SimpleQueue[News]] = queue.SimpleQueue()
        self._host = 0
        pipes = {name: os.pipe() for name in ("stdout", "stderr")}
        out, err = (writing for _, writing in pipes.values())
        # The readers start before the supervisor competes for the processor: Thread.start() waits until the
        # thread runs.
        self._readers = [
            Reader(reading, name, functools.partial(write, name)) for name, (reading, _) in pipes.items()
        ]
        terminal = _terminal()
        modes = supervisor.modes_of(terminal) if terminal >= 0 else ""
        words = [str(number) for number in (out, err, terminal)]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, "-I", "-S", str(Path(supervisor.__file__)), *words, modes, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[number for number in (out, err, terminal) if number >= 0],
            process_group=0,  # a signal to the console's group must not end the supervisor
        )
        for number in (out, err, terminal):
            if number >= 0:
                os.close(number)
        assert self._process.stdout is not None
        threading.Thread(
            target=self._listen, args=(self._process.stdout,), name="hotload-link", daemon=True
        ).start()

    def send(self, word: str) -> None:
        """Send a command; if the supervisor dies before it reads the command, ``Orphaned`` follows."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(f"{word}\n".encode())
            self._process.stdin.flush()

    def leave(self) -> None:
        """Report that the terminal is fine, and wait at most 3 s while the supervisor ends its processes."""
        self.send("bye")
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END)

    def _listen(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                word, *numbers = line.split()
                if word == b"started":
                    self._host = int(numbers[0])
                    self.news.put(Started(self._host))
                else:
                    self._host = 0
                    for reader in self._readers:  # the last words come before the end in the log
                        reader.catch_up()
                    self.news.put(Ended(int(numbers[0]), int(numbers[1])))
        self._process.wait()  # its output has ended, so it exits
        if self._host:
            supervisor.kill_group(self._host)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self.news.put(Orphaned())


def _terminal() -> int:
    """Return a new descriptor of the console's terminal, or -1 if standard error is no terminal."""
    try:
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ else -1
    except ValueError:  # closed
        return -1
    return os.dup(descriptor) if descriptor >= 0 and os.isatty(descriptor) else -1


_SOON: Final = 0.02  # seconds between two checks while the console waits for the first scan
_LATE: Final = 0.6  # seconds without a heartbeat after which the host gets no queries
_SILENT: Final = 1.25  # seconds without a heartbeat that mean a hang; a check finds it within two
_BOOT: Final = 15.0  # seconds until the first heartbeat
_OVERDUE: Final = 1.5  # seconds that a load may take beyond its limit
_MINUTE: Final = 60.0
_CRASHES: Final = 3  # deaths within a minute, with no plugin held back, after which the monitor gives up
_ADVICE: Final = (
    "this version is not loaded again: save a fix; 'hotload release {}' (console: r) loads it as it is"
)
_STOP: Final = 2.0  # seconds
_JOIN: Final = 1.0  # seconds


class HostMonitor:
    """Keeps one host running from ``open`` to ``close``, in a separate thread."""

    def __init__(self, config: Config, options: Sequence[str], listener: HostListener) -> None:
        """Prepare, without a host; ``options`` are the command-line options that give a host ``config``."""
        self.trouble = ""
        """Description of what is wrong with the host; empty if it is well."""
        self.is_late = False
        """Whether a heartbeat is missing; the host may still be well, but a query would have to wait."""
        self._options = options
        self._listener = listener
        self._compiled_dir = Path(config.compiled_dir)
        self._limit = config.load_timeout
        self._slow: set[int] = set()
        self._evidence = Evidence(Path(config.runtime_dir), self._limit, config.layout)
        self._link: Link | None = None
        self._pid = 0
        self._started_at = 0.0
        self._hang: Hang | None = None
        self._deaths: deque[float] = deque(maxlen=_CRASHES)
        self._suspected: dict[tuple[str, str], float] = {}  # plugin and digest → time of the death
        self._has_given_up = False
        self._is_renewed = False  # whether the user has asked to restart a healthy host
        self._is_wanted = True  # whether to start the host again when it ends
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._restart = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="hotload-monitor", daemon=True)

    # ---- the console's side

    @property
    def folder(self) -> Path:
        """The folder that the monitor shares with the host."""
        return self._evidence.folder

    def open(self) -> None:
        """Start the supervisor and the host, without waiting for them."""
        self._start()
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Wait until the host's first scan is over, the monitor gives up, or ``close`` is called."""
        self._ready.wait()

    def restart(self, *, anyway: bool = False) -> str:
        """Restart the host, without the plugin that hangs; return the reason for a refusal, or nothing.

        The monitor refuses to restart a healthy host, unless ``anyway`` is set.
        """
        if not (self._hang or self._has_given_up or anyway):
            return "The host is well; r loads a plugin again."
        self._restart.set()
        return ""

    def close(self) -> None:
        """Stop the host, with SIGKILL if it hangs or does not end; a second call does nothing."""
        self._is_wanted = False
        self._ready.set()
        if self._link is not None:
            self._link.send("kill" if self._hang else "stop")
            if self._pid:
                self._ended.wait(_STOP)
            self._link.leave()
            self._link = None
            self._thread.join(_JOIN)
        self._evidence.remove()

    def _keep(self) -> None:
        link = self._link
        while link is not None:
            with contextlib.suppress(queue.Empty):
                match link.news.get(timeout=BEAT if self._ready.is_set() else _SOON):
                    case Started(pid):
                        self._pid, self._started_at = pid, time.monotonic()
                        self._listener.started(pid)
                    case Ended(_, code):
                        self._host_ended(code)
                    case Orphaned():
                        self._orphaned()
            if self._pid:
                self._look()
            if self._restart.is_set():
                self._restart_now()
            link = self._link

    def _start(self) -> None:
        self._evidence.clear()
        self._slow.clear()
        if self._link is None:
            self._link = Link(self._command(), self._log_output)
        self._link.send("start")

    def _command(self) -> list[str]:
        host = supervisor.python_with("hotload_tui.remote.process.host")
        return [*host, "--folder", str(self._evidence.folder), *self._options]

    def _log_output(self, stream: str, line: Line) -> None:
        self._listener.say("warning" if stream == "stderr" else "info", line.plugin, f"{stream}: {line.text}")

    def _report(self, level: Level, plugin: str, text: str, *, trouble: str) -> None:
        """Set the trouble, then log the line: a reader of the line may look at the host at once."""
        self.trouble = trouble
        self._listener.changed()
        self._listener.say(level, plugin, text)

    # ---- a host that ended

    def _host_ended(self, code: int, *, was_orphaned: bool = False) -> None:
        self._pid, self.is_late = 0, False
        self._listener.lost()
        self._ended.set()
        if not self._is_wanted:
            return
        hang, self._hang = self._hang, None
        is_renewed, self._is_renewed = self._is_renewed, False
        if is_renewed or (hang and hang.is_ended):
            if hang and hang.culprit:  # only now: a host that hangs may lock the folder of artifacts
                self._hold(hang.culprit)
            self._again()
            return
        trace = self._evidence.dump(CRASH) or (hang.trace if hang else "")
        culprit = self._evidence.culprit_of_death(trace, code, was_orphaned=was_orphaned)
        how = f"died of signal {-code}" if code < 0 else f"ended with exit status {code}"
        if culprit is not None and not culprit.is_proven:
            culprit = self._suspect(culprit, how)
        elif culprit is not None:
            self._listener.say("error", culprit.plugin, f"the host {how}: {culprit.fault.message}")
        else:
            self._listener.say("error", "", f"the host {how}; no plugin was being loaded or called")
        if culprit is not None and self._hold(culprit):
            self._again()
        elif culprit is None and code > 0 and code != CUT_OFF and not self._ready.is_set():
            self._give_up(f"the host could not start ({how}); the log says why")
        else:
            self._count(how)

    def _suspect(self, culprit: Culprit, how: str) -> Culprit | None:
        """Return the culprit if it is suspected for the second time within a minute; otherwise record it."""
        now, artifact = time.monotonic(), (culprit.plugin, culprit.digest)
        before = self._suspected.get(artifact)
        self._suspected[artifact] = now
        while_ = f"while this version was active ({culprit.fault.phase})"
        if before is not None and now - before < _MINUTE:
            message = f"the host {how} twice within a minute {while_}"
            self._listener.say("error", culprit.plugin, message)
            return culprit._replace(fault=replace(culprit.fault, message=message))
        self._listener.say(
            "warning",
            culprit.plugin,
            f"the host {how} {while_}; the plugin is suspected, but the cause may be outside it: "
            "a second such end within a minute holds the version back",
        )
        when = time.strftime("on %Y-%m-%d at %H:%M:%S")
        reason = f"the host {how} {when}, {while_}; the cause may be outside the plugin"
        self._record(
            culprit, "suspected", lambda record, digest: record.suspect(culprit.plugin, digest, reason)
        )
        return None

    def _count(self, how: str) -> None:
        """Start the host again, or give up if it dies too often: no plugin was held back as the cause."""
        now = time.monotonic()
        self._deaths.append(now)
        if len(self._deaths) == _CRASHES and now - self._deaths[0] < _MINUTE:
            self._give_up(f"the host died {_CRASHES} times within a minute, the last time it {how}")
        else:
            self._again()

    def _give_up(self, text: str) -> None:
        self._has_given_up = True
        self._report("error", "", text, trouble=f"{text}; u starts it again")
        self._ready.set()

    def _again(self) -> None:
        self._report("info", "", "the host starts again", trouble="")
        self._start()

    def _orphaned(self) -> None:
        """Continue after the supervisor was killed; ``Link`` has killed its host."""
        self._link = None
        if self._pid or self._is_wanted:
            self._listener.say("error", "", "the supervisor was killed, and the host ends with it")
            self._host_ended(-signal.SIGKILL, was_orphaned=True)

    def _hold(self, culprit: Culprit) -> bool:
        """Bar the culprit's source from being loaded again; return whether the record was written."""
        fault = replace(culprit.fault, notes=(*culprit.fault.notes, _ADVICE.format(culprit.plugin)))
        return self._record(
            culprit, "barred", lambda record, digest: record.bar(culprit.plugin, digest, fault)
        )

    def _record(self, culprit: Culprit, what: str, change: Callable[[Record, str], None]) -> bool:
        """Record that the version with the digest that ``change`` gets is ``what``; return if that worked."""
        from hotload_tui.core.compiled import Record  # imported only when a host has died

        try:
            record = Record(self._compiled_dir.absolute())
            if not (digest := culprit.digest or record.last_good(culprit.plugin)):
                return False  # no artifact of it is known
            change(record, digest)
        except HotloadError as error:
            self._listener.say("error", culprit.plugin, f"cannot record that this version is {what}: {error}")
            return False
        return True

    # ---- a host that runs

    def _look(self) -> None:
        trail, now = self._evidence.trail(), time.monotonic()
        if trail.is_ready:
            self._ready.set()
        last = trail.beat or self._started_at + _BOOT
        late = [crumb for crumb in trail.crumbs if now - crumb.at > self._limit]
        overdue = [
            crumb for crumb in late if crumb.phase == "load" and now - crumb.at > self._limit + _OVERDUE
        ]
        self._warn_of_slow([crumb for crumb in late if crumb.phase == "hook"])
        self.is_late = now - last > _LATE
        hangs = now - last > _SILENT or bool(overdue)
        if hangs and self._hang is None:
            self._hang = Hang(len(self._evidence.dump(HANG)))
            self._send("dump")
        elif hangs and self._hang is not None and not self._hang.trace:
            self._describe(self._hang, trail)
        elif not hangs and self._hang is not None:
            self._hang = None
            self._report("info", "", "the host answers again", trouble="")

    def _warn_of_slow(self, calls: Sequence[Crumb]) -> None:
        """Warn once of each handler that does not return; only its caller waits for it."""
        for crumb in calls:
            if crumb.number not in self._slow:
                self._slow.add(crumb.number)
                text = f"a handler has not returned for {self._limit:g} s (load_timeout); its caller waits"
                self._listener.say("warning", crumb.plugin, text)

    def _describe(self, hang: Hang, trail: Trail) -> None:
        """Report the plugin that hangs and its place, once the host has written the dump."""
        hang.looks += 1
        trace = self._evidence.dump(HANG)[hang.before :]
        is_silent = time.monotonic() - trail.beat > _SILENT  # else a load is overdue, and other threads run
        busy = busy_threads(self._pid) if is_silent else frozenset()
        hang.culprit = self._evidence.culprit_of_hang(trail, trace, busy)
        if hang.culprit is None or not hang.culprit.fault.frames:
            if hang.looks == 1:
                return  # the host may still be writing the dump
            trace = trace or " "
        if hang.culprit is None:  # a slow host may call a plugin that really hangs, so look again
            if hang.looks == 2:  # noqa: PLR2004 - report once
                text = "the host does not answer"
                more = "no plugin was being loaded or called"
                self._report("error", "", f"{text}; {more}", trouble=f"{text}; u restarts it")
            return
        hang.trace = trace or " "
        place = hang.culprit.fault.place
        where = f" at {Path(place.file).name}:{place.line}" if place else ""
        what = f"{where} in {place.function}" if place else ""
        text = f"hangs{what} ({hang.culprit.fault.phase}); u restarts the host without it"
        short = f"{hang.culprit.plugin} hangs{where}; u restarts"  # it has half a line
        self._report("error", hang.culprit.plugin, text, trouble=short)

    def _restart_now(self) -> None:
        self._restart.clear()
        if self._has_given_up:
            self._has_given_up = False
            self._deaths.clear()
            self._again()
        elif self._hang is not None and self._pid:
            self._hang.is_ended = True
            self._send("kill")
        elif self._pid:
            self._is_renewed = True
            self._send("stop")

    def _send(self, word: str) -> None:
        if self._link is not None:
            self._link.send(word)
