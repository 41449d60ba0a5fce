import json
import sys
from pathlib import Path

import pytest

from hotload_tui import Fault, prometheus_text
from hotload_tui.core.compiled import Record
from hotload_tui.core.interpreter import CALLS, works
from hotload_tui.core.source import read_source
from tests.cli.command import Hotload
from tests.conftest import Workspace
from tests.kept import VIEW, old_plugin

GREET = """
print("noise")

def greet(name, *more):
    return " ".join(["Hello,", str(name), *map(repr, more)])

def register(ctx):
    ctx.hook("greet", greet, priority=10)
    ctx.hook("count", lambda *numbers: sum(numbers))
    ctx.hook("echo", lambda value: value)
"""
BAD = "def bad(value):\n    return 1 / value\n\ndef register(ctx):\n    ctx.hook('echo', bad)\n"
FIELDS = ["name", "state", "digest", "generation", "compile_ms", "load_ms", "points", "fault"]
FIELDS += ["held", "suspected", "waits", "old", "memory", "left", "outdated", "reload", "gap_ms"]


def test_the_figures_of_a_running_host_are_printed_for_prometheus(
    workspace: Workspace, hotload: Hotload
) -> None:
    """``status --prometheus`` prints the text that the host itself gives, and nothing else."""
    workspace["greet"] = GREET
    workspace["bad"] = BAD
    running = hotload.serve()
    running.host.call("echo", 0)
    done = hotload("status", "--prometheus")
    assert (done.code, done.out, done.err) == (0, prometheus_text(running.manager), "")
    assert 'hotload_hook_faults_total{point="echo",plugin="bad"} 1\n' in done.out


def test_figures_for_prometheus_need_a_host(workspace: Workspace, hotload: Hotload) -> None:
    """Without a host there are no figures: exit code 3, and no output that a scraper would take for zeros."""
    workspace["greet"] = GREET
    done = hotload("status", "--prometheus")
    assert (done.code, done.out) == (3, "")
    assert "needs a host" in done.err


@pytest.mark.parametrize("argument", ["greet", "--json"])
def test_figures_for_prometheus_are_those_of_the_whole_host(
    workspace: Workspace, hotload: Hotload, argument: str
) -> None:
    """``status --prometheus`` refuses a plugin's name and another format."""
    workspace["greet"] = GREET
    done = hotload("status", "--prometheus", argument)
    assert (done.code, done.out) == (2, "")


def test_without_a_host_the_state_comes_from_the_disk(workspace: Workspace, hotload: Hotload) -> None:
    """Without a host, ``status`` lists the plugins and whether they are off, and runs none of their code."""
    workspace["greet"] = "open('ran', 'w').close()\ndef register(ctx): ...\n"
    workspace["_quiet"] = GREET
    done = hotload("status", "--json")
    assert done.code == 0
    assert {plugin["name"]: plugin["state"] for plugin in done.plugins} == {
        "greet": "new",
        "quiet": "off",
    }
    assert [list(plugin) for plugin in done.plugins] == [FIELDS] * 2
    assert "no host runs on plugins/" in done.err
    assert not (workspace.root / "ran").exists()


def test_the_state_of_a_running_host_is_shown(workspace: Workspace, hotload: Hotload) -> None:
    """With a host, ``status --json`` shows the generation, hook points and times of each plugin."""
    workspace["greet"] = GREET
    hotload.serve()
    (plugin,) = hotload("status", "--json").plugins
    assert list(plugin) == FIELDS
    assert (plugin["name"], plugin["state"], plugin["generation"], plugin["fault"]) == (
        "greet",
        "ok",
        1,
        None,
    )
    assert {"point": "greet", "priority": 10} in json.loads(json.dumps(plugin["points"]))
    assert len(str(plugin["digest"])) == 64
    assert isinstance(plugin["load_ms"], float)
    assert plugin["load_ms"] > 0


