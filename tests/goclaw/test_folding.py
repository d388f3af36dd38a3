"""An engine under load: views folded by another process are those that the log makes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from goclaw.builder import Workflow
from goclaw.config import Settings
from goclaw.engine import Engine
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_projections import away
from goclaw_projections.every import all_projections
from goclaw_projections.verify import differences

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from goclaw_actors.executors.context import TaskContext

SETTINGS = Settings.model_validate({"views": {"process_facts": 1, "linger_s": 0.001}})


def folding_pid(engine: Engine) -> int | None:
    """Return the process that folds, as an engine says."""
    found: int | None = engine.status()["folding_pid"]
    return found


async def test_an_engine_under_load_has_its_views_folded_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says by which process; afterwards there is none, and every row is as it should be."""
    monkeypatch.setattr(away, "cores", lambda: 2)
    agents = AgentRegistry()

    async def nothing(_ctx: TaskContext) -> None:
        return

    agents.register("t.nothing", nothing)
    workflow = Workflow("load")
    for index in range(5):
        workflow.task(f"t{index}", agent="t.nothing", needs=[f"t{index - 1}"] if index else [])
    async with Engine(tmp_path / "data", settings=SETTINGS, agents=agents) as engine:
        prepared = engine.prepare(workflow)
        runs = []
        while folding_pid(engine) is None:
            runs += await asyncio.gather(*(engine.run(prepared) for _ in range(5)))
        runs += await asyncio.gather(*(engine.run(prepared) for _ in range(20)))
        assert folding_pid(engine) is not None
        views = engine.views.at(runs[-1].position)
        assert views.counts.of("load").runs["completed"] == len(runs)
        engine.parts.views.runner.stop()
        assert folding_pid(engine) is None
        store = engine.parts.views._store
        engine.parts.views.runner.catch_up()
        assert list(differences(engine.parts.journal, store, all_projections())) == []
