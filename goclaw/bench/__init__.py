"""Measurements of this machine: what the log and the engine do on it."""
