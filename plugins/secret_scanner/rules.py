"""The rules: read from the data file beside this module, wherever the plugin was loaded from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Rule:
    """What one kind of secret looks like."""

    name: str
    pattern: re.Pattern[str]

    def secrets_in(self, line: str) -> Iterator[str]:
        """Give each secret in ``line``: the pattern's group, or all of the match without one."""
        for match in self.pattern.finditer(line):
            yield match[match.lastindex or 0]


def load_rules() -> list[Rule]:
    """Read ``rules.toml``; a save of that file reloads the plugin like a save of its code."""
    text = files(__package__).joinpath("rules.toml").read_text("utf-8")
    return [Rule(name, re.compile(pattern)) for name, pattern in tomllib.loads(text).items()]
