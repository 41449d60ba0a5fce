"""An exception becomes a ``Fault``: plain data with the source as it was loaded."""

from hotload_tui.core.faults.describe import TextOf, fault_of, text_lines
from hotload_tui.core.faults.stacks import trace_of
from hotload_tui.core.faults.values import install_command

__all__ = [
    "TextOf",
    "fault_of",
    "install_command",
    "text_lines",
    "trace_of",
]
