"""Edit published plugins while their programs run, and write ``PUBLISHED.md``; they load as published.

Each plugin is a copy of what pip has installed, first on the import path, and loads as it is. Then its file
is saved with an edit, and with a mistake in addition.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from msgspec import Struct, json

from benchmarks.environment import PEERS, published_python, variables

_RESULT = Path(__file__).with_name("PUBLISHED.md")
_PROGRAMS = {
    "llm": ("llm_", "`serve_hooks(llm.plugins.pm, host, live=True)`"),
    "datasette": ("datasette_", "`serve_hooks(datasette.plugins.pm, host, live=True)`"),
    "pytest": ("pytest_", "`serve_hooks(pluginmanager, host)`, in `pytest -p`"),
    "discord": ("jishaku", "`shared`, and a plugin with `own_cog`"),
}
"""The programs, the beginning of their plugins' names, and how they make these hot."""

_REASONS = {
    "pytest_sugar": "pytest calls `pytest_configure` once, so what it sets is lost",
}


class Row(Struct, frozen=True):
    """What became of one package."""

    package: str
    follows: bool
    """Whether the running program shows the edit."""
    keeps: bool
    """Whether it goes on with the edit after a save with a mistake."""


def main() -> int:
    """Edit all plugins; return 1 if one of them did not load."""
    lines = [
        "# Published plugins, hot as they are",
        "",
        "`python -m benchmarks.published` writes this. Lines changed in the packages: 0.",
        "",
        "| package | made hot by | a save is live | a mistake changes nothing |",
        "|---|---|---|---|",
    ]
    versions = dict(
        line.replace("-", "_").split("==")
        for line in (PEERS / "published.txt").read_text().splitlines()
        if "==" in line and ";" not in line
    )
    count = 0
    for program, (start, how) in _PROGRAMS.items():
        for row in _edited(program, start):
            count += 1
            kept = "yes" if row.keeps else "no" if row.follows else ""
            live = "yes" if row.follows else f"no: {_REASONS.get(row.package, '')}"
            lines.append(f"| {row.package} {versions[row.package]} | {how} | {live} | {kept} |")
            print(lines[-1], flush=True)
    _RESULT.write_text("\n".join([*lines, ""]))
    starts = tuple(start for start, _ in _PROGRAMS.values())
    return 0 if count == sum(name.startswith(starts) for name in versions) else 1


def _edited(program: str, start: str) -> list[Row]:
    """Edit copies of the plugins of a program, in a process of its own."""
    python = published_python()
    script = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    found = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory() as name:
        copies = Path(name, "installed")
        copies.mkdir()
        for each in Path(found.strip()).glob(f"{start}*"):
            copy = shutil.copytree if each.is_dir() else shutil.copy
            copy(each, copies / each.name)
        environment = variables()
        environment["PYTHONPATH"] = os.pathsep.join([str(copies), environment["PYTHONPATH"]])
        environment["LLM_USER_PATH"] = name
        done = subprocess.run(
            [python, str(PEERS / "published.py"), program, str(copies)],
            check=False,
            cwd=name,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            print(done.stderr, file=sys.stderr)
        return [json.decode(line, type=Row) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    sys.exit(main())
