from __future__ import annotations

import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hotload_tui.core.source import SourceRule, read_source
from tests.conftest import Workspace
from tests.core.watch.conftest import Heard, Limited, Watch
from tests.core.watch.savings import ONE, SAVINGS, TWO, Saving

IGNORED = SourceRule(["*.log", "data/"])


def prepare(workspace: Workspace, names: list[str]) -> None:
    """Make a plugin for each way of saving, and what the tools need."""
    (workspace.root / "one.txt").write_text(ONE)
    (workspace.root / "two.txt").write_text(TWO)
    with tarfile.open(workspace.root / "two.tar", "w") as archive:
        archive.add(workspace.root / "two.txt", "plugin.py")
    for name in names:
        workspace[name] = ONE
        workspace[f"{name}/sub/util.py"] = "A = 1\n"


def is_in_step(heard: Heard, name: str, saving: Saving, plugin: Path) -> bool:
    """Tell whether what was told last of a plugin is what is on disk, and what it should be."""
    if saving.content is None:
        return name in heard.names and name not in heard.served
    if name not in heard.names:
        return saving.fewest == 0
    served = heard.served.get(name)
    return (
        served is not None
        and heard.content(name) == saving.content
        and served.digest == read_source(name, plugin, IGNORED).digest
    )


def times(heard: Heard, name: str) -> int:
    """Return how often a change of a plugin was told."""
    return sum(change.name == name for change in heard.changes)


def report(heard: Heard, savings: dict[str, Saving], root: Path) -> dict[str, str]:
    """Return what is wrong, by way of saving."""
    wrong = {}
    for name, saving in savings.items():
        told = times(heard, name)
        if not is_in_step(heard, name, saving, root / name):
            wrong[name] = f"told {told} times, and not what is on disk"
        elif not saving.fewest <= told <= saving.most:
            wrong[name] = f"told {told} times, not {saving.fewest} to {saving.most}"
    return wrong


def save(workspace: Workspace, heard: Heard, savings: dict[str, Saving]) -> dict[str, str]:
    """Save in all ways, wait until what was told is what is on disk, and then until all is quiet."""
    with ThreadPoolExecutor(4) as pool:
        for act in [pool.submit(each.act, workspace.plugins / name) for name, each in savings.items()]:
            act.result()
    heard.wait_for(
        lambda: all(is_in_step(heard, name, each, workspace.plugins / name) for name, each in savings.items())
    )
    heard.wait_for_quiet()
    return report(heard, savings, workspace.plugins)


def perform(workspace: Workspace, heard: Heard, savings: dict[str, Saving]) -> dict[str, str]:
    """Save in all ways; what was told too often is saved once more, alone, in a new plugin.

    A tool that a busy machine stops between two of its steps is told twice, and rightly.
    """
    wrong = save(workspace, heard, savings)
    for name in [name for name in wrong if times(heard, name) > savings[name].most]:
        del wrong[name]
        again = f"{name}, again"
        prepare(workspace, [again])
        heard.wait_for(
            lambda again=again: (
                again in heard.served  # type: ignore[misc]
                and len(heard.served[again].files) == 2
            )
        )
        heard.wait_for_quiet()
        heard.changes = [change for change in heard.changes if change.name != again]
        heard.names.discard(again)
        wrong |= save(workspace, heard, {again: savings[name]})
    return wrong


def test_every_way_of_saving_is_told(workspace: Workspace, watch: Watch, notifier: str) -> None:
    """What is told last is what is on disk, no more often than it must be, and noise is not told."""
    prepare(workspace, list(SAVINGS))
    heard = watch(sweep_interval=0.5, ignore=["*.log", "data/"], notifier=notifier)
    assert perform(workspace, heard, SAVINGS) == {}
    assert len(SAVINGS) >= 60


def test_every_way_of_saving_is_found_where_watching_is_refused(workspace: Workspace, watch: Watch) -> None:
    """Where the system's limit is reached, the sweep finds the same."""
    prepare(workspace, list(SAVINGS))
    heard = watch(sweep_interval=60.0, ignore=["*.log", "data/"], make_notifier=Limited)
    assert perform(workspace, heard, SAVINGS) == {}
