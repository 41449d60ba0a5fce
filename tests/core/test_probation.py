"""A version whose handlers fail too often soon after its swap is rolled back to the previous one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hotload_tui import Config
from hotload_tui.core.errors import ConfigError
from hotload_tui.core.events import PluginHeld
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]

FAILING = """
def answer(bad=True):
    return 1 / 0 if bad else "new"

def register(ctx):
    ctx.hook("greet", answer)
"""


def serve(workspace: Workspace, run: Run, *sources: str, **settings: object) -> Running:
    """Start a manager, and make one source after the other live."""
    workspace["greet"] = sources[0]
    running = run(workspace.config(**settings))
    for source in sources[1:]:
        workspace["greet"] = source
        running.manager.load_plugin(workspace.plugins / "greet")
    return running


def test_a_failing_version_goes_back_and_says_why(workspace: Workspace, run: Run) -> None:
    """The third failing call rolls the plugin back: it is HELD with the handler's fault, until an edit."""
    running = serve(workspace, run, answering("old"), FAILING, max_error_rate=0.5)
    for _ in range(3):
        running.host.call("greet")
    assert running.wait_for(lambda: bool(running.told(PluginHeld, "greet")))
    assert running.host.call("greet") == ["old"]
    status = running.status("greet")
    assert str(status.state) == "HELD"
    assert status.held.startswith("rolled back to generation 1: 3 of 3 calls of generation 2 failed within ")
    assert [cause.type for cause in running.fault("greet").causes][:1] == ["ZeroDivisionError"]
    workspace["greet"] = answering("mended")
    running.manager.load_plugin(workspace.plugins / "greet")
    assert running.host.call("greet") == ["mended"]


def test_it_is_held_after_a_new_start_too(workspace: Workspace, run: Run) -> None:
    """A version that was rolled back stays back in a new host, with the reason."""
    running = serve(workspace, run, answering("old"), FAILING, max_error_rate=0.5)
    for _ in range(3):
        running.host.call("greet")
    assert running.wait_for(lambda: bool(running.told(PluginHeld, "greet")))
    running.manager.stop()
    again = run(workspace.config(max_error_rate=0.5))
    assert again.host.call("greet") == ["old"]
    assert str(again.status("greet").state) == "HELD"
    assert again.fault("greet").type == "ErrorRate"


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        pytest.param({}, [True] * 20, id="off by default"),
        pytest.param({"max_error_rate": 0.5}, [True] * 2, id="two faults are too few"),
        pytest.param({"max_error_rate": 0.5}, [False, True] * 10, id="not more than the rate"),
        pytest.param({"max_error_rate": 0.5, "probation": 1e-9}, [True] * 20, id="later than the probation"),
    ],
)
def test_other_versions_stay_live(
    workspace: Workspace, run: Run, settings: dict[str, object], calls: list[bool]
) -> None:
    """There is no rollback if it is disabled, probation is over, or faults are few or below the rate."""
    running = serve(workspace, run, answering("old"), FAILING, **settings)
    for bad in calls:
        running.host.call("greet", bad)
    running.manager.rebuild("greet")  # a rollback under way would come first
    assert running.status("greet").generation == 3
    assert str(running.status("greet").state) == "ok"


def test_without_an_earlier_version_it_stays_live_and_says_so_once(workspace: Workspace, run: Run) -> None:
    """Without a previous version, a failing version stays live and the log says so once."""
    running = serve(workspace, run, FAILING, max_error_rate=0.0)
    for _ in range(10):
        running.host.call("greet")
    assert running.wait_for(lambda: "there is no version before it" in running.said())
    assert running.said().count("there is no version before it") == 1
    assert running.host.call("greet", False) == ["new"]


def test_a_rate_that_is_no_share_is_refused() -> None:
    """A rate that is not between 0 and 1 is refused with its key."""
    with pytest.raises(ConfigError, match=r"max_error_rate = 50\.0: must be a share from 0 to 1"):
        Config(max_error_rate=50.0)
