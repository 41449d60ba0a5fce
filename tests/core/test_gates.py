import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core.events import PluginLoaded
from tests.conftest import Running, Workspace, answering
from tests.waiting import until

Run = Callable[[Config], Running]


def expects(value: object) -> str:
    """Return a test that the plugin's answer is ``value``."""
    return f"from plugin import answer\n\n\ndef test_answer():\n    assert answer() == {value!r}\n"


def gated(workspace: Workspace, **settings: object) -> Config:
    """Return a configuration in which tests are the gate."""
    return workspace.config(gate="tests", **settings)


class Held:
    """A test that does not end before the test allows it."""

    def __init__(self, workspace: Workspace) -> None:
        self._began = workspace.root / "began"
        self._go = workspace.root / "go"

    def source(self, value: object) -> str:
        """Return a test that shows that it runs, waits, and then expects ``value``."""
        return (
            f"import os, pathlib, time\nfrom plugin import answer\n\n\ndef test_answer():\n"
            f"    with open({str(self._began)!r}, 'a') as file:\n        file.write(f'{{os.getpid()}}\\n')\n"
            f"    while not os.path.exists({str(self._go)!r}):\n        time.sleep(0.01)\n"
            f"    assert answer() == {value!r}\n"
        )

    def wait(self, times: int = 1) -> int:
        """Wait until the test runs for the n-th time, and return the process."""
        pids = until(lambda: self._pids() if len(self._pids()) >= times else [])
        return int(pids[times - 1])

    def _pids(self) -> list[str]:
        return self._began.read_text().splitlines() if self._began.exists() else []

    def go(self) -> None:
        """Let the test end."""
        self._go.touch()


@pytest.fixture
def held(workspace: Workspace) -> Held:
    """Return a test that waits."""
    return Held(workspace)