def test_the_table_says_the_same(workspace: Workspace, hotload: Hotload) -> None:
    """``status`` prints a table with a sign and a word for each state, and a line for each fault."""
    workspace["greet"] = GREET
    workspace["broken"] = "def register(ctx):\n    1 / 0\n"
    hotload.serve()
    done = hotload("status")
    heading, broken, greet = done.out.splitlines()
    assert heading.split() == ["STATE", "PLUGIN", "GEN", "DIGEST", "COMPILE", "LOAD", "HOOKS"]
    assert broken.startswith("! FAIL  broken")
    assert greet.startswith("+ ok    greet   1    ")
    assert greet.endswith("greet:10 count:100 echo:100") or "greet:10" in greet
    place = "plugins/broken/plugin.py:2"
    assert f"broken: register: ZeroDivisionError: division by zero ({place})" in done.err


@pytest.mark.skipif(not works(CALLS), reason="each call is reported only with this trick")
@pytest.mark.unfrozen
def test_a_version_that_is_still_called(workspace: Workspace, hotload: Hotload) -> None:
    """``status`` shows an OLD plugin with the caller and the holder, and what is left of earlier versions."""
    workspace["greet"] = VIEW
    running = hotload.serve()
    with old_plugin(workspace, running):
        running.wait_for(lambda: running.status("greet").state == "OLD")
        done = hotload("status")
        assert done.code == 0
        assert done.out.splitlines()[1].startswith("~ OLD  greet   2 ")
        assert "greet: generation 1 is still called" in done.err
        assert "in route_page; kept by " in done.err
        assert "greet: an earlier version is in memory: alive: greet.plugin.view, held by " in done.err
        (plugin,) = hotload("status", "--json").plugins
    assert plugin["state"] == "OLD"
    assert str(plugin["old"]).startswith("generation 1 is still called")
    assert str(plugin["memory"]).startswith("alive: greet.plugin.view, held by ")
    assert plugin["left"] == ["reference greet.plugin.view in tests.kept.routes[0].view (plugin.py:5)"]


def test_why_a_plugin_is_held_or_waits(workspace: Workspace, hotload: Hotload) -> None:
    """``status`` shows why a plugin is HELD and how that ends, and what a plugin waits for."""
    workspace["greet"] = GREET
    workspace["needs"] = "REQUIRES = ['gone']\ndef register(ctx): ...\n"
    running = hotload.serve()
    running.manager.rebuild("greet", force=True)
    running.manager.rollback("greet", 1)
    done = hotload("status")
    held = "greet: held: rolled back to generation 1; 'hotload release greet' lets it follow its source"
    assert held in done.err.splitlines()
    assert "needs: waits: it requires gone, but there is no plugin gone" in done.err
    greet, needs = hotload("status", "--json").plugins
    assert (greet["held"], greet["waits"], needs["held"]) == ("rolled back to generation 1", "", "")
    assert str(needs["waits"]).startswith("it requires gone")


def test_a_version_that_killed_its_host_asks_for_a_fix(workspace: Workspace, hotload: Hotload) -> None:
    """For a plugin that is HELD because of a fault, all texts do not only advise to load it."""
    workspace["greet"] = GREET
    digest = read_source("greet", workspace.plugins / "greet").digest
    workspace.compiled.mkdir()
    fault = Fault("hook", "greet", "ProcessDied", "it ended the process", 0.0)
    Record(workspace.compiled).bar("greet", digest, fault)
    running = hotload.serve()
    advice = "it ended the process; save a fix, or 'hotload release greet' loads its source as it is"
    (line,) = [line.text for line in running.manager.log() if line.text.startswith("held")]
    assert line == f"held, no version is live: {advice}"
    assert f"greet: held: {advice}" in hotload("status").err.splitlines()
    assert f"held: {advice}" in hotload("plan").out


def test_why_a_version_is_suspected(workspace: Workspace, hotload: Hotload) -> None:
    """``status`` shows how an earlier host of this version ended, until the version is loaded again."""
    workspace["greet"] = GREET
    digest = read_source("greet", workspace.plugins / "greet").digest
    workspace.compiled.mkdir()
    Record(workspace.compiled).suspect("greet", digest, "the host died of signal 9")
    running = hotload.serve()
    done = hotload("status")
    assert done.out.splitlines()[1].startswith("+ ok   greet ")
    assert "greet: suspected: the host died of signal 9" in done.err.splitlines()
    (plugin,) = hotload("status", "--json").plugins
    assert plugin["suspected"] == "the host died of signal 9"
    running.manager.rebuild("greet", force=True)
    assert "suspected" not in hotload("status").err
    assert Record(workspace.compiled).suspicion("greet") == ("", "")


