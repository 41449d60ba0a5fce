"""Screens compose widgets and route messages between them."""
