"""The socket of an engine: how it is found, what goes over it, and both of its ends."""