def test_a_new_version_is_not_suspected_of_what_another_one_did(
    workspace: Workspace, hotload: Hotload
) -> None:
    """A suspicion belongs to one version: another version of the plugin ends it."""
    workspace["greet"] = GREET
    workspace.compiled.mkdir()
    Record(workspace.compiled).suspect("greet", "0" * 64, "the host died of signal 9")
    hotload.serve()
    assert "suspected" not in hotload("status").err
    assert Record(workspace.compiled).suspicion("greet") == ("", "")


def test_what_a_version_left(workspace: Workspace, hotload: Hotload) -> None:
    """``status`` shows the thread that an earlier version left, and keeps quiet about freed versions."""
    workspace["greet"] = "def register(ctx): ...\n"
    workspace["leaves"] = (
        "import threading\n\nend = threading.Event()\n\n\ndef register(ctx):\n"
        "    threading.Thread(target=end.wait, name='left', daemon=True).start()\n"
        "    ctx.state['end'] = end\n"
    )
    running = hotload.serve()
    for name in ("greet", "leaves"):
        running.manager.rebuild(name, force=True)
        running.wait_for(lambda: running.status(name).memory != "")  # noqa: B023 - called at once
    done = hotload("status")
    (plugin,) = hotload("status", "leaves", "--json").plugins
    running.manager.detail("leaves")
    live = running.manager.snapshot().plugins[1]
    assert plugin["left"] == list(live.left)
    assert "leaves: an earlier version left thread 'left'" in done.err
    assert "greet:" not in done.err


def test_names_choose_plugins(workspace: Workspace, hotload: Hotload) -> None:
    """``status`` accepts plugin names, and refuses a misspelled one with the nearest name."""
    for name in ("a", "b", "greeter"):
        workspace[name] = GREET
    assert [plugin["name"] for plugin in hotload("status", "b", "a", "b", "--json").plugins] == ["b", "a"]
    done = hotload("status", "greter")
    assert (done.code, done.out) == (3, "")
    assert done.err == 'no plugin "greter"; did you mean "greeter"?\n'


@pytest.mark.parametrize("command", ["status", "plan", "build", "check", "call", "run", "disable", "clean"])
def test_a_missing_folder_is_reported(workspace: Workspace, hotload: Hotload, command: str) -> None:
    """Without a plugin directory, every command says so and how to make one."""
    workspace.plugins.rmdir()
    arguments = {"call": ["greet"], "disable": ["x"], "clean": ["--all"]}.get(command, [])
    done = (hotload.process if command == "run" else hotload)(command, *arguments)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("no plugin directory plugins: create it (mkdir plugins)")
    assert "Traceback" not in done.err


@pytest.mark.parametrize("command", ["build", "check"])
def test_an_empty_folder_is_nothing_to_act_on(workspace: Workspace, hotload: Hotload, command: str) -> None:
    """In an empty folder, ``build`` and ``check`` have nothing to do and exit with 3."""
    assert workspace.plugins.exists()
    done = hotload(command)
    assert (done.code, done.out) == (3, "")
    assert done.err == "no plugins in plugins/; 'hotload new NAME' makes one\n"


def test_options_work_before_and_after_the_command(workspace: Workspace, hotload: Hotload) -> None:
    """``--plugins`` works before and after the command's name, and the last one counts."""
    (workspace.root / "others" / "clock").mkdir(parents=True)
    (workspace.root / "others" / "clock" / "plugin.py").write_text("def register(ctx): ...\n")
    for arguments in (
        ["--plugins", "others", "status", "--json"],
        ["status", "--json", "--plugins", "others"],
        ["--plugins", "nowhere", "status", "--json", "--plugins", "others"],
    ):
        assert [plugin["name"] for plugin in hotload(*arguments).plugins] == ["clock"]


