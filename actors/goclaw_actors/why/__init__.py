"""Why a run, a saga, or a task of one waits: read from the actors' state, without changing it."""

from goclaw_actors.why.explain import explain
from goclaw_actors.why.reason import Holder, Reason
from goclaw_actors.why.sight import Sight

__all__ = ["Holder", "Reason", "Sight", "explain"]
