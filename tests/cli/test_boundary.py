import importlib.metadata
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hotload_tui.cli import commands, look
from tests.cli.command import Hotload, has_ended
from tests.conftest import Workspace
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
GREET = "def register(ctx):\n    ctx.hook('greet', lambda name='you': f'Hello, {name}')\n"
WAITS = "import os, signal\nprint('pid', os.getpid())\nsignal.pause()\ndef register(ctx): ...\n"


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``hotload status`` raise an unexpected exception."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(look, "scanned", fail)


@pytest.mark.usefixtures("defect")
def test_a_defect_is_one_line(hotload: Hotload) -> None:
    """An unexpected exception is one line that says how to report it, without a traceback."""
    assert hotload("status") == (
        1,
        "",
        (
            "hotload: unexpected ZeroDivisionError: oops. This is a defect of hotload;"
            " run the same with HOTLOAD_DEBUG=1 and report the traceback, please\n"
        ),
    )


@pytest.mark.usefixtures("defect")
def test_a_defect_shows_its_traceback_on_request(hotload: Hotload) -> None:
    """With ``HOTLOAD_DEBUG=1`` the exception is not caught."""
    with pytest.raises(ZeroDivisionError, match="oops"):
        hotload("status", HOTLOAD_DEBUG="1")


@pytest.mark.parametrize("command", [["status"], ["check"], ["run"], ["call", "greet"], ["new", "x"]])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = = 1\n", "hotload.toml: line 1, column 5: not valid TOML: Invalid value\n"),
        ("debounce_tme = 1\n", 'hotload.toml: debounce_tme: unknown key; did you mean "debounce_time"?\n'),
        (
            '[plugins.greet]\npriority = "high"\n',
            (
                "hotload.toml: plugins.greet.priority: expected a whole number, got text in quotes;"
                " such as: priority = 10\n"
            ),
        ),
    ],
)
def test_a_wrong_configuration_ends_every_command(
    workspace: Workspace, hotload: Hotload, command: list[str], text: str, said: str
) -> None:
    """Every command reports a mistake in hotload.toml with code 2, before it does anything."""
    workspace["greet"] = GREET
    (workspace.root / "hotload.toml").write_text(text)
    assert hotload(*command) == (2, "", said)
    assert not workspace.compiled.exists()


