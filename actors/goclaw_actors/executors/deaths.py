"""What is said of a worker process that ended with an attempt in hand."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from goclaw_actors.executors.children.launcher import OUT_OF_MEMORY
from goclaw_actors.executors.errors import LauncherDied, WorkerDied
from goclaw_actors.executors.outcomes import refused

if TYPE_CHECKING:
    from goclaw_actors.executors.children.launcher import Exit
    from goclaw_actors.executors.crew import ProcessLimits
    from goclaw_actors.executors.run import Run
    from goclaw_actors.work import Outcome


def died(run: Run, end: Exit, limits: ProcessLimits) -> Outcome:
    """Return the outcome of an attempt whose worker ended, with what is known of why."""
    if end.lost:
        return refused(run.attempt, LauncherDied("the launcher died, and the worker with it"))
    why = ""
    if end.signal == signal.SIGXCPU:
        why = f": it used more than {limits.cpu_s_max} s of CPU time"
    elif end.oom:
        why = f": {OUT_OF_MEMORY}"
    text = f"the worker of agent {run.agent.name!r} ended with {how(end)}{why}"
    hint = "what it printed stands in the engine's log"
    return refused(run.attempt, WorkerDied(text, hint=hint))


def how(end: Exit) -> str:
    """Return how a worker ended, in words."""
    if end.refused:
        return f"no start ({end.refused}, errno {end.errno})"
    return end.signal_name if end.signal else f"exit code {end.code}"
