"""The floor that decides and does: deciders, the actors around them, executors."""
