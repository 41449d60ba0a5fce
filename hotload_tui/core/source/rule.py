"""What belongs to a plugin: one rule for digest, artifact and watcher.

Every regular file under the plugin's directory, but for what ``is_noise`` names and what the patterns of
``[watch] ignore`` match.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ENTRY = "plugin.py"
"""The file that makes a directory a plugin; no pattern can leave it out."""

NOISE = r"""\..*                                              # hidden
      | __pycache__ | node_modules | venv
      | .*\.(pyc|pyo|o|tmp|bak|orig|rej|part|swp|vsctmp|lock)
      | .*~ | \#.*\# | 4913                               # backups and probes of vim, nano, emacs
      | .*___jb_(tmp|old)___                              # JetBrains' safe write
      | sed[A-Za-z0-9]{6}                                 # sed -i
      | .*\.py\.[A-Za-z0-9]{6}                            # Qt's and rsync's temporary files
    """
_NOISE = re.compile(NOISE, re.VERBOSE)


def is_noise(name: str) -> bool:
    """Tell whether a file or folder name belongs to an editor, a cache or a build, not to the plugin."""
    return _NOISE.fullmatch(name) is not None


class SourceRule:
    """Tells what is left out; patterns are read as in a ``.gitignore`` in each plugin's directory."""

    def __init__(self, ignore: Sequence[str] = ()) -> None:
        self._spec = None
        if ignore:
            from pathspec import GitIgnoreSpec  # 30 ms, for those only who have patterns

            self._spec = GitIgnoreSpec.from_lines(ignore)

    def leaves_out(self, path: str, *, is_folder: bool) -> bool:
        """Tell whether a file or folder does not count; ask for the folders above it first.

        ``path`` is relative to the plugin's directory, with forward slashes.
        """
        if is_noise(path.rpartition("/")[2]):
            return True
        if self._spec is None or path == ENTRY:
            return False
        return self._spec.match_file(f"{path}/" if is_folder else path)

    def leaves_out_below(self, parts: Sequence[str]) -> bool:
        """Tell whether a path, or a folder on its way, does not count; what it is now need not be known."""
        if any(is_noise(part) for part in parts):
            return True
        if self._spec is None:
            return False
        ways = ("/".join(parts[: end + 1]) for end in range(len(parts)))
        *folders, path = ways
        return any(self.leaves_out(folder, is_folder=True) for folder in folders) or (
            self.leaves_out(path, is_folder=False)
        )
