"""The supervisor: ends the host and restores the terminal when the console has died.

It is a separate program, started by its path. It imports next to nothing, has one thread, and ignores the
signals that end consoles. It reads one command per line and reports the start and the end of the host:

======== ==================================================== ===================
command  action                                               answer
======== ==================================================== ===================
start    start the host in a new session                      ``started PID``
stop     ask the host to end; SIGKILL its group after 1.5 s   ``ended PID STATUS``
kill     SIGKILL the host's group                             ``ended PID STATUS``
dump     make the host write the stacks of its threads
bye      the console ends normally: its terminal is fine
======== ==================================================== ===================

The end of the input means that the console is gone; the supervisor then ends the host, too.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Sequence

GRACE = 1.5  # seconds between the request to end and SIGKILL: all processes are gone within 3
DUMP = getattr(signal, "SIGRTMAX", getattr(signal, "SIGUSR2", 0))  # a signal that plugins hardly use
_IGNORED = ("SIGHUP", "SIGINT", "SIGTERM", "SIGQUIT", "SIGTSTP", "SIGTTOU", "SIGTTIN")
# Turns off: synchronized output, mouse (four modes), bracketed paste, focus and resize reports, kitty's keys,
# alternate screen. Turns on: cursor, plain colours.
_RESET = (
    b"\x1b[?2026l\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?2004l\x1b[?1004l\x1b[?2048l"
    b"\x1b[<u\x1b[?1049l\x1b[?25h\x1b[0m"
)


class Terminal:
    """The console's terminal, and its modes from before the console."""

    def __init__(self, descriptor: int, modes: str) -> None:
        """Take a descriptor (-1: no terminal) and the result of ``modes_of``."""
        self._descriptor = descriptor
        self._modes = [int(number) for number in modes.split(",") if number]

    def restore(self) -> None:
        """Restore the modes, and leave the alternate screen."""
        if self._descriptor < 0:
            return
        import termios

        flags, characters = self._modes[:6], self._modes[6:]
        try:
            os.write(self._descriptor, _RESET)
            if flags:
                modes: list[int | list[bytes | int]] = [*flags, [bytes([number]) for number in characters]]
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, modes)
        except (OSError, termios.error):
            return  # the terminal is gone, too


def modes_of(descriptor: int) -> str:
    """Return a terminal's modes as one word; empty if the descriptor is no terminal."""
    import termios

    try:
        *flags, characters = termios.tcgetattr(descriptor)
    except termios.error:
        return ""
    return ",".join(str(one[0] if isinstance(one, bytes) else one) for one in (*flags, *characters))


class Shadow:
    """A copy of the supervisor that kills the host's group if the supervisor itself is killed.

    Linux's ``PR_SET_PDEATHSIG`` kills the host alone, without the processes of its plugins. The lifeline does
    nothing in a host whose interpreter is blocked.
    """

    def __init__(self, others: Sequence[int]) -> None:
        """Fork the copy; it closes the descriptors ``others``, which it does not need."""
        reading, self._writing = os.pipe()
        pid = os.fork()  # one thread, so nothing can be locked in the copy
        if pid:
            os.close(reading)
            return
        os.close(self._writing)
        for descriptor in (0, 1, *others):  # the copy must not keep the console's pipes open
            os.close(descriptor)
        os.setsid()
        group = 0
        while said := os.read(reading, 4096).split():
            group = int(said[-1])
        if group:
            kill_group(group)
        os._exit(0)

    def guard(self, group: int) -> None:
        """Set the process group that the copy kills when the supervisor dies; 0 for none."""
        os.write(self._writing, f"{group}\n".encode())


