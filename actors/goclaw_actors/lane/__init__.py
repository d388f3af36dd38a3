"""The lane: a bounded queue with priorities and a limit of running tasks."""

from goclaw_actors.lane.decide import LANE, decide
from goclaw_actors.lane.state import Lane, encode, evolve

__all__ = ["LANE", "Lane", "decide", "encode", "evolve"]
