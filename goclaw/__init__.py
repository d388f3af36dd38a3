"""Goclaw: an event-sourced engine of actors that runs workflows of AI agents.

This module is the library that users import; names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goclaw.agents import agent as agent
    from goclaw.builder import Workflow as Workflow
    from goclaw.client import Client as Client
    from goclaw.collected import Collected as Collected
    from goclaw.collected import Gathered as Gathered
    from goclaw.config import Settings as Settings
    from goclaw.engine import Engine as Engine
    from goclaw.results import CommandRefused as CommandRefused
    from goclaw.results import RunResult as RunResult
    from goclaw.results import Submitted as Submitted
    from goclaw.run_once import run as run
    from goclaw.saga_builder import Saga as Saga
    from goclaw.sagas import SagaResult as SagaResult
    from goclaw.sync_client import SyncClient as SyncClient
    from goclaw_actors.errors import HistoryFull as HistoryFull
    from goclaw_actors.executors.context import TaskContext as TaskContext
    from goclaw_actors.executors.errors import CollectUnmet as CollectUnmet
    from goclaw_actors.executors.errors import Fail as Fail
    from goclaw_actors.executors.errors import Interrupted as Interrupted
    from goclaw_actors.executors.errors import RateLimited as RateLimited
    from goclaw_actors.executors.errors import RetryAfter as RetryAfter
    from goclaw_actors.executors.stepping import step_key as step_key

_HOMES = {
    "Client": "goclaw.client",
    "CollectUnmet": "goclaw_actors.executors.errors",
    "Collected": "goclaw.collected",
    "CommandRefused": "goclaw.results",
    "Engine": "goclaw.engine",
    "HistoryFull": "goclaw_actors.errors",
    "Fail": "goclaw_actors.executors.errors",
    "Interrupted": "goclaw_actors.executors.errors",
    "Gathered": "goclaw.collected",
    "RateLimited": "goclaw_actors.executors.errors",
    "RetryAfter": "goclaw_actors.executors.errors",
    "RunResult": "goclaw.results",
    "Saga": "goclaw.saga_builder",
    "SagaResult": "goclaw.sagas",
    "Settings": "goclaw.config",
    "SyncClient": "goclaw.sync_client",
    "Submitted": "goclaw.results",
    "TaskContext": "goclaw_actors.executors.context",
    "Workflow": "goclaw.builder",
    "agent": "goclaw.agents",
    "run": "goclaw.run_once",
    "step_key": "goclaw_actors.executors.stepping",
}

__all__ = [
    "Client",
    "CollectUnmet",
    "Collected",
    "CommandRefused",
    "Engine",
    "Fail",
    "Gathered",
    "HistoryFull",
    "Interrupted",
    "RateLimited",
    "RetryAfter",
    "RunResult",
    "Saga",
    "SagaResult",
    "Settings",
    "Submitted",
    "SyncClient",
    "TaskContext",
    "Workflow",
    "agent",
    "run",
    "step_key",
]


def __getattr__(name: str) -> Any:
    # Importing everything takes half a second; `goclaw --help` may not.
    home = _HOMES.get(name)
    if home is None:
        msg = f"module 'goclaw' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