@pytest.mark.parametrize(
    "command",
    [["status"], ["plan"], ["call", "count", "1"], ["logs"], ["reload"], ["disable", "greet"], ["pause"]],
)
def test_a_host_is_reached_though_its_files_are_broken(
    workspace: Workspace, hotload: Hotload, command: list[str]
) -> None:
    """A command reaches the host despite a mistake in hotload.toml and reports it; ``check`` refuses it."""
    workspace["greet"] = GREET
    hotload.serve(enable_watch=True)
    (workspace.root / "hotload.toml").write_text("debounce_time = 'soon'\n")
    done = hotload(*command)
    assert done.code == 0
    assert "hotload.toml" in done.err
    assert "keeps its previous configuration" in done.err
    assert hotload("check").code == 2


def test_without_a_host_broken_files_are_refused(workspace: Workspace, hotload: Hotload) -> None:
    """Without a host, ``status`` refuses a broken hotload.toml."""
    workspace["greet"] = GREET
    (workspace.root / "hotload.toml").write_text("debounce_time = 'soon'\n")
    done = hotload("status")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("hotload.toml")


@pytest.mark.parametrize("with_host", ["with a host", "without"])
def test_a_plan_shows_what_would_be_done(workspace: Workspace, hotload: Hotload, with_host: str) -> None:
    """``plan`` prints each load and its reason, as text or JSON, and exits with 1 if a load would fail."""
    workspace["greet"], workspace["echo"] = GREET, GREET
    if with_host == "with a host":
        hotload.serve()
        hotload("pause")
        workspace["greet"] = GREET.replace("'count'", "'sum'").replace('"count"', '"sum"')
        first, reason = "1 to reload; 1 stays as it is", "its source changed"
    else:
        first, reason = "2 to load", "no version of it is live"
    done = hotload("plan")
    assert (done.code, done.out.splitlines()[0]) == (0, first)
    assert reason in done.out
    (told,) = json.loads(hotload("plan", "greet", "--json").out)["plugins"]
    assert (told["name"], told["generation"], told["compiles"]) == (
        "greet",
        int(with_host == "with a host"),
        ["plugin.py"],
    )
    workspace["greet"] = "def register(ctx)\n"
    done = hotload("plan")
    assert done.code == 1
    assert "! greet: cannot be loaded" in done.out
    assert "SyntaxError: expected ':' (plugins/greet/plugin.py:1)" in done.out
    assert hotload("plan", "gret").err.endswith('no plugin "gret"; did you mean "greet"?\n')


def test_building_runs_nothing(workspace: Workspace, hotload: Hotload) -> None:
    """``build`` makes artifacts without executing plugins, and a second build makes no further ones."""
    workspace["greet"] = "open('ran', 'w').close()\ndef register(ctx): ...\n"
    for _ in range(2):
        assert hotload("build", "--compiled", "out").code == 0
        assert len(list((workspace.root / "out").glob("greet-*"))) == 1
    assert not (workspace.root / "ran").exists()


def test_a_build_that_fails_shows_the_line(workspace: Workspace, hotload: Hotload) -> None:
    """A syntax error is reported with file and line, the other plugin is built, and the exit code is 1."""
    workspace["greet"] = GREET
    workspace["broken"] = "def register(ctx):\n    x = (1 +\n"
    done = hotload("build")
    assert done.code == 1
    assert done.err.splitlines()[:2] == [
        "broken: compile: SyntaxError: '(' was never closed",
        "  plugins/broken/plugin.py:2",
    ]
    assert [path.name.partition("-")[0] for path in workspace.compiled.glob("*.*")] == ["greet"]


@pytest.mark.parametrize(("command", "with_host"), [("status", "with host"), ("plan", ""), ("check", "")])
def test_a_missing_package_is_reported_with_the_install_command(
    workspace: Workspace, hotload: Hotload, command: str, with_host: str
) -> None:
    """Each command that shows a missing package shows the install command with the right Python."""
    workspace["user"] = "import not_installed\ndef register(ctx): ...\n"
    if with_host:
        hotload.serve()
    done = hotload(command)
    assert f"{sys.executable} -m pip install not_installed" in done.out + done.err


