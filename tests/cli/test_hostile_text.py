import unicodedata

from tests.cli.command import Hotload
from tests.conftest import Workspace
from tests.tui.hostile import HARM, IN_A_NAME

PLUGIN = f"""
def register(ctx):
    ctx.hook({HARM!r}, print)
"""
BAD = f"""
def register(ctx):
    error = type({HARM!r}, (ValueError,), {{}})({HARM!r})
    error.add_note({HARM!r})
    raise error from KeyError({HARM!r})
"""


def dangerous(text: str) -> list[str]:
    """Return the characters that could control a terminal, reverse text or hide in it."""
    found = {sign for sign in text if unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp")}
    return sorted(map(ascii, found - {"\n", "\u200d"}))


def test_no_command_writes_a_plugins_control_characters(workspace: Workspace, hotload: Hotload) -> None:
    """Commands print control characters in names, messages, hook points and the log only as escapes."""
    workspace[f"good{IN_A_NAME}"] = PLUGIN
    workspace[f"bad{IN_A_NAME}\udcff"] = BAD  # a byte that is not UTF-8
    for command in ("plan", "check", "status"):
        done = hotload(command)
        assert not dangerous(done.out + done.err), command
        assert "good[red]$x[@click=app.quit]" in done.out, command
    workspace[f"good{IN_A_NAME}"] = f"{PLUGIN}    ctx.log.error({HARM!r})\n"
    hotload.serve()
    for command in ("logs", "status", "plan"):
        done = hotload(command)
        assert not dangerous(done.out + done.err), command
        assert done.out.count("\\x1b") >= 2, command


def test_a_line_of_a_megabyte_is_a_line(workspace: Workspace, hotload: Hotload) -> None:
    """A message of a megabyte is printed, at least its beginning."""
    workspace["bad"] = "def register(ctx):\n    raise ValueError('x' * 1_000_000)\n"
    done = hotload("check")
    assert done.code == 1
    assert "bad: register: ValueError: xxx" in done.err
