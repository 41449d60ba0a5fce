import logging
from collections.abc import Iterator

import pytest

from hotload_tui.core.events import HostLog, LogCollector
from hotload_tui.core.model import Level

Lines = list[tuple[Level, str, str]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Yield the list of lines that a collector passes on."""
    found: Lines = []
    names = {"p_my_plugin_1": "my-plugin"}
    collector = LogCollector(
        "hotplug",
        lambda level, plugin, text: found.append((level, plugin, text)),
        lambda name: names.get(name, name),
    )
    detach = collector.attach()
    yield found
    detach()


def test_lines_are_numbered_and_bounded() -> None:
    """The log keeps the newest 5,000 lines, and the numbers go on."""
    log = HostLog()
    for number in range(5_010):
        log.add(0.0, "info", "greet", str(number))
    kept = log.since(0)
    assert (len(kept), kept[0].number, kept[-1].number, kept[-1].text) == (5000, 11, 5010, "5009")
    assert [line.number for line in log.since(5008)] == [5009, 5010]


def test_a_line_can_always_be_sent_and_shown() -> None:
    """Megabytes of text are cut, and lone surrogates are escaped."""
    log = HostLog()
    assert len(log.add(0.0, "info", "", "x" * 10**6).text) < 5000
    assert log.add(0.0, "info", "", "\ud800").text == "\\ud800"


@pytest.mark.parametrize(
    ("logger", "plugin"),
    [("hotload.plugin.greet", "greet"), ("hotload.plugin.a.b", "a.b"), ("hotplug.greet.g1_0.plugin", "greet"),
     ("hotplug.p_my_plugin_1.g1_0.plugin", "my-plugin")],
)  # fmt: skip
def test_a_plugins_lines_carry_its_name(lines: Lines, logger: str, plugin: str) -> None:
    """``ctx.log`` and a logger named after the module both give the plugin's name."""
    logging.getLogger(logger).warning("at %d", 7)
    assert lines == [("warning", plugin, "at 7")]


def test_levels_keep_their_meaning(lines: Lines) -> None:
    """Debug lines are left out unless the logger's level asks for them, and critical counts as error."""
    logger = logging.getLogger("hotload.plugin.levels")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, "x")
    logger.setLevel(logging.DEBUG)
    logger.debug("asked for")
    logger.setLevel(logging.NOTSET)
    assert [line[0] for line in lines] == ["info", "warning", "error", "error", "debug"]


class _Odd:
    def __str__(self) -> str:
        raise ValueError


def test_what_cannot_be_formatted_is_still_a_line(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong format or a message whose text raises becomes a line, and nothing is raised in the plugin."""
    monkeypatch.setattr(logging.getLogger("hotload.plugin"), "propagate", False)  # pytest's handler raises
    logger = logging.getLogger("hotload.plugin.odd")
    logger.info("%d", "no number")
    logger.info(_Odd())
    assert "TypeError" in lines[0][2]
    assert "ValueError" in lines[1][2]


def test_an_exception_is_logged_with_the_line(lines: Lines) -> None:
    """``log.exception`` adds the type and text of the exception to the line."""
    try:
        missing: dict[str, int] = {}
        missing["k"]
    except KeyError:
        logging.getLogger("hotload.plugin.greet").exception("failed")
    assert lines == [("error", "greet", "failed (KeyError: 'k')")]


def test_detaching_leaves_logging_as_it_was() -> None:
    """After detaching, the program's handlers and levels are as before."""
    logger = logging.getLogger("hotload.plugin")
    before = (logger.level, list(logger.handlers))
    detach = LogCollector("hotplug", lambda *_: None, str).attach()
    assert logger.level == logging.INFO
    detach()
    assert (logger.level, logger.handlers) == before
