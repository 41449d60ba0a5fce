"""An exception becomes a ``Fault``: plain data with the source as it was loaded."""

from hotload_tui.core.faults.describe import TextOf, fault_of, text_lines

__all__ = ["TextOf", "fault_of", "text_lines"]
