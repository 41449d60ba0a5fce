"""Pictures of the console, and the command that makes them."""
