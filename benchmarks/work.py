"""The plugins that are saved, and the changes of a save."""

from __future__ import annotations

from pathlib import Path

_STEP = """
def step_{n}(x, scale={n}):
    values = [x * scale + index for index in range(3)]
    if values and x > {n}:
        values.append(x - {n})
    return {{"step": {n}, "sum": sum(values), "of": len(values)}}
"""
_LINES = _STEP.count("\n") + 1
_ANSWER = "\n\ndef answer():\n    return {answer}\n"
_REGISTER = "\n\ndef register(ctx):\n    ctx.hook('answer', answer)\n"
_PARTS = 19


class Work:
    """Plugins under a root folder that are saved together, with the next number as their answer."""

    def __init__(self, root: Path, *, plugins: int = 1, lines: int = 50, parts: bool = False) -> None:
        """Write ``plugins`` of ``lines`` each, or of 20 files (``parts``), the last of which is saved."""
        self.root = root
        self.names = [f"plugin_{number:04}" for number in range(plugins)]
        self.number = 0
        body = "".join(_STEP.format(n=n) for n in range(max(1, (lines - 9) // (_LINES - 1))))
        self._source = body + _ANSWER + ("" if parts else _REGISTER)
        self._changed = f"part_{_PARTS}.py" if parts else "plugin.py"
        for name in self.names:
            folder = root / "plugins" / name
            folder.mkdir(parents=True)
            if parts:
                self._write_parts(folder, body)
        self.save()

    def save(self, only: int | None = None) -> int:
        """Save all plugins (or the first ``only``) with a new answer, and return it."""
        self.number += 1
        source = self._source.replace("{answer}", str(self.number))
        for name in self.names[:only]:
            (self.root / "plugins" / name / self._changed).write_text(source)
        return self.number

    def _write_parts(self, folder: Path, body: str) -> None:
        imports = "".join(f"from .part_{n:02} import step_0 as part_{n:02}\n" for n in range(1, _PARTS))
        entry = f"{imports}from .part_{_PARTS} import answer\n{_REGISTER}"
        (folder / "plugin.py").write_text(entry)
        for number in range(1, _PARTS):
            (folder / f"part_{number:02}.py").write_text(body)
