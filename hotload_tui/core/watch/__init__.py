"""File-system notifications become the plugins that really changed."""