@pytest.mark.parametrize("with_host", ["", "with host"])
def test_a_call_prints_a_value_a_line(workspace: Workspace, hotload: Hotload, with_host: str) -> None:
    """``call`` prints only the handlers' values, one per line, with a host and without."""
    workspace["greet"] = GREET
    workspace["twice"] = GREET.replace("Hello", "Hi").replace("10", "20")
    if with_host:
        hotload.serve()
    assert hotload("call", "greet", "Ada").out == "Hello, Ada\nHi, Ada\n"
    assert hotload("call", "count", "1", "2.5", "-4").out == "-0.5\n-0.5\n"
    assert hotload("call", "echo", '{"a": [1, null]}').out == '{"a":[1,null]}\n' * 2
    assert (
        hotload("call", "greet", "[1", "NaN", "01", '"1"').out.splitlines()[0] == "Hello, [1 'NaN' '01' '1'"
    )
    done = hotload("call", "greet", "Ada", "--json")
    assert done.code == 0
    record = json.loads(done.out)
    assert list(record) == ["values", "faults", "seconds"]
    assert (record["values"], record["faults"]) == (["Hello, Ada", "Hi, Ada"], [])
    assert [seconds > 0 for seconds in record["seconds"]] == [True, True]


@pytest.mark.parametrize("with_host", ["", "with host"])
def test_a_call_takes_keyword_arguments(workspace: Workspace, hotload: Hotload, with_host: str) -> None:
    """``NAME=VALUE`` is a keyword argument with a JSON or text value; anything else is positional."""
    workspace["echo"] = "def register(ctx):\n    ctx.hook('echo', lambda *a, **k: [a, k])\n"
    if with_host:
        hotload.serve()
    done = hotload("call", "echo", "1", "times=3", "name=Ada", "empty=", "point=x", "sum=a=b")
    assert json.loads(done.out) == [
        [1], {"times": 3, "name": "Ada", "empty": "", "point": "x", "sum": "a=b"},
    ]  # fmt: skip
    done = hotload("call", "echo", '"a=b"', "x==1", "http://host/?q=1", "1=2", "=")
    assert json.loads(done.out) == [["a=b", "x==1", "http://host/?q=1", "1=2", "="], {}]
    done = hotload("call", "echo", "n=1", "n=2")
    assert (done.code, done.err) == (2, "'n=2': n is given twice\n")


TAKES = """
def greet(name: str, title: str = "Ms") -> str:
    return f"Hello, {title} {name}"

def register(ctx):
    ctx.hook("greet", greet)
"""
WRONG = [
    ([], "missing a required argument: 'name'"),
    (["Ada", "Dr", "x"], "too many positional arguments"),
    (["Ada", "titel=Dr"], "got an unexpected keyword argument 'titel'"),
    (["name=Ada", "Eve"], "multiple values for argument 'name'"),
]


@pytest.mark.parametrize("with_host", ["", "with host"])
def test_a_call_with_wrong_arguments_is_the_callers_error(
    workspace: Workspace, hotload: Hotload, with_host: str
) -> None:
    """``call`` with arguments that do not fit exits with 2, shows the signature and blames no plugin."""
    workspace["greet"] = TAKES
    running = hotload.serve() if with_host else None
    for arguments, reason in WRONG if running else WRONG[:1]:
        done = hotload("call", "greet", *arguments)
        assert (done.code, done.out) == (2, "")
        assert reason in done.err
        assert "greet.greet(name: str, title: str = 'Ms') -> str (plugins/greet/plugin.py:2)" in done.err
    if running:
        assert running.status("greet").fault is None
        assert running.status("greet").state == "ok"


