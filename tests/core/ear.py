"""Record which plugin files the interpreter opens and compiles."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Ear:
    """An audit hook that records opened and compiled plugin files; Python cannot remove such a hook."""

    def __init__(self) -> None:
        self.root = ""
        self.opened: list[str] = []
        self.compiled: list[str] = []
        self.parsed = 0
        self._is_hooked = False

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.root or event not in {"open", "compile"}:
            return
        path = str(arguments[0 if event == "open" else 1])
        self.parsed += path == "<unknown>"  # the file name that ast.parse gives to a text
        if path.startswith(self.root):
            (self.opened if event == "open" else self.compiled).append(path[len(self.root) + 1 :])

    @contextmanager
    def listening(self, root: Path) -> Iterator[None]:
        """Record what happens to files under ``root`` inside the ``with`` block."""
        if not self._is_hooked:
            self._is_hooked = True
            sys.addaudithook(self._hear)
        self.opened, self.compiled, self.parsed, self.root = [], [], 0, str(root)
        yield
        self.root = ""


EAR = Ear()
