"""Files, environment and flags become a ``Config``; of each value it is known where it came from."""

from hotload_tui.core.config_loader.layers import FILE_NAME, files_of
from hotload_tui.core.config_loader.resolve import (
    Resolved,
    Setting,
    load_config,
    resolve,
    unmatched_entries,
)

__all__ = ["FILE_NAME", "Resolved", "Setting", "files_of", "load_config", "resolve", "unmatched_entries"]
