"""The outermost frame of the command: what goes wrong becomes a text and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Final, NoReturn

INTERRUPTED: Final = 130
_DEBUG: Final = "HOTLOAD_DEBUG"


def main() -> NoReturn:
    """Run the command line and exit."""
    sys.exit(_guarded())


def _guarded() -> int:
    # Everything is imported in here, so that an interrupt in the first moments is no traceback either.
    try:
        from hotload_tui.cli import output
        from hotload_tui.core.errors import HotloadError

        try:
            return _run()
        except HotloadError as error:
            output.narrate(str(error))
            return error.exit_code
        except Exception as error:  # a defect: its user gets one line, whoever reports it the traceback
            if os.environ.get(_DEBUG):
                raise
            output.narrate(
                f"hotload: unexpected {type(error).__name__}: {error}. This is a defect of hotload;"
                f" run the same with {_DEBUG}=1 and report the traceback, please"
            )
            return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _run() -> int:
    import logging

    import click

    from hotload_tui.cli.commands import hotload

    # Commands narrate by themselves what a program that embeds the manager reads from its logging.
    logging.getLogger("hotload.events").propagate = False
    logging.getLogger("hotload.events").addHandler(logging.NullHandler())
    try:
        # click returns what the command returned, or the code of ``ctx.exit``.
        code: object = hotload.main(prog_name="hotload", standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return code if isinstance(code, int) else 0
