"""A collector: gathers how tasks and runs end, until a rule is met, or cannot be."""

from goclaw_actors.collector.decide import collector_decider
from goclaw_actors.collector.state import Collector

__all__ = ["Collector", "collector_decider"]
