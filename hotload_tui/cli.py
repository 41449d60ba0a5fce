"""The ``hotload`` command."""


def main() -> None:
    """Run the command line."""
