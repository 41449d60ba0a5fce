"""A plugin that is a package: its modules import each other as ``from .rules import …``."""