def test_a_handler_that_differs_from_the_others_is_at_fault(workspace: Workspace, hotload: Hotload) -> None:
    """If one handler takes the arguments and another does not, the call runs, and the other has a fault."""
    workspace["greet"] = TAKES
    workspace["odd"] = "def register(ctx):\n    ctx.hook('greet', lambda: 1)\n"
    hotload.serve()
    done = hotload("call", "greet", "Ada")
    assert (done.code, done.out) == (1, "Hello, Ms Ada\n")
    assert "odd: hook: TypeError" in done.err


@pytest.mark.parametrize("bad", ['{"a": 1', "{'a': 1}", "[1, 2,]", '{"a": 1}}', 'value={"a"}', '"a" "b"'])
def test_a_broken_json_argument_is_the_callers_error(
    workspace: Workspace, hotload: Hotload, bad: str
) -> None:
    """Text that looks like JSON and is none is refused with the reason and the way to send text."""
    workspace["greet"] = GREET
    done = hotload("call", "echo", bad)
    assert (done.code, done.out) == (2, "")
    assert f"'{bad.removeprefix('value=')}' is no JSON: " in done.err
    assert "to pass it as text, write it as a JSON text" in done.err


@pytest.mark.parametrize("with_host", ["", "with host"])
def test_a_call_waits_for_coroutine_handlers(hotload: Hotload, with_host: str) -> None:
    """``call`` waits for a coroutine handler, and ``status`` shows no fault."""
    assert hotload("new", "slow", "--template", "async").code == 0
    if with_host:
        hotload.serve()
    assert hotload("call", "slow", "Ada").out == "Hello, Ada!\n"
    assert "!" not in hotload("status").out


@pytest.mark.parametrize("with_host", ["", "with host"])
def test_a_handler_that_raises_is_reported(workspace: Workspace, hotload: Hotload, with_host: str) -> None:
    """If one handler raises, ``call`` exits with 1, shows its place and prints the other handlers' values."""
    workspace["a_bad"] = BAD
    workspace["greet"] = GREET
    if with_host:
        hotload.serve()
    done = hotload("call", "echo", "0")
    assert (done.code, done.out) == (1, "0\n")
    told = [line for line in done.err.splitlines() if line != "noise"]
    assert told == [
        "a_bad: hook: ZeroDivisionError: division by zero",
        "  plugins/a_bad/plugin.py:2, in bad",
        "    2 | return 1 / value",
        "      |        ^^^^^^^^^",
    ]
    if with_host:  # it stays live, and the table shows the fault
        assert hotload("status").out.splitlines()[1].startswith("+ ok !  a_bad ")
    (fault,) = json.loads(hotload("call", "echo", "0", "--json").out)["faults"]
    assert (fault["phase"], fault["type"], fault["plugin"], fault["line"]) == (
        "hook",
        "ZeroDivisionError",
        "a_bad",
        2,
    )


def test_a_call_without_a_handler(workspace: Workspace, hotload: Hotload) -> None:
    """A call of a point without handlers exits with 3 and suggests the nearest point."""
    workspace["greet"] = GREET
    done = hotload("call", "gret", "--json")
    assert done.code == 3
    assert json.loads(done.out) == {"values": [], "faults": [], "seconds": []}
    assert 'no plugin answers at hook point "gret"; did you mean "greet"?' in done.err


def test_a_call_without_a_handler_because_of_a_fault(workspace: Workspace, hotload: Hotload) -> None:
    """If the plugin that would answer has failed, ``call`` reports its fault."""
    workspace["greet"] = "def register(ctx):\n    1 / 0\n"
    done = hotload("call", "greet")
    assert (done.code, done.out) == (1, "")
    assert (
        "greet failed: register: ZeroDivisionError: division by zero (plugins/greet/plugin.py:2)" in done.err
    )


def test_a_misspelled_option_is_no_argument(workspace: Workspace, hotload: Hotload) -> None:
    """``call`` refuses an unknown option, unless it follows two dashes."""
    workspace["greet"] = GREET
    done = hotload("call", "greet", "--jsn")
    assert (done.code, done.out) == (2, "")
    assert "Did you mean '--json'?" in done.err
    assert hotload("call", "greet", "--", "--jsn").out == "Hello, --jsn\n"


