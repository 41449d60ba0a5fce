"""With ``reload = "replace"`` alone, what a plugin registers in a library leaves with each version."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from hotload_tui import Config
from hotload_tui.core.model import PluginState
from tests.conftest import Running, Workspace
from tests.counts import ALL_CASES
from tests.waiting import until

Run = Callable[[Config], Running]

pytestmark = pytest.mark.unfrozen  # the libraries hold what plugins register

# The program's module `program`; the plugin; an expression for the registered versions, all of them.
CASES = {
    "prometheus_client": (
        "import prometheus_client\nprometheus_client.Counter('of_program', 'program')",
        "from prometheus_client import Counter\nHITS = Counter('hits', 'v1')",
        "[m.documentation for m in prometheus_client.REGISTRY.collect() if m.name == 'hits']",
    ),
    "prometheus_client, with labels": (
        "import prometheus_client",
        """
from prometheus_client import Gauge
def set_up():
    gauge = Gauge('g', 'v1', ['x'])
    gauge.labels('1').set(1)
    return lambda: gauge
get = set_up()
""",
        "[m.documentation for m in prometheus_client.REGISTRY.collect() if m.name == 'g']",
    ),
    "click": (
        "import click\n@click.group()\ndef tool(): ...\n@tool.command()\ndef own(): ...",
        """
import click
from program import tool
@tool.command(help='v1')
def hello(): ...
bye = click.Command('bye', help='v1')
tool.add_command(bye)
""",
        "sorted({c.help for n, c in tool.commands.items() if n != 'own'})",
    ),
    "APScheduler": (
        """
from apscheduler.schedulers.background import BackgroundScheduler
jobs = BackgroundScheduler()
jobs.add_job(print, 'interval', hours=1, id='own')
jobs.start(paused=True)
""",
        """
from program import jobs
def tick(): ...
job = jobs.add_job(tick, 'interval', hours=1, id='tick', name='v1')
""",
        "[job.name for job in jobs.get_jobs() if job.id != 'own']",
    ),
    "blinker": (
        "import blinker\nsaved = blinker.signal('saved-replace')",
        """
from program import saved
def heard(sender, to): to.append('v1')
saved.connect(heard, weak=False)
""",
        "(lambda to: saved.send('x', to=to) and None or to)([])",
    ),
    "Flask": (
        "import flask\napp = flask.Flask('program')",
        """
import flask
from program import app
bp = flask.Blueprint('pages', 'v1')
app.register_blueprint(bp)
""",
        "[bp.import_name for bp in app.blueprints.values()]",
    ),
}


def test_a_job_for_a_function_of_others_is_there_once(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that only ``on_unload`` can remove is gone after a failed first load, and right after a save."""
    program = ModuleType("program")
    monkeypatch.setitem(sys.modules, "program", program)
    exec(CASES["APScheduler"][0], vars(program))
    source = (
        "from program import jobs\nRELOAD = 'replace'\ndef register(ctx):\n"
        "    jobs.add_job(print, id='kept', name='v1')\n    ctx.on_unload(lambda: jobs.remove_job('kept'))\n"
    )

    def save(version: str, end: str = "") -> None:
        workspace["greet"] = source.replace("v1", version) + end
        running.manager.scan_and_load_all()

    def check(state: PluginState, *versions: str) -> None:
        names = [job.name for job in program.jobs.get_jobs() if job.id != "own"]
        assert (names, running.status("greet").state) == ([*versions], state), running.said()

    running = run(workspace.config())
    save("v1", "    raise ValueError\n")
    check(PluginState.FAIL)
    for version in ("v2", "v3"):
        save(version)
        check(PluginState.OK, version)
        save("broken", "    raise ValueError\n")
        check(PluginState.STALE, version)
    running.manager.disable("greet")
    until(lambda: len(program.jobs.get_jobs()) == 1, running.said)
    running.manager.stop()
    program.jobs.shutdown()


@pytest.mark.parametrize(
    "kind", CASES if ALL_CASES else ["prometheus_client, with labels", "APScheduler", "Flask"]
)
def test_a_replaced_version_takes_its_registrations_with_it(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Through edit, break, fix, disable and enable, the library has the right version exactly once."""
    setup, plugin, expression = CASES[kind]
    program = ModuleType("program")
    monkeypatch.setitem(sys.modules, "program", program)
    exec(setup, vars(program))

    def registered() -> object:
        return eval(expression, vars(program))

    def check(version: str, state: PluginState) -> None:
        assert (registered(), running.status("greet").state) == ([version], state), running.said()

    def save(version: str, end: str = "") -> None:
        text = plugin.replace("v1", version)
        workspace["greet"] = f"RELOAD = 'replace'\n{text}\ndef register(ctx):\n    pass\n{end}"
        running.manager.scan_and_load_all()

    running = run(workspace.config())
    save("v1")
    check("v1", PluginState.OK)
    save("v2")
    check("v2", PluginState.OK)
    for end in ("raise ValueError\n", "    raise ValueError\n"):
        save("v3", end)
        check("v2", PluginState.STALE)
    save("v4")
    check("v4", PluginState.OK)
    running.manager.disable("greet")
    until(lambda: registered() == [], running.said)
    running.manager.enable("greet")
    check("v4", PluginState.OK)
    running.manager.stop()
    if kind == "APScheduler":
        program.jobs.shutdown()
