"""An artifact's modules in memory: unique names, private imports, resources, source as loaded."""

from hotload_tui.core.generation.modules import Generation
from hotload_tui.core.generation.names import identifier
from hotload_tui.core.generation.peer import Peer

__all__ = ["Generation", "Peer", "identifier"]
