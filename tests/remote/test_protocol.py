import inspect

import pytest

from hotload_tui.core import errors
from hotload_tui.core.errors import CompileError, HotloadError, PluginError
from hotload_tui.remote import wire as frames
from hotload_tui.remote import wire as protocol

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, HotloadError) and not issubclass(kind, PluginError)
]


def crossed(error: HotloadError) -> HotloadError:
    """Send an error over the wire."""
    failure = frames.encode(protocol.failure_of(error))
    return protocol.error_of(frames.decode(failure, protocol.Failed))


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_of_the_same_class_on_the_other_side(kind: type[HotloadError]) -> None:
    """An error has the same class and text on the other side."""
    error = crossed(kind("no such thing"))
    assert (type(error), str(error)) == (kind, "no such thing")


def test_an_error_of_a_plugin_keeps_its_place() -> None:
    """Plugin, file and line of an error are transmitted with it."""
    error = crossed(CompileError("greet", "line 3: invalid syntax", file="plugin.py", line=3))
    assert isinstance(error, CompileError)
    assert (error.plugin, error.file, error.line, str(error)) == (
        "greet",
        "plugin.py",
        3,
        "line 3: invalid syntax",
    )


def test_an_error_of_an_unknown_class_keeps_its_text() -> None:
    """An error of an unknown class arrives as a HotloadError with its text."""
    error = protocol.error_of(protocol.Failed("MeltdownError", "too hot"))
    assert (type(error), str(error)) == (HotloadError, "too hot")
