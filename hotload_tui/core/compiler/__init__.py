"""``Compiler``: a plugin's source becomes an artifact."""

from hotload_tui.core.compiler.code import description_of, is_module
from hotload_tui.core.compiler.compiler import Build, Compiler, Preview
from hotload_tui.core.compiler.imports import (
    UnresolvedImport,
    foreign_packages,
    is_installed,
    unresolved_imports,
)
from hotload_tui.core.compiler.points import NamedPoints, named_points

__all__ = [
    "Build",
    "Compiler",
    "NamedPoints",
    "Preview",
    "UnresolvedImport",
    "description_of",
    "foreign_packages",
    "is_installed",
    "is_module",
    "named_points",
    "unresolved_imports",
]