def test_a_named_configuration_must_exist(hotload: Hotload) -> None:
    """``--config`` with a missing file is wrong usage."""
    done = hotload("--config", "nope.toml", "status")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("nope.toml: there is no such file")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["statsu"], "No such command 'statsu'. Did you mean 'status'?"),
        (["status", "--jsno"], "--json"),
        (["call"], "Missing argument 'POINT'"),
        (["--host", "me", "status"], "'me' is not a valid integer"),
    ],
)
def test_wrong_usage_is_refused_with_a_hint(hotload: Hotload, arguments: list[str], said: str) -> None:
    """Wrong usage is refused with code 2 and a hint."""
    done = hotload(*arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "--help" in done.err


def test_a_reader_that_leaves_is_no_error(workspace: Workspace, hotload: Hotload) -> None:
    """A command whose reader ends early prints no error and keeps its exit code."""
    workspace["broken"] = "def register(ctx):\n    1 / 0\n"
    for command, code in (("status --json", 0), ("status", 0), ("check --json", 1)):
        done = hotload.shell(f'"$HOTLOAD" {command} 2>err | true; echo ${{PIPESTATUS[0]}}; cat err')
        assert done.out.splitlines()[0] == str(code)
        assert "Traceback" not in done.out
        assert "Broken" not in done.out


def test_a_full_disk_is_reported(workspace: Workspace, hotload: Hotload) -> None:
    """Output that cannot be written is an error."""
    workspace["greet"] = GREET
    done = hotload.shell('"$HOTLOAD" status --json > /dev/full')
    assert done.code == 1
    assert "standard output cannot be written: No space left on device" in done.err


def test_closed_streams_are_no_error(workspace: Workspace, hotload: Hotload) -> None:
    """With standard output or error closed, a command still works."""
    workspace["greet"] = GREET
    assert hotload.shell('"$HOTLOAD" check --json 2>&-').out.startswith(
        '{"plugins":[{"name":"greet","state":"ok"'
    )
    assert hotload.shell('"$HOTLOAD" check >&-').code == 0
    assert hotload.shell('"$HOTLOAD" call greet >&- 2>&-').code == 0


def test_what_check_started_ends_with_it(workspace: Workspace, hotload: Hotload) -> None:
    """A process that check started ends with it, even if check is killed."""
    (workspace.root / "hotload.toml").write_text("load_timeout = 1000\n")
    workspace["waits"] = WAITS
    check = hotload.start("check")
    child = int(check.err.wait_for("pid ").split()[1])
    check.process.kill()
    until(lambda: has_ended(child))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_is_quiet(workspace: Workspace, hotload: Hotload, number: signal.Signals) -> None:
    """A signal ends a command with code 130, without output, and ends its child process."""
    workspace["waits"] = WAITS
    check = hotload.start("check")
    child = int(check.err.wait_for("pid ").split()[1])
    check.process.send_signal(number)
    code = check.wait()
    assert code == 130, check.err.end()
    assert check.out.end() == []
    assert "".join(line for line in check.err.end() if "pid" not in line) == ""
    until(lambda: has_ended(child))


def test_the_module_is_the_command(workspace: Workspace) -> None:
    """``python -m hotload_tui`` runs the hotload command."""
    done = subprocess.run(
        [sys.executable, "-m", "hotload_tui", "--version"],
        cwd=workspace.root,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == f"hotload {importlib.metadata.version('hotload-tui')}\n"


def test_help_is_quick_and_complete(workspace: Workspace) -> None:
    """``--help`` lists the commands and exit codes, and loads neither console nor highlighter."""
    out, loaded = modules_of(workspace, "--help")
    for command in ["build", "call", "check", "clean", "disable", "enable", "new", "reload", "run", "status"]:
        assert f"\n  {command} " in out
    assert "130 interrupted" in out
    assert "\n  trial " not in out
    assert loaded.isdisjoint({"textual", "rich", "pygments"})


def test_help_fits_80_columns_and_cuts_nothing(hotload: Hotload) -> None:
    """``--help`` groups all commands, and no line is cut or too long at 80 columns."""
    out = hotload("--help", COLUMNS="80").out
    assert "..." not in out.partition("\n")[2], "the first line has it by right"
    assert max(map(len, out.splitlines())) <= 80
    for title in ("Keep plugins running", "Look", "Change plugins", "Change a running host"):
        assert f"\n{title}:\n" in out
    assert "Other commands" not in out, "_GROUPS in cli/commands.py names each command"
    assert "the origin\n            of each setting" in out


def test_every_command_is_in_the_documentation() -> None:
    """The page that lists the commands has each of them, with its arguments and the options of its own."""
    page = (ROOT / "docs" / "quickstart.md").read_text("utf-8")
    (listed,) = re.findall(r"^## Commands\n\n```\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    with click.Context(commands.hotload) as context:
        found = [
            commands.hotload.get_command(context, name) for name in commands.hotload.list_commands(context)
        ]
    for command in found:
        assert command is not None
        if not command.hidden:
            lines = re.findall(rf"(?:^hotload |· ){command.name}\b[^·\n]*", listed, re.MULTILINE)
            assert lines, f"{command.name} is not listed"
            for option in command.params:
                if isinstance(option, click.Option) and option.expose_value:  # not one of the shared options
                    assert any(spelling in "".join(lines) for spelling in option.opts), (lines, option.opts)


def test_a_command_waits_for_no_other(workspace: Workspace) -> None:
    """``status`` does not load the modules of other commands or of a host."""
    _, loaded = modules_of(workspace, "status")
    assert "hotload_tui.cli.look" in loaded
    others = {"change", "running", "trial"}
    assert loaded.isdisjoint({"hotload_tui.remote.server", *(f"hotload_tui.cli.{name}" for name in others)})


def modules_of(workspace: Workspace, *words: str) -> tuple[str, set[str]]:
    """Run a command in its own process, and return its output and the modules that it loads."""
    program = (
        f"import sys\nfrom hotload_tui.cli import main\nsys.argv = ['hotload', *{words!r}]\n"
        "try:\n    main()\nfinally:\n    print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=workspace.root,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout, set(done.stderr.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_completion(hotload: Hotload, shell: str) -> None:
    """The line in the quickstart for each shell makes a script that completes hotload."""
    quickstart = (ROOT / "docs" / "quickstart.md").read_text()
    assert f"_HOTLOAD_COMPLETE={shell}_source hotload" in quickstart
    done = hotload(_HOTLOAD_COMPLETE=f"{shell}_source")
    assert (done.code, f"_HOTLOAD_COMPLETE={shell}_complete" in done.out) == (0, True), done.err
    words = {"COMP_WORDS": "hotload sta", "COMP_CWORD": "sta" if shell == "fish" else "1"}
    assert "status" in hotload(_HOTLOAD_COMPLETE=f"{shell}_complete", **words).out
