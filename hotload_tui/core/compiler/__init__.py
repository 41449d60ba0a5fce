"""``Compiler``: a plugin's source becomes an artifact."""

from hotload_tui.core.compiler.code import description_of, is_module
from hotload_tui.core.compiler.compiler import Build, Compiler

__all__ = ["Build", "Compiler", "description_of", "is_module"]
