"""The watcher: file-system noise becomes the plugins that really changed, with the bytes that were read.

The notification is only a doorbell: it says where to look, and the disk says what is true. What it does not
report (writes through mmap, hard links, a deleted root …) is found by a sweep.
"""

from hotload_tui.core.watcher.bell import Bell, Hang
from hotload_tui.core.watcher.dispatcher import OnChange
from hotload_tui.core.watcher.looker import Change
from hotload_tui.core.watcher.notifier import hang_for
from hotload_tui.core.watcher.repository import Repositories
from hotload_tui.core.watcher.watcher import Watcher

__all__ = ["Bell", "Change", "Hang", "OnChange", "Repositories", "Watcher", "hang_for"]
