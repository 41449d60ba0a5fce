"""Hook points, the handlers that plugins register there, and the host that calls them."""
