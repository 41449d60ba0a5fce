from collections.abc import Callable

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from hotload_tui import Config, prometheus_text
from tests.conftest import Running, Workspace, answering
from tests.kept import VIEW, old_plugin

RAISES = "def answer():\n    raise ValueError\n\n\ndef register(ctx):\n    ctx.hook('greet', answer)\n"


def families(text: str) -> dict[str, Metric]:
    """Return the metrics that Prometheus' own parser finds, by name; a name must not come twice."""
    found = list(text_string_to_metric_families(text))
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found}


def values(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of one metric by the values of their labels; no labels may come twice."""
    samples = families(text)[name].samples
    found = {tuple(sample.labels.values()): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def test_the_live_version_of_each_plugin_is_shown(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """The metrics show each plugin's state, live generation and digest, and the durations of its load."""
    workspace["greet"] = answering(1)
    workspace["_quiet"] = answering(1)
    running = run(workspace.config())
    status, text = running.status("greet"), prometheus_text(running.manager)
    assert values(text, "hotload_plugin_info") == {("greet", "ok", status.digest): 1, ("quiet", "off", ""): 1}
    assert values(text, "hotload_generation") == {("greet",): 1, ("quiet",): 0}
    assert values(text, "hotload_load_seconds") == {("greet",): status.load_seconds}
    assert values(text, "hotload_compile_seconds") == {("greet",): status.compile_seconds}
    assert values(text, "hotload_loaded_timestamp_seconds") == {("greet",): status.loaded_at}


def test_reloads_and_failures_are_counted(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """Each swap counts as a reload, and each version that does not go live as a failure."""
    workspace["greet"] = answering(1)
    running = run(workspace.config())
    assert values(prometheus_text(running.manager), "hotload_reloads") == {("greet",): 0}
    assert values(prometheus_text(running.manager), "hotload_failures") == {("greet",): 0}
    for source in (answering(2), "def register(ctx:\n", "1 / 0\ndef register(ctx): ...\n", answering(3)):
        workspace["greet"] = source
        running.manager.rebuild("greet")
    text = prometheus_text(running.manager)
    assert values(text, "hotload_reloads") == {("greet",): 2}
    assert values(text, "hotload_failures") == {("greet",): 2}
    assert families(text)["hotload_reloads"].type == families(text)["hotload_failures"].type == "counter"


def test_calls_and_faults_are_counted_through_reloads(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """The calls of a hook point, and the faults of each plugin at it, are those of all its versions."""
    workspace["greet"] = RAISES
    workspace["other"] = answering(1)
    running = run(workspace.config())
    running.host.call("greet")
    workspace["greet"] = RAISES + "\n"
    running.manager.rebuild("greet")
    running.host.call("greet")
    running.manager.invoke("greet")
    running.host.call("nobody answers")
    text = prometheus_text(running.manager)
    assert values(text, "hotload_hook_calls") == {("greet",): 3, ("nobody answers",): 1}
    assert values(text, "hotload_hook_faults") == {("greet", "greet"): 3, ("greet", "other"): 0}


def test_old_versions_in_memory_are_counted(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """A version that something still holds after a reload is counted until it is freed."""
    workspace["greet"] = VIEW
    running = run(workspace.config())

    def old() -> dict[tuple[str, ...], float]:
        return values(prometheus_text(running.manager), "hotload_old_versions")

    assert old() == {("greet",): 0}
    with old_plugin(workspace, running):
        assert running.wait_for(lambda: old() == {("greet",): 1})
    assert running.wait_for(lambda: old() == {("greet",): 0})


def test_every_name_is_escaped(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """A hook point or plugin with quotes, backslashes, line ends or other characters is read as it is."""
    points = ['a "quoted" point', "back\\slash", "two\nlines", "ünï{code}="]
    workspace["a {plugin}"] = answering(1)
    running = run(workspace.config())
    for point in points:
        running.host.call(point)
    text = prometheus_text(running.manager)
    assert {*values(text, "hotload_hook_calls")} == {(point,) for point in [*points, "greet"]}
    assert values(text, "hotload_generation") == {("a {plugin}",): 1}


def test_each_metric_has_a_help_text(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """Each metric has a text that says what it means, a type, and hotload's name before its own."""
    running = run(workspace.config())
    found = families(prometheus_text(running.manager))
    assert all(name.startswith("hotload_") and each.documentation for name, each in found.items())
    assert {each.type for each in found.values()} == {"counter", "gauge"}
