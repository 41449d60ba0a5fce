"""Names in annotations that only type checkers import."""

import sys
from collections.abc import Callable

import pytest

from hotload_tui import Config
from tests.conftest import Running, Workspace

# Before 3.14, annotations are evaluated at once without this import.
LATE = "" if sys.version_info >= (3, 14) else "from __future__ import annotations\n"
PLUGINS = {
    "register": "def register(ctx: Unknown, *, loud: Unknown = None): ctx.hook('p', lambda: 1)",
    "thread": """
def poll(stop: Unknown): stop.wait()
def register(ctx):
    ctx.thread(poll)
    ctx.hook('p', lambda: 1)
""",
    "typed": """
from hotload_tui import HookPoint
@HookPoint
def p() -> Unknown: ...
def one() -> Unknown: return 1
def register(ctx): ctx.hook(p, one)
""",
    "marked": """
import pluggy
from hotload_tui.integrations.pluggy import register_marked
@pluggy.HookimplMarker('app')
def p() -> Unknown: return 1
def register(ctx): register_marked(ctx, globals(), 'app')
""",
}


@pytest.mark.parametrize("source", PLUGINS.values(), ids=PLUGINS)
def test_a_name_that_only_type_checkers_know_is_no_fault(
    workspace: Workspace, run: Callable[[Config], Running], source: str
) -> None:
    """A name in an annotation that only type checkers know is no fault."""
    workspace["greet"] = LATE + source
    running = run(workspace.config())
    assert running.status("greet").fault is None
    assert running.host.call("p") == [1]
