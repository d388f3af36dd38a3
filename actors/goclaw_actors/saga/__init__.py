"""The saga: the actor that owns the tasks of one saga, forth and, where that fails, back.

Read `state` (what it knows), `turn` (what a turn makes of it), `decide` (what it answers).
"""

from goclaw_actors.saga.decide import saga_decider
from goclaw_actors.saga.state import Saga, encode

__all__ = ["Saga", "encode", "saga_decider"]
