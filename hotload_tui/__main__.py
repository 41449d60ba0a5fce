"""``python -m hotload_tui``: the ``hotload`` command."""

from hotload_tui.cli import main

if __name__ == "__main__":
    main()