def is_gone(process: int) -> bool:
    """Return whether a process is gone or a zombie."""
    try:
        return Path("/proc", str(process), "stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_version_goes_live_when_its_tests_pass(workspace: Workspace, run: Run) -> None:
    """With the gate, a start and a rebuild return after the tests, and the tested version is live."""
    workspace["greet"] = answering(1)
    workspace["greet/test_it.py"] = expects(1)
    running = run(gated(workspace))
    assert running.host.call("greet") == [1]
    workspace["greet/test_it.py"] = expects(2)
    workspace["greet"] = answering(2)
    (status,) = running.manager.rebuild("greet")
    assert (status.state, status.generation) == (PluginState.OK, 2)
    assert running.host.call("greet") == [2]
    assert status.compile_seconds > 0
    assert "greet: its tests passed in" in running.said()


def test_a_failing_test_holds_a_version_back(workspace: Workspace, run: Run) -> None:
    """A failing test is the plugin's fault, at the line of the assert; the last good version stays live."""
    workspace["greet"] = answering(1)
    workspace["greet/test_it.py"] = expects(1)
    running = run(gated(workspace))
    workspace["greet"] = answering(2)
    (status,) = running.manager.rebuild("greet")
    assert (status.state, status.generation) == (PluginState.STALE, 1)
    fault = running.fault("greet")
    assert (fault.phase, fault.type) == ("test", "AssertionError")
    assert fault.message.startswith("test_it.py::test_answer: assert 2 == 1")
    assert fault.place is not None
    assert (Path(fault.place.file).name, fault.place.line) == ("test_it.py", 5)
    assert running.host.call("greet") == [1]
    assert [entry.fault for entry in running.manager.history("greet")][-1] == fault


def test_a_version_that_never_passed_is_not_live(workspace: Workspace, run: Run) -> None:
    """A new plugin whose tests fail is FAIL, and none of its code has run in the host."""
    mark = workspace.root / "mark"
    workspace["greet"] = f"def register(ctx):\n    open({str(mark)!r}, 'w')\n"
    workspace["greet/test_it.py"] = "def test_it():\n    assert False\n"
    running = run(gated(workspace))
    assert running.status("greet").state is PluginState.FAIL
    assert not mark.exists()


def test_the_fix_of_a_test_or_of_the_plugin_releases_the_version(workspace: Workspace, run: Run) -> None:
    """A save that makes the tests pass goes live, whether the test or the plugin was wrong."""
    workspace["greet"] = answering(1)
    workspace["greet/test_it.py"] = expects(1)
    running = run(gated(workspace, enable_watch=True))
    workspace["greet"] = answering(2)
    assert running.wait_for(lambda: running.status("greet").state is PluginState.STALE)
    workspace["greet/test_it.py"] = expects(2)
    assert running.wait_for(lambda: running.status("greet").state is PluginState.OK)
    assert running.host.call("greet") == [2]
    workspace["greet"] = answering(3)
    assert running.wait_for(lambda: running.status("greet").state is PluginState.STALE)
    workspace["greet"] = answering(2)
    assert running.wait_for(lambda: running.status("greet").state is PluginState.OK)


def test_an_edit_of_a_test_beside_the_plugin_runs_it_again(workspace: Workspace, run: Run) -> None:
    """If the failing test is in ``test_<name>.py`` beside the plugin, its fix releases the version, too."""
    workspace["greet"] = answering(1)
    beside = workspace.plugins / "test_greet.py"
    beside.write_text("def test_it():\n    assert False\n")
    running = run(gated(workspace, enable_watch=True))
    assert running.status("greet").state is PluginState.FAIL
    beside.write_text("def test_it():\n    assert True\n")
    assert running.wait_for(lambda: running.status("greet").state is PluginState.OK)


def test_the_tests_of_one_plugin_delay_no_other(workspace: Workspace, run: Run, held: Held) -> None:
    """While the tests of a plugin run, it is shown as being built, and other plugins reload."""
    workspace["greet"] = answering(1)
    workspace["other"] = answering(1, "other")
    running = run(gated(workspace, enable_watch=True))
    workspace["greet/test_it.py"] = held.source(1)
    held.wait()
    status = running.status("greet")
    assert (status.state, status.generation, bool(status.waits)) == (PluginState.BUILD, 1, True)
    assert status.digest != status.source_digest
    workspace["other"] = answering(2, "other")
    assert running.wait_for(lambda: running.host.call("other") == [2])
    assert running.status("greet").state is PluginState.BUILD
    held.go()
    assert running.wait_for(lambda: running.status("greet").generation == 2)
    assert (running.status("greet").state, running.status("greet").waits) == (PluginState.OK, "")


def test_a_newer_save_ends_the_run(workspace: Workspace, run: Run, held: Held) -> None:
    """A save during the tests ends them, and only the newest version is tested and goes live."""
    workspace["greet"] = answering(1)
    running = run(gated(workspace, enable_watch=True))
    workspace["greet/test_it.py"] = held.source(2)
    first = held.wait()
    workspace["greet"] = answering(2)
    held.wait(2)
    assert until(lambda: is_gone(first))
    held.go()
    assert running.wait_for(lambda: running.status("greet").state is PluginState.OK)
    assert running.host.call("greet") == [2]
    assert [event.generation for event in running.told(PluginLoaded)] == [1, 2]


def test_the_previous_source_ends_the_run(workspace: Workspace, run: Run, held: Held) -> None:
    """If the source is the live version again during the tests, they end, and nothing is loaded."""
    workspace["greet"] = answering(1)
    running = run(gated(workspace, enable_watch=True))
    workspace["greet/test_it.py"] = held.source(1)
    process = held.wait()
    (workspace.plugins / "greet" / "test_it.py").unlink()
    assert running.wait_for(lambda: running.status("greet").state is PluginState.OK)
    assert until(lambda: is_gone(process))
    assert running.status("greet").generation == 1


def test_the_end_of_the_manager_ends_the_tests(workspace: Workspace, run: Run, held: Held) -> None:
    """When the manager stops, the tests end with it."""
    workspace["greet"] = answering(1)
    running = run(gated(workspace, enable_watch=True))
    workspace["greet/test_it.py"] = held.source(1)
    process = held.wait()
    running.manager.stop()
    assert until(lambda: is_gone(process))


def test_a_version_that_was_live_is_not_tested_again(workspace: Workspace, run: Run) -> None:
    """A start loads the version that was live last at once; its tests have passed before."""
    ran = workspace.root / "ran"
    workspace["greet"] = answering(1)
    workspace["greet/test_it.py"] = f"def test_it():\n    open({str(ran)!r}, 'w').close()\n"
    run(gated(workspace)).manager.stop()
    assert ran.exists()
    ran.unlink()
    running = run(gated(workspace))
    assert running.host.call("greet") == [1]
    assert not ran.exists()


def test_a_failed_version_stays_out_after_a_restart(workspace: Workspace, run: Run) -> None:
    """The artifact of a version whose tests failed is there, and yet no later host loads it."""
    workspace["greet"] = answering(1)
    workspace["greet/test_it.py"] = expects(1)
    running = run(gated(workspace))
    workspace["greet"] = answering(2)
    running.manager.rebuild("greet")
    running.manager.stop()
    for _ in range(2):
        running = run(gated(workspace))
        assert running.host.call("greet") == [1]
        assert running.status("greet").state is PluginState.STALE
        assert running.fault("greet").phase == "test"
        running.manager.stop()


def test_plugins_that_change_together_pass_the_gate_together(workspace: Workspace, run: Run) -> None:
    """A plugin that requires a gated one goes live with it, and not before."""
    workspace["base"] = "VALUE = 1\ndef register(ctx): ...\n"
    workspace["greet"] = "REQUIRES = ['base']\ndef register(ctx):\n    ctx.hook('greet', lambda: 1)\n"
    config = workspace.config(enable_watch=True, plugins={"base": {"gate": "tests"}})
    running = run(config)
    running.manager.pause()
    workspace["base"] = "VALUE = 2\ndef register(ctx): ...\n"
    workspace["base/test_it.py"] = "from plugin import VALUE\ndef test_it():\n    assert VALUE == 2\n"
    workspace["greet"] = (
        "REQUIRES = ['base']\ndef register(ctx):\n    ctx.hook('greet', lambda: ctx.plugin('base').VALUE)\n"
    )
    assert running.wait_for(lambda: len(running.manager.snapshot().watcher.waiting) == 2)
    swaps = running.host.swaps
    running.manager.resume()
    assert running.wait_for(lambda: running.status("greet").generation == 2)
    assert running.host.call("greet") == [2]
    assert running.host.swaps == swaps + 1
    assert [running.status(name).state for name in ("base", "greet")] == [PluginState.OK] * 2


def test_a_version_that_is_replaced_stays_during_the_tests(workspace: Workspace, run: Run) -> None:
    """With ``reload = "replace"``, the live version leaves only when the tests of the next passed."""
    left = workspace.root / "left"
    workspace["greet"] = (
        f"RELOAD = 'replace'\ndef answer():\n    return 1\n"
        f"def register(ctx):\n    ctx.hook('greet', answer)\n"
        f"    ctx.on_unload(lambda: open({str(left)!r}, 'w').close())\n"
    )
    workspace["greet/test_it.py"] = expects(1)
    running = run(gated(workspace))
    workspace["greet/test_it.py"] = expects(2)
    (status,) = running.manager.rebuild("greet")
    assert status.state is PluginState.STALE
    assert running.host.call("greet") == [1]
    assert not left.exists()
    workspace["greet/test_it.py"] = expects(1) + "\n"
    (status,) = running.manager.rebuild("greet")
    assert (status.state, left.exists()) == (PluginState.OK, True)


def test_a_single_file_is_tested_by_the_file_beside_it(workspace: Workspace, run: Run) -> None:
    """A plugin that is a single file passes the tests in ``test_<name>.py``, which import it by its name."""
    (workspace.plugins / "greet.py").write_text(answering(1))
    test = workspace.plugins / "test_greet.py"
    test.write_text(expects(2).replace("from plugin", "from greet"))
    running = run(gated(workspace, files=True))
    assert running.status("greet").state is PluginState.FAIL
    test.write_text(test.read_text().replace("== 2", "== 1"))
    (status,) = running.manager.rebuild("greet")
    assert status.state is PluginState.OK


def test_a_plan_names_the_gate(workspace: Workspace, run: Run) -> None:
    """The plan of a version that is to be tested says so; the plan runs no test."""
    workspace["greet"] = answering(1)
    workspace["greet/test_it.py"] = expects(1)
    running = run(gated(workspace))
    workspace["greet"] = answering(2)
    (plan,) = running.manager.plan("greet").plugins
    assert (plan.action, "it goes live when its tests or checks have passed" in plan.notes) == (
        "reload",
        True,
    )
    assert running.status("greet").state is PluginState.OK


def test_a_rebuild_of_all_loads_only_what_changed(workspace: Workspace, run: Run) -> None:
    """A rebuild of all that finds a changed plugin with a gate reloads this plugin, and no other."""
    workspace["greet"] = answering(1)
    workspace["greet/test_it.py"] = expects(1)
    workspace["other"] = answering(1, "other")
    running = run(gated(workspace))
    workspace["greet/test_it.py"] = expects(1) + "\n"
    running.manager.rebuild()
    assert [running.status(name).generation for name in ("greet", "other")] == [2, 1]


def test_a_gate_is_set_per_plugin(workspace: Workspace, run: Run) -> None:
    """A plugin's own ``gate`` precedes that of the project."""
    for name in ("greet", "other"):
        workspace[name] = answering(name, name)
        workspace[f"{name}/test_it.py"] = "def test_it():\n    assert False\n"
    running = run(gated(workspace, plugins={"other": {"gate": []}}))
    assert running.status("greet").state is PluginState.FAIL
    assert running.host.call("other") == ["other"]


def test_a_rebuild_runs_failed_tests_again(workspace: Workspace, run: Run) -> None:
    """A test that failed for a reason outside the plugin runs again when the user asks for it."""
    reason = workspace.root / "reason"
    workspace["greet"] = answering(1)
    workspace["greet/test_it.py"] = f"import os\ndef test_it():\n    assert os.path.exists({str(reason)!r})\n"
    running = run(gated(workspace))
    assert running.status("greet").state is PluginState.FAIL
    reason.touch()
    (status,) = running.manager.rebuild("greet")
    assert status.state is PluginState.OK


def test_tests_that_load_the_plugin_with_the_projects_gate_run_once(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manager in a test of the gate runs no tests itself."""
    assert "HOTLOAD_TEST_REPORT" not in os.environ
    monkeypatch.chdir(workspace.root)
    (workspace.root / "hotload.toml").write_text('gate = "tests"\n')
    workspace["greet"] = answering(1)
    workspace["greet/test_it.py"] = (
        "from hotload_tui import HookHost, HotloadManager, load_config\n\n\ndef test_it(tmp_path):\n"
        "    host = HookHost()\n"
        "    with HotloadManager(host, load_config(compiled_dir=tmp_path)):\n"
        "        assert host.call('greet') == [1]\n"
    )
    running = run(gated(workspace))
    assert running.status("greet").fault is None
    assert running.host.call("greet") == [1]


FAULTY = answering(1) + "import os\n"


def linter(workspace: Workspace) -> str:
    """Return a check that finds each line ``import os``."""
    script = workspace.root / "linter.py"
    script.write_text(
        "import pathlib, sys\n"
        "found = [(file, number) for file in pathlib.Path(sys.argv[1]).rglob('*.py')\n"
        "         for number, line in enumerate(file.read_text().splitlines(), 1) if line == 'import os']\n"
        "print(*(f'{file}:{number}:8: F401 os is unused' for file, number in found), sep='\\n')\n"
        "sys.exit(bool(found))\n"
    )
    return f"{sys.executable} {script}"


def test_a_check_warns_beside_the_load(workspace: Workspace, run: Run) -> None:
    """The findings of a check are warnings in the log, with file and line; the version is live meanwhile."""
    workspace["greet"] = FAULTY
    running = run(workspace.config(checks=[linter(workspace)]))
    assert running.host.call("greet") == [1]
    assert running.wait_for(lambda: "os is unused" in running.said())
    (line,) = (line for line in running.manager.log() if "os is unused" in line.text)
    assert (line.level, line.plugin) == ("warning", "greet")
    assert "plugin.py:7: " in line.text


def test_a_check_as_a_gate_holds_a_version_back(workspace: Workspace, run: Run) -> None:
    """With ``gate = "checks"``, a version with a finding does not go live; one without does."""
    workspace["greet"] = answering(1)
    running = run(workspace.config(gate=["tests", "checks"], checks=[linter(workspace)]))
    assert running.host.call("greet") == [1]
    workspace["greet"] = FAULTY
    (status,) = running.manager.rebuild("greet")
    assert (status.state, status.generation) == (PluginState.STALE, 1)
    assert running.fault("greet").type == "CheckError"
    workspace["greet"] = answering(1) + "import os as system\n"
    (status,) = running.manager.rebuild("greet")
    assert status.state is PluginState.OK


def test_checks_are_set_per_plugin(workspace: Workspace, run: Run) -> None:
    """A plugin's own ``checks`` precede those of the project."""
    workspace["greet"] = workspace["other"] = FAULTY
    running = run(
        workspace.config(gate="checks", checks=[linter(workspace)], plugins={"other": {"checks": []}})
    )
    assert running.status("greet").state is PluginState.FAIL
    assert running.status("other").state is PluginState.OK
