"""The manager: the other packages of ``core`` return values or raise; only this package publishes events."""
