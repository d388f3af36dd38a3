"""Schedules over days, in virtual time: through changes of clocks, crashes and slow runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import goclaw
from goclaw.testing import TestEngine

BEGIN = datetime(2026, 3, 27, tzinfo=UTC)
RULES: dict[str, Any] = {"cron": "30 2 * * *", "zone": "Europe/Berlin"}


def workflow() -> goclaw.Workflow:
    """Return a workflow of one task."""
    found = goclaw.Workflow("w")
    found.task("a", agent="sched.work")
    return found


def runs(engine: TestEngine) -> list[str]:
    """Return the runs in which an attempt began, in order."""
    return [call.run_id for call in engine.calls]


async def test_a_night_without_half_past_two_has_its_run() -> None:
    """At three, when the gap is over; and one engine after another keeps the times."""
    async with TestEngine(begin=BEGIN) as engine:
        engine.script("sched.work").returns(1)
        await engine.schedules.create("s", workflow(), overlap="queue", **RULES)
        await engine.advance("1d")
        await engine.restart(killed=True)
        await engine.advance("3d")
        assert runs(engine) == [
            "s:20260327T013000Z", "s:20260328T013000Z", "s:20260329T010000Z", "s:20260330T003000Z",
        ]  # fmt: skip
        found = await engine.schedules.show("s", next=1)
        assert found["next_times"][0][:16] == "2026-03-31T00:30"


async def test_a_run_that_takes_days_is_made_way_for_or_waited_for() -> None:
    """By the rule: the nights between are left out, or wait, or end it."""
    expected = {
        "skip": ["27", "30"],
        "queue": ["27", "28"],
        "cancel": ["27", "28", "29", "30"],
    }
    for overlap, days in expected.items():
        async with TestEngine(begin=BEGIN) as engine:
            engine.script("sched.work").returns(1, takes="60h")
            await engine.schedules.create("s", workflow(), overlap=overlap, cron="30 2 * * *")
            await engine.advance("3d12h")
            assert [run[8:10] for run in runs(engine)] == days, overlap


async def test_what_is_due_while_a_schedule_is_paused_is_left_out() -> None:
    """It goes on with the next night, and a night can be made up for by hand."""
    async with asyncio.timeout(30), TestEngine(begin=BEGIN) as engine:
        engine.script("sched.work").returns(1)
        await engine.schedules.create("s", workflow(), paused=True, cron="30 2 * * *")
        await engine.advance("36h")
        await engine.schedules.resume("s")
        await engine.advance("1d")
        begun = await engine.schedules.trigger("s", at="2026-03-27T02:30:00Z")
        assert (await engine.result(begun["run_id"])).ok
        assert runs(engine) == ["s:20260329T023000Z", "s:20260327T023000Z"]
