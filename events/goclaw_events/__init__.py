"""The ground floor: what can be said, what was said, and where it is kept."""
