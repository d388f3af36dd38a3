"""The worker processes of an engine: how they are started, what they are told, may take."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from goclaw.modules import loaded
from goclaw.secrets import VARIABLE_PREFIX
from goclaw_actors.executors.crew import ProcessLimits, WorkerProgram, reference_of
from goclaw_actors.executors.process_executor import ProcessExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw.config import ExecutorSettings, Settings
    from goclaw_actors.executors.agents import AgentRegistry
    from goclaw_actors.executors.children.children import Children
    from goclaw_actors.executors.run import Shared

MODULE: Final = "goclaw.worker"


def in_processes(settings: Settings) -> Settings:
    """Return settings with which sync agents run in worker processes."""
    executors = settings.executors.model_copy(update={"sync_agents": "process"})
    return settings.model_copy(update={"executors": executors})


def process_executor(
    settings: ExecutorSettings, agents: AgentRegistry, children: Children
) -> Callable[[Shared], ProcessExecutor]:
    """Return what makes the executor of agents in worker processes."""
    limits = ProcessLimits(**settings.process.model_dump())
    where = settings.sync_agents

    def setup() -> dict[str, Any]:
        modules, trusted = loaded()
        found = (agents.get(name) for name in agents.names())
        return {
            "path": sys.path,
            "argv": sys.argv[:1],
            "log_level": logging.getLogger().getEffectiveLevel(),
            "modules": modules,
            "trusted": trusted,
            "agents": {a.name: reference_of(a) for a in found if a and a.in_process(where)},
        }

    def environment() -> dict[str, str]:
        # secrets come with the parameters of the tasks that name them
        return {k: v for k, v in os.environ.items() if not k.startswith(VARIABLE_PREFIX)}

    program = WorkerProgram((sys.executable, "-P", "-m", MODULE), environment, setup)
    return lambda shared: ProcessExecutor(shared, children, program, limits)
