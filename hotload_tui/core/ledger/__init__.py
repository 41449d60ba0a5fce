"""What generations started or changed in the process: noted, undone where it can be, named where not."""

from hotload_tui.core.ledger.ledger import Ledger
from hotload_tui.core.ledger.process import Process
from hotload_tui.core.ledger.resources import is_resource

__all__ = ["Ledger", "Process", "is_resource"]
