"""The task: from its schedule to its one result."""

from goclaw_actors.task.decide import task_decider
from goclaw_actors.task.state import Task, encode

__all__ = ["Task", "encode", "task_decider"]
