"""A command-line tool whose subcommands are plugins."""
