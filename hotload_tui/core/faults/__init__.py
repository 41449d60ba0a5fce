"""An exception becomes a ``Fault``: plain data with the source as it was loaded."""

from hotload_tui.core.faults.describe import TextOf, fault_of, text_lines
from hotload_tui.core.faults.stacks import coroutine_stack, thread_stack, trace_of

__all__ = ["TextOf", "coroutine_stack", "fault_of", "text_lines", "thread_stack", "trace_of"]
