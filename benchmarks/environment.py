"""The peers' environments, which are made once, below the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
_HMR_NEEDS = (3, 12)


def peers_python() -> str:
    """Return an interpreter of the running Python version with the peers installed."""
    return _environment(sys.executable, f"python{sys.version_info[0]}.{sys.version_info[1]}")


def published_python() -> str:
    """Return an interpreter with published plugins installed."""
    version = f"published{sys.version_info[0]}.{sys.version_info[1]}"
    return _environment(sys.executable, version, PEERS / "published.txt")


def hmr_python() -> str | None:
    """Return an interpreter with hmr, which needs Python 3.12; ``None`` if there is none."""
    if sys.version_info >= _HMR_NEEDS:
        return peers_python()
    for python in (os.environ.get("HMR_PYTHON", ""), "python3.12", "python3.13"):
        found = shutil.which(python)
        if found is not None and _answers(found):
            return _environment(found, "hmr")
    return None


def versions() -> list[str]:
    """Return the names and versions of everything that is measured."""
    lines = (PEERS / "requirements.txt").read_text().splitlines()
    named = [line.split(";")[0].strip() for line in lines if not line.startswith("#")]
    left_out = "" if hmr_python() else " (left out: no Python 3.12 or newer was found)"
    pinned = [line.replace("==", " ") + (left_out if line.startswith("hmr") else "") for line in named]
    python = ".".join(map(str, sys.version_info[:3]))
    return [f"hotload-tui {metadata.version('hotload-tui')}", f"CPython {python}", *pinned]


def variables() -> dict[str, str]:
    """Return the environment of measured processes: with bytecode caches, and this project importable."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(Path(__file__).parent.parent)}


def _answers(python: str) -> bool:
    """Return whether the interpreter runs; a version manager's stub may only report that it is missing."""
    return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0


def _environment(python: str, version: str, requirements: Path = PEERS / "requirements.txt") -> str:
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "hotload-bench" / f"{version}-{digest}"
    done = folder / "complete"
    if not done.exists():
        print(f"installing the peers for {version} …", file=sys.stderr, flush=True)
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "--requirement", str(requirements)], check=True)
        done.touch()
    return str(folder / "bin" / "python")
