"""Keys and passwords left in a source tree; shows a package with modules and a data file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .files import text_files
from .rules import load_rules

if TYPE_CHECKING:
    from hotload_tui import PluginContext

RULES = load_rules()


def scan(folder: str = ".") -> str:
    """List ``file:line: rule: beginning of the secret``, then how many there are."""
    found = [
        f"{path}:{number}: {rule.name}: {secret[:4]}…"
        for path in text_files(folder)
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), start=1)
        for rule in RULES
        for secret in rule.secrets_in(line)
    ]
    return "\n".join([*found, f"secrets found by {len(RULES)} rules: {len(found)}"])


def register(ctx: PluginContext) -> None:
    """Answer at the hook point "scan", where todo_scanner answers too."""
    ctx.hook("scan", scan)
    ctx.log.debug("%d rules", len(RULES))
