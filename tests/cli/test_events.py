"""``docs/events.md`` lists exactly the fields of the event types, and those of the events of a real run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TypeAlias

import msgspec
import pytest

from hotload_tui.core.events import AnyEvent
from tests.cli.command import Hotload
from tests.conftest import Workspace, answering

PAGE = Path(__file__).parent.parent.parent / "docs" / "events.md"
ROW = re.compile(r"^\| (?:\*\*(\w+)\*\* )?\| (?:`(\w+)` )?\| (?:(.+?) )?\|", re.MULTILINE)
SHARED = re.compile(r"Each of these has `(\w+)`")
PLAIN = {"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)}
Page: TypeAlias = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def page() -> Page:
    """Return the documented fields and their types, by the name of the event or record."""
    found: Page = {}
    for section in PAGE.read_text().partition("## Logging")[0].split("\n### ")[1:]:
        shared = dict.fromkeys(SHARED.findall(section), "")
        for title, field, written in ROW.findall(section):
            if title:
                found[title] = dict(shared)
            elif field:
                found[list(found)[-1]][field] = written
    return found


def _written(schema: dict[str, object]) -> str:
    """Return a field's JSON Schema in the words of the page."""
    match schema:
        case {"$ref": str(place)}:
            return place.rpartition("/")[2]
        case {"enum": list(values)}:
            return " or ".join(f"`{value}`" if value else "empty" for value in values)
        case {"prefixItems": list(items)}:
            return f"[{', '.join(map(_written, items))}]"
        case {"type": "array", "items": dict(item)}:
            return f"list of {_written(item)}"
        case {"anyOf": list(members)}:
            return " or ".join(map(_written, members))
        case {"type": str(plain)}:
            return plain
        case _:
            raise AssertionError(schema)


def test_the_page_lists_each_field_of_each_event(page: Page) -> None:
    """The page lists exactly the events, records and fields, with their types."""
    types: Page = {}
    for name, definition in msgspec.json.schema(AnyEvent)["$defs"].items():
        of_all = {"kind", "at"} if "kind" in definition["properties"] else set()
        fields = {name: _written(field) for name, field in definition["properties"].items()}
        types[name] = {field: fields[field] for field in fields if field not in of_all}
        for shared in [field for field, written in page.get(name, {}).items() if not written]:
            assert types[name][shared] in {"string", "integer"}
            types[name][shared] = ""
    assert page == types


def test_the_events_of_a_run_are_those_of_the_page(
    workspace: Workspace, hotload: Hotload, page: Page
) -> None:
    """Each line of ``run --json`` has exactly the documented fields, with values of their types."""
    workspace["greet"] = f"import os\nos.environ['X'] = 'y'\n{answering('hello')}"
    workspace["broken"] = "def register(ctx):\n    1 / 0\n"
    host = hotload.host("--json")
    workspace["greet"] = answering("bye")
    host.out.wait_for('"PluginRetired"')
    assert hotload("disable", "greet").code == 0
    host.process.terminate()
    assert host.wait() == 0
    kinds = set()
    for line in host.out.end():
        event = json.loads(line)
        kind, at = event.pop("kind"), event.pop("at")
        kinds.add(kind)
        assert isinstance(at, float)
        _check(event, kind, page)
    of_plugins = "Discovered", "Compiled", "Loaded", "Failed", "Retired", "Disabled"
    assert {"LogWritten", "WatcherChanged", *(f"Plugin{each}" for each in of_plugins)} <= kinds


def _check(value: object, written: str, page: Page) -> None:
    """Compare a value with its documented type."""
    if written in page:
        assert isinstance(value, dict)
        assert set(value) == set(page[written]), written
        for field, of_field in page[written].items():
            _check(value[field], of_field, page)
    elif written.startswith("list of "):
        assert isinstance(value, list)
        for item in value:
            _check(item, written.removeprefix("list of "), page)
    elif written.startswith("["):
        assert isinstance(value, list)
        for item, of_item in zip(value, written.strip("[]").split(", "), strict=True):
            _check(item, of_item, page)
    elif written in PLAIN:
        assert type(value) in PLAIN[written], (value, written)
    elif written:
        assert f"`{value}`" in written or (not value and "empty" in written), (value, written)
