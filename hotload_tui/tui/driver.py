"""``TidyDriver``: the console leaves nothing of itself on the terminal, and writes what that can show."""

from __future__ import annotations

from textual.drivers.linux_driver import LinuxDriver

from hotload_tui.tui.terminal import ASCII


class TidyDriver(LinuxDriver):
    """Empties the alternate screen before it leaves it, also when the console is suspended."""

    def stop_application_mode(self) -> None:
        """Leave the terminal to the shell, or to an editor."""
        # If the window grew meanwhile, tmux folds these rows to their old width, takes those without room for
        # scrolled off, and shows them amid the shell's. Without colours: a coloured blank is no empty cell.
        self.write("\x1b[0m\x1b[2J")
        super().stop_application_mode()


class AsciiDriver(TidyDriver):
    """Writes ASCII only, cell for cell."""

    def write(self, data: str) -> None:
        """Write data to the terminal."""
        super().write(data.translate(ASCII))
