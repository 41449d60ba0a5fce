"""``TidyDriver`` clears the terminal when the console leaves; ``AsciiDriver`` also writes ASCII only."""

from __future__ import annotations

from textual.drivers.linux_driver import LinuxDriver

from hotload_tui.tui.terminal import ASCII


class TidyDriver(LinuxDriver):
    """Clears the alternate screen before the console leaves it, also when the console is suspended."""

    def stop_application_mode(self) -> None:
        """Clear the screen and return the terminal to the shell or to an editor."""
        # If the window has grown, tmux wraps the rows at their old width, treats the excess as scrolled off,
        # and shows it among the shell's rows. Reset colours first: a coloured blank is not an empty cell.
        self.write("\x1b[0m\x1b[2J")
        super().stop_application_mode()


class AsciiDriver(TidyDriver):
    """Replaces non-ASCII characters by ASCII that takes the same number of cells."""

    def write(self, data: str) -> None:
        """Translate ``data`` to ASCII and write it to the terminal."""
        super().write(data.translate(ASCII))
