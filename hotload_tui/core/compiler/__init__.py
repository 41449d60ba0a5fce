"""``Compiler``: a plugin's source becomes an artifact."""

from hotload_tui.core.compiler.code import description_of, is_module
from hotload_tui.core.compiler.compiler import Build, Compiler
from hotload_tui.core.compiler.imports import UnresolvedImport, unresolved_imports

__all__ = ["Build", "Compiler", "UnresolvedImport", "description_of", "is_module", "unresolved_imports"]
