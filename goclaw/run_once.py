"""Run one workflow, blocking: the shortest way from a definition to a result."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from goclaw.agents import REGISTRY
from goclaw.engine import Engine
from goclaw.parts import MEMORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from goclaw.config import Settings
    from goclaw.results import RunResult
    from goclaw.submission import Submittable
    from goclaw_actors.executors.agents import AgentRegistry


def run(
    workflow: Submittable,
    *,
    input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
    data_dir: str | Path = MEMORY,
    settings: Settings | None = None,
    agents: AgentRegistry = REGISTRY,
) -> RunResult:
    """Run one workflow to its end, blocking; by default on a log in memory.

    Not to be called from a running loop: there, use `Engine`.
    """

    async def main() -> RunResult:
        async with Engine(data_dir, settings=settings, agents=agents) as engine:
            return await engine.run(workflow, input=input)

    return asyncio.run(main())
