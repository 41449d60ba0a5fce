"""The figures of a host in the text format of Prometheus, version 0.0.4, which every scraper reads.

A counter counts since the start of the host, over all versions of a plugin. The times are those of the live
version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, TypeAlias

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.model import HookPointStatus, Snapshot

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The value of the header ``Content-Type`` with which a program sends the text."""

_Kind: TypeAlias = Literal["counter", "gauge"]
_Sample: TypeAlias = tuple[dict[str, str], float]
"""The labels and the value."""

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def prometheus_text(manager: ManagerApi) -> str:
    """Return the figures of a manager's plugins and hook points as Prometheus scrapes them.

    The manager may be in this process, or in another one (``RemoteManager``). Raises ``NoHostError`` if that
    process does not answer.
    """
    snapshot = manager.snapshot()
    return "".join(f"{line}\n" for line in (*_of_plugins(snapshot), *_of_points(snapshot.points)))


def _of_plugins(snapshot: Snapshot) -> Iterator[str]:
    plugins = snapshot.plugins
    info = [{"plugin": each.name, "state": each.state.value, "digest": each.digest} for each in plugins]
    meaning = "1 for each plugin, with its state and the digest of its live version."
    yield from _metric("plugin_info", "gauge", meaning, ((labels, 1) for labels in info))
    meaning = "Number of the live generation; 0 if none is live."
    yield from _by_plugin("generation", "gauge", meaning, {each.name: each.generation for each in plugins})
    meaning = "Swaps that replaced a live version."
    yield from _by_plugin("reloads_total", "counter", meaning, {each.name: each.reloads for each in plugins})
    zeros = dict.fromkeys((each.name for each in plugins), 0)
    meaning = "Versions that did not go live, because a step of their build or load failed."
    yield from _by_plugin("failures_total", "counter", meaning, {**zeros, **snapshot.failures})
    meaning = "Retired versions that are still in memory."
    yield from _by_plugin("old_versions", "gauge", meaning, {**zeros, **snapshot.old_versions})
    live = [each for each in plugins if each.generation]
    meaning = "Duration of the build of the live version; 0 if its artifact existed already."
    yield from _by_plugin(
        "compile_seconds", "gauge", meaning, {each.name: each.compile_seconds for each in live}
    )
    meaning = "Duration of executing the modules of the live version and its registration."
    yield from _by_plugin("load_seconds", "gauge", meaning, {each.name: each.load_seconds for each in live})
    meaning = "When the live version went live, in seconds since the epoch."
    loaded = {each.name: each.loaded_at for each in live}
    yield from _by_plugin("loaded_timestamp_seconds", "gauge", meaning, loaded)


def _of_points(points: Iterable[HookPointStatus]) -> Iterator[str]:
    calls, faults = [], []
    for each in points:
        calls.append(({"point": each.point}, each.calls))
        numbers = dict.fromkeys((handler.plugin for handler in each.handlers), 0) | each.plugin_faults
        faults += [({"point": each.point, "plugin": name}, number) for name, number in numbers.items()]
    yield from _metric("hook_calls_total", "counter", "Calls of a hook point.", calls)
    meaning = "Faults of a plugin's handlers at a hook point."
    yield from _metric("hook_faults_total", "counter", meaning, faults)


def _by_plugin(name: str, kind: _Kind, meaning: str, values: Mapping[str, float]) -> Iterator[str]:
    return _metric(name, kind, meaning, (({"plugin": plugin}, value) for plugin, value in values.items()))


def _metric(name: str, kind: _Kind, meaning: str, samples: Iterable[_Sample]) -> Iterator[str]:
    yield f"# HELP hotload_{name} {meaning}"
    yield f"# TYPE hotload_{name} {kind}"
    for labels, value in samples:
        written = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items())
        yield f"hotload_{name}{{{written}}} {value}"