def test_a_call_ends_though_a_thread_does_not(workspace: Workspace, hotload: Hotload) -> None:
    """A thread that a plugin leaves running does not keep the command from ending."""
    thread = "threading.Thread(target=threading.Event().wait, daemon=False)"
    workspace["greet"] = f"import threading\n{thread}.start()\n{GREET}"
    done = hotload.process("call", "greet", "Ada")
    assert done == (0, "Hello, Ada\n", "noise\na thread did not end in time; leaving without it\n")


def test_two_hosts_of_one_project(workspace: Workspace, hotload: Hotload) -> None:
    """The second host names the first; a command without ``--host`` lists both."""
    workspace["greet"] = GREET
    first, second = hotload.host(), hotload.host()
    second.err.wait_for(f"another host ({first.process.pid}) uses plugins, too")
    pids = sorted([first.process.pid, second.process.pid])
    done = hotload("call", "greet", "Ada")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"2 hosts run on plugins/; choose one with --host PID: {pids[0]}, {pids[1]}\n"
    for arguments in (["--host", str(pids[0]), "status"], ["status", "--host", str(pids[0])]):
        assert f"host {pids[0]} on plugins/" in hotload(*arguments).err
    done = hotload("status", "--host", "1")
    assert (done.code, done.err) == (
        3,
        f"no host 1 runs on plugins/; running are {pids[0]}, {pids[1]}\n",
    )


def test_a_killed_host_is_no_host(workspace: Workspace, hotload: Hotload) -> None:
    """After kill -9 of the host, the next command works without it."""
    workspace["greet"] = GREET
    hotload.host().kill()
    done = hotload("call", "greet", "Ada")
    assert done[:2] == (0, "Hello, Ada\n")
    assert "no host runs" in hotload("status").err


def test_host_is_for_commands_that_ask_one(hotload: Hotload) -> None:
    """``--host`` before a command that never uses a host is refused, not ignored."""
    for command in ("check", "build", "run"):
        done = hotload("--host", "1", command)
        assert (done.code, done.out) == (2, "")
        assert f"'{command}' works in a separate process" in done.err


def test_an_entry_for_no_plugin_is_warned_about(workspace: Workspace, hotload: Hotload) -> None:
    """A table for an unknown plugin in hotload.toml causes a warning in each command."""
    workspace["greeter"] = GREET
    Path(workspace.root, "hotload.toml").write_text("[plugins.greter]\npriority = 1\n")
    warning = 'warning: [plugins.greter] has no plugin directory of that name; did you mean "greeter"?'
    for arguments in (["status"], ["build"], ["check"]):
        assert hotload(*arguments).err.count(warning) == 1


def test_status_shows_the_fault_of_a_retired_generation(workspace: Workspace, hotload: Hotload) -> None:
    """A failed ``on_unload`` is in ``status`` and ``--json``, with the generation that it belongs to."""
    workspace["greet"] = "def register(ctx): ctx.on_unload(lambda: 1 / 0)\n"
    running = hotload.serve()
    workspace["greet"] = GREET
    running.manager.rebuild()
    assert running.wait_for(lambda: running.status("greet").fault is not None)
    done = hotload("status")
    assert "+ ok !" in done.out
    assert "greet: unload of generation 1: ZeroDivisionError: division by zero (" in done.err
    (plugin,) = hotload("status", "--json").plugins
    fault = plugin["fault"]
    assert isinstance(fault, dict)
    assert (plugin["state"], plugin["generation"]) == ("ok", 2)
    assert (fault["phase"], fault["generation"]) == ("unload", 1)


def test_status_shows_the_call_that_failed(workspace: Workspace, hotload: Hotload) -> None:
    """A handler's fault is shown with the hook point and the arguments of the call."""
    workspace["bad"] = BAD
    running = hotload.serve()
    running.host.call("echo", 0)
    assert "called as echo(0)" in hotload("status").err
    (plugin,) = hotload("status", "--json").plugins
    fault = plugin["fault"]
    assert isinstance(fault, dict)
    assert (fault["point"], fault["arguments"]) == ("echo", ["0"])
