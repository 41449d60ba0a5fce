"""With ``forget``, what plugins register in libraries goes with them; without, it is named."""

import functools
import sys
from collections.abc import Callable
from operator import attrgetter
from types import ModuleType

import blinker
import loguru
import pytest
import sqlalchemy
from sqlalchemy.pool import Pool

from tests.conftest import Workspace, answering
from tests.core.conftest import retired
from tests.core.test_containers import Base, Run, host
from tests.counts import ALL_CASES

__all__ = ["host"]  # a fixture

pytestmark = pytest.mark.unfrozen  # the libraries hold what plugins register


@functools.singledispatch
def shown(_: object) -> str:
    """Show anything; plugins register functions for their types."""
    return "object"


# Libraries that keep what a plugin registers: the plugin's code, and the registrations in a new program.
LIBRARIES: dict[str, tuple[str, Callable[[], object]]] = {
    "blinker": (
        "import blinker\ndef heard(sender): ...\nblinker.signal('hotload-test').connect(heard, weak=False)",
        lambda: len(blinker.signal("hotload-test").receivers),
    ),
    "singledispatch": (
        (
            "class Own: ...\n@host.shown.register\ndef shown_as_int(x: int): return 'int'\n"
            "@host.shown.register(Own)\ndef shown_as_own(x): return 'own'\nhost.shown(1), host.shown(Own())"
        ),
        lambda: (shown(1), len(shown.registry)),
    ),
    "SQLAlchemy": (
        (
            "from sqlalchemy import event\nfrom sqlalchemy.pool import Pool\n"
            "def connected(connection, record): ...\nevent.listen(Pool, 'connect', connected)"
        ),
        lambda: len(attrgetter("dispatch.connect._clslevel")(Pool).get(Pool, ())),
    ),
    "SQLAlchemy, one engine": (
        "from sqlalchemy import event\ndef began(connection): ...\nevent.listen(host.engine, 'begin', began)",
        lambda: len([*attrgetter("engine.dispatch.begin")(sys.modules["host_of_the_test"])]),
    ),
    "loguru": (
        "from loguru import logger\ndef sink(message): ...\nlogger.add(sink)",
        lambda: len(attrgetter("_core.handlers")(loguru.logger)),
    ),
    "subclasses": ("class Sub(host.Base): ...", lambda: (len(Base.kinds), len(Base.by_name))),
}
TRIED = [*LIBRARIES] if ALL_CASES else ["blinker", "SQLAlchemy, one engine", "subclasses"]


@pytest.fixture
def libraries(host: ModuleType) -> ModuleType:
    """Return the host's module with objects of the libraries."""
    vars(host).update(shown=shown, engine=sqlalchemy.create_engine("sqlite://"))
    return host


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize("kind", TRIED)
def test_registrations_in_libraries_are_forgotten(workspace: Workspace, run: Run, kind: str) -> None:
    """With ``forget``, each reload leaves the registrations of the live version only, and all is freed."""
    setup, count = LIBRARIES[kind]
    before = count()
    source = f"import host_of_the_test as host\n{setup}\n\ndef register(ctx): ...\n"
    workspace["greet"] = source
    running = run(workspace.config(plugins={"greet": {"forget": True}}))
    during = count()
    assert during != before
    for number in (1, 2):
        workspace["greet"] = f"{source}# {number}\n"
        running.manager.scan_and_load_all()
        event = retired(running, times=number)
        assert event.memory == "freed"
        assert "reference greet.plugin." in event.describe()
        assert running.status("greet").left == ()
        assert count() == during
    workspace["greet"] = f"{source}raise ValueError\n"
    running.manager.scan_and_load_all()
    assert running.status("greet").state == "STALE"
    assert count() == during
    running.manager.disable("greet")
    assert retired(running, times=3).memory == "freed"
    assert count() == before


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize("kind", TRIED)
def test_registrations_in_libraries_are_named(workspace: Workspace, run: Run, kind: str) -> None:
    """Without ``forget``, the registrations of a retired version are named with their place."""
    setup, _ = LIBRARIES[kind]
    places = {
        "blinker": "receivers", "singledispatch": "shown", "SQLAlchemy": "sqlalchemy.", "loguru": "handlers",
        "SQLAlchemy, one engine": "host_of_the_test.engine.dispatch.", "subclasses": "Base.kinds[",
    }  # fmt: skip
    workspace["greet"] = f"import host_of_the_test as host\n{setup}\n\ndef register(ctx): ...\n"
    running = run(workspace.config())
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    event = retired(running)
    assert places[kind] in event.memory
    assert any(places[kind] in line for line in running.status("greet").left)
    running.manager.stop()
    # So that the next test finds a new program.
    blinker.signal("hotload-test").receivers.clear()
    loguru.logger.remove()
    loguru.logger.add(sys.stderr)
