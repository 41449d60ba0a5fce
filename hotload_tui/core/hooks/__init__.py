"""Hook points: what plugins register there, and how the host calls it."""
