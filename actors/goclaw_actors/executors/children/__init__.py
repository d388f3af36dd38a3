"""Child processes: the launcher that starts and ends them, and how the engine speaks to it."""
