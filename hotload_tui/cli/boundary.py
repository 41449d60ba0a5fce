"""The entry point of the command: turns every error into a message and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Final, NoReturn

from hotload_tui.core.errors import INTERRUPTED

_DEBUG: Final = "HOTLOAD_DEBUG"
_LINGER: Final = 1.0  # seconds that threads of plugins may keep the process alive after the command


def main() -> NoReturn:
    """Run the command line and exit."""
    # All imports are inside the try, so that an early interrupt prints no traceback either.
    try:
        import logging

        from hotload_tui.cli import output
        from hotload_tui.tui.terminal import leave_within

        # Commands print their own messages; the event logger is for programs that embed the manager.
        logging.getLogger("hotload.events").propagate = False
        logging.getLogger("hotload.events").addHandler(logging.NullHandler())
        code = execute(sys.argv[1:])
        leave_within(
            _LINGER, code, lambda: output.narrate("a thread did not end in time; leaving without it")
        )
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def execute(arguments: list[str]) -> int:
    """Run the command line in this process and return its exit code."""
    from hotload_tui.cli import output
    from hotload_tui.core.errors import HotloadError

    try:
        return _run(arguments)
    except HotloadError as error:
        output.narrate(str(error))
        return error.exit_code
    except Exception as error:  # a defect: one line for the user, a traceback for a bug report
        if os.environ.get(_DEBUG):
            raise
        output.narrate(
            f"hotload: unexpected {type(error).__name__}: {error}. This is a defect of hotload;"
            f" run the same with {_DEBUG}=1 and report the traceback, please"
        )
        return 1


def _run(arguments: list[str]) -> int:
    import click

    from hotload_tui.cli.commands import hotload

    try:
        # click returns the command's result or the code of ``ctx.exit``.
        code: object = hotload.main(arguments, prog_name="hotload", standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return code if isinstance(code, int) else 0
