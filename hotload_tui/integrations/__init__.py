"""Plugins and other libraries: the interfaces of some, and the registries of others."""
