"""The keys of a task that is unique: one task at a time has one, others hear what becomes of it."""

from goclaw_actors.unique.decide import UNIQUE
from goclaw_actors.unique.state import Unique

__all__ = ["UNIQUE", "Unique"]
