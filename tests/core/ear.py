"""Which files of plugins the interpreter opens and compiles."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Ear:
    """Hears which plugin files the interpreter opens and compiles; an audit hook cannot be taken back."""

    def __init__(self) -> None:
        self.root = ""
        self.opened: list[str] = []
        self.compiled: list[str] = []
        self.parsed = 0
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.root or event not in {"open", "compile"}:
            return
        path = str(arguments[0 if event == "open" else 1])
        self.parsed += path == "<unknown>"  # what ast.parse calls a text
        if path.startswith(self.root):
            (self.opened if event == "open" else self.compiled).append(path[len(self.root) + 1 :])

    @contextmanager
    def listening(self, root: Path) -> Iterator[None]:
        """Keep what happens to files under ``root``."""
        self.opened, self.compiled, self.parsed, self.root = [], [], 0, str(root)
        yield
        self.root = ""


EAR = Ear()
