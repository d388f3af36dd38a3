"""The run of a workflow: which task may start, and how the run ends."""

from goclaw_actors.workflow.decide import workflow_decider
from goclaw_actors.workflow.state import Run, encode

__all__ = ["Run", "encode", "workflow_decider"]
