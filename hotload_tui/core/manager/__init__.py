"""The manager: other packages return values or raise; only this one publishes events."""
