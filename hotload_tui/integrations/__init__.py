"""Plugins behind the interfaces of other libraries; each module needs the extra with its name."""
