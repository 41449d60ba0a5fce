"""Widgets: each draws one thing."""
