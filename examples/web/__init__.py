"""A web program whose routes and middleware are plugins, and its load generator."""
