from __future__ import annotations

from pathlib import Path

import pytest

from hotload_tui.tui.clipboard import clipboard_commands


@pytest.mark.parametrize(
    ("environment", "installed", "first_words"),
    [
        ({}, (), []),
        ({"TMUX": "/s"}, ("tmux",), ["tmux"]),
        ({"TMUX": "/s"}, (), []),
        ({"DISPLAY": ":0"}, ("xclip", "xsel"), ["xclip"]),
        ({"DISPLAY": ":0"}, ("xsel",), ["xsel"]),
        ({}, ("xclip",), []),
        (
            {"WAYLAND_DISPLAY": "w", "DISPLAY": ":0", "TMUX": "/s"},
            ("wl-copy", "xclip", "tmux"),
            ["tmux", "wl-copy"],
        ),
        ({}, ("pbcopy",), ["pbcopy"]),
    ],
)
def test_a_copy_goes_to_tmux_and_to_the_tool_of_the_platform(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    installed: tuple[str, ...],
    first_words: list[str],
) -> None:
    """A copy uses the tools that are installed and whose display or tmux session exists."""
    for name in installed:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [command[0] for command in clipboard_commands(environment)] == first_words
