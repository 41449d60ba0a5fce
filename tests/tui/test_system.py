import signal
import subprocess
import sys

import pytest

from tests.waiting import PATIENCE

BLOCKED = """
import asyncio, queue
from hotload_tui.tui.terminal import handle_signals

async def main():
    handle_signals(lambda code: None, 0.1)
    print("ready", flush=True)
    queue.Queue().get()  # as when what is written to a terminal that is gone is never taken

asyncio.run(main())
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 0), (signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_console_that_cannot_go_on_ends_all_the_same(number: signal.Signals, code: int) -> None:
    """A console whose main thread is blocked still ends after a signal."""
    with subprocess.Popen([sys.executable, "-c", BLOCKED], stdout=subprocess.PIPE, text=True) as console:
        try:
            assert console.stdout is not None
            assert console.stdout.readline() == "ready\n"
            console.send_signal(number)
            assert console.wait(PATIENCE) == code
        finally:
            console.kill()