class Supervisor:
    """Starts one host at a time, and runs the console's commands."""

    def __init__(self, command: Sequence[str], output: tuple[int, int], terminal: Terminal) -> None:
        """Start the shadow; hosts run ``command`` plus a lifeline descriptor, and write to ``output``."""
        self._command = command
        self._output = output
        self._terminal = terminal
        self._shadow = Shadow(output)
        self._host = 0
        self._lifeline = -1
        self._kill_at = 0.0
        self._is_over = False

    def run(self) -> None:
        """Run commands until both the console and the host are gone."""
        for name in _IGNORED:
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        waker, wake = os.pipe()
        for descriptor in (waker, wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while self._host or not self._is_over:
            watched = [waker] if self._is_over else [waker, 0]
            patience = max(0.0, self._kill_at - time.monotonic()) if self._kill_at else None
            ready = select.select(watched, [], [], patience)[0]
            if waker in ready:
                os.read(waker, 4096)
            self._reap()
            if 0 in ready:
                self._obey()
            if self._kill_at and time.monotonic() >= self._kill_at:
                self._signal_group()

    def _obey(self) -> None:
        words = os.read(0, 4096).split()
        if not words:
            self._is_over = True
            self._terminal.restore()
            self._stop()
        for word in words:
            match word:
                case b"start":
                    self._start()
                case b"stop":
                    self._stop()
                case b"kill":
                    self._signal_group()
                case b"dump":
                    self._signal(DUMP)
                case b"bye":
                    self._terminal = Terminal(-1, "")
                case _:
                    pass  # a command of a newer console

    def _start(self) -> None:
        if self._host:
            return
        lifeline, self._lifeline = os.pipe()
        pid = os.fork()  # one thread, so nothing can be locked in the child
        if not pid:
            self._become_host(lifeline)
        os.close(lifeline)
        self._shadow.guard(pid)
        self._host, self._kill_at = pid, 0.0
        _report(f"started {pid}")

    def _become_host(self, lifeline: int) -> None:
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for name in (*_IGNORED, "SIGCHLD"):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for target, descriptor in enumerate(self._output, 1):
                os.dup2(descriptor, target)
            os.set_inheritable(lifeline, True)
            os.execv(self._command[0], [*self._command, str(lifeline)])  # noqa: S606 - our own interpreter
        finally:
            os._exit(126)

    def _stop(self) -> None:
        if self._host and not self._kill_at:
            self._kill_at = time.monotonic() + GRACE
            # Not SIGTERM: a plugin may ignore it, or send it to its own process.
            os.write(self._lifeline, b"s")

    def _signal(self, number: int) -> None:
        if self._host:
            os.kill(self._host, number)  # the pid is valid: only this process waits for the host

    def _signal_group(self) -> None:
        self._kill_at = 0.0
        if self._host:
            self._signal(signal.SIGKILL)  # in case it leads no group yet
            kill_group(self._host)

    def _reap(self) -> None:
        if not self._host:
            return
        pid, status = os.waitpid(self._host, os.WNOHANG)
        if not pid:
            return
        self._host, self._kill_at = 0, 0.0
        kill_group(pid)  # processes that plugins have started
        self._shadow.guard(0)
        os.close(self._lifeline)
        _report(f"ended {pid} {os.waitstatus_to_exitcode(status)}")


def python_with(module: str) -> list[str]:
    """Return the command that runs a module in a child process with this interpreter.

    A ``-P`` keeps the working directory out of the child's path if it is not in the path of this process:
    plugins find the same modules in both.
    """
    path = [] if sys.path and sys.path[0] in ("", os.getcwd()) else ["-P"]  # noqa: PTH109 - few imports
    return [sys.executable, *path, "-m", module]


def kill_group(leader: int) -> None:
    """Kill a process and all processes of its group, if any is left."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # no process of the group is left


def _report(text: str) -> None:
    try:
        os.write(1, f"{text}\n".encode())
    except OSError:
        return  # the console is gone


def main(out: str, err: str, terminal: str, modes: str, *command: str) -> None:
    """Run ``supervisor.py OUT ERR TERMINAL MODES COMMAND …``; the first three arguments are descriptors."""
    descriptors = [int(word) for word in (out, err, terminal)]
    for descriptor in descriptors:
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)
    Supervisor(command, (descriptors[0], descriptors[1]), Terminal(descriptors[2], modes)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
