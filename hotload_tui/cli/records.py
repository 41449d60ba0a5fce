"""The shapes of ``--json``; others build on them."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from hotload_tui.core.plugin import Fault, HookPlace, Invocation, PluginStatus


class FaultRecord(Struct, frozen=True):
    """A fault with the place that a user wants to see first."""

    phase: str
    type: str
    message: str
    file: str
    """Empty when no place is known."""
    line: int
    """0 when unknown."""


class CallFaultRecord(FaultRecord, frozen=True):
    """A fault in a call, with the plugin whose handler raised."""

    plugin: str


class PluginRecord(Struct, frozen=True):
    """One plugin."""

    name: str
    state: str
    digest: str
    generation: int
    compile_ms: float
    load_ms: float
    points: tuple[HookPlace, ...]
    fault: FaultRecord | None


class PluginsRecord(Struct, frozen=True):
    """What ``status --json`` and ``check --json`` print."""

    plugins: tuple[PluginRecord, ...]


class CallRecord(Struct, frozen=True):
    """What ``call --json`` prints."""

    values: tuple[object, ...]
    faults: tuple[CallFaultRecord, ...]
    seconds: tuple[float, ...]


def plugins_record(statuses: Iterable[PluginStatus]) -> PluginsRecord:
    """Describe plugins."""
    return PluginsRecord(tuple(_plugin_record(status) for status in statuses))


def call_record(invocation: Invocation) -> CallRecord:
    """Describe a call."""
    faults = tuple(
        CallFaultRecord(fault.phase, fault.type, fault.message, *_place(fault), fault.plugin)
        for fault in invocation.faults
    )
    return CallRecord(invocation.values, faults, invocation.seconds)


def _plugin_record(status: PluginStatus) -> PluginRecord:
    fault = status.fault
    return PluginRecord(
        name=status.name,
        state=status.state.value,
        digest=status.digest,
        generation=status.generation,
        compile_ms=round(status.compile_seconds * 1000, 3),
        load_ms=round(status.load_seconds * 1000, 3),
        points=status.points,
        fault=None if fault is None else FaultRecord(fault.phase, fault.type, fault.message, *_place(fault)),
    )


def _place(fault: Fault) -> tuple[str, int]:
    place = fault.place
    return ("", 0) if place is None else (place.file, place.line)
