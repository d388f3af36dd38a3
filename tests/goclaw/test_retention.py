"""Retention while an engine runs: what is old is archived and given up, and nobody notices."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.datadir import DataDirectory
from goclaw.results import CommandRefused
from goclaw_actors import archiving
from goclaw_actors.archiving import number_before
from goclaw_events.errors import HistoryExpired, JournalFull
from goclaw_events.frame import read_header
from goclaw_events.memory_journal import MemoryJournal
from goclaw_events.segments import sealing
from tests.goclaw.eventually import eventually, until
from tests.goclaw.test_archive import check, engine_on, single, sums
from tests.goclaw.test_expiry import files_of
from tests.projections.log_writer import LogWriter, said, submitted

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 30.0
EAGER: dict[str, Any] = {
    "archive_after_s": 0,
    "archive_facts_min": 1,
    "archive_facts_max": 60,
    "expire_after_s": 0,
    "check_every_s": 0.01,
}


async def play(engine: goclaw.Engine) -> dict[str, Any]:
    """Play the same runs on any engine, one after the other; return every answer."""
    answers: dict[str, Any] = {}
    await engine.submit(single("hang"), run_id="long")
    for number in range(6):
        done = await engine.run(sums(), input={"start": number}, run_id=f"sum{number}")
        answers[done.run_id] = (done.status, done.result)
        again = await engine.submit(sums(), input={"start": number}, run_id=f"sum{number}")
        answers[f"again {number}"] = again.repeated
        try:
            await engine.submit(sums(), input={"start": -1}, run_id=f"sum{number // 2}")
        except CommandRefused as refused:
            answers[f"other {number}"] = refused.code
        try:
            await engine.cancel(f"sum{number // 2}")
        except CommandRefused as refused:
            answers[f"cancel {number}"] = refused.code
        failed = await engine.run(single("boom"), run_id=f"fails{number}")
        answers[failed.run_id] = (failed.status, failed.error)
    await engine.cancel("long")
    answers["long"] = (await engine.result("long")).status
    return answers


async def shown(engine: goclaw.Engine) -> dict[str, Any]:
    """Return what the views say of every run, without times and positions."""
    views, journal = engine.views, engine.parts.journal
    ends = {p: journal.durable(p) for p in range(journal.partitions)}
    await asyncio.to_thread(views.runner.wait_for, ends, WAIT_S)
    found = {}
    for run in views.runs.list(limit=1000).runs:
        tasks = {
            task: (view.status, view.attempts, view.lane, view.error, view.reason)
            for task, view in views.tasks.recorded(run.run_id)
        }
        timeline = [(e.task, e.type, e.brief) for e in views.timeline.entries(run.run_id)]
        found[run.run_id] = (run.status, run.result, run.error, run.counts, tasks, timeline)
    return found


@pytest.mark.parametrize("partitions", [1, 3])
async def test_an_engine_that_forgets_answers_like_one_that_does_not(
    tmp_path: Path, partitions: int
) -> None:
    """Commands, ends and views are the same, while segments come and go below them."""
    async with engine_on(tmp_path / "whole", partitions) as engine:
        expected = await play(engine)
        expected_views = await shown(engine)
    async with engine_on(tmp_path / "short", partitions, **EAGER) as engine:
        journal = engine.parts.journal
        assert await play(engine) == expected
        assert await shown(engine) == expected_views
        await until(lambda: all(journal.history(p) > 1 for p in range(partitions)))
        with pytest.raises(HistoryExpired):
            await until_gone(engine, "sum0")
    check(tmp_path / "short")
    async with engine_on(tmp_path / "short", partitions) as engine:
        for number in range(partitions):
            engine.views.runner.rebuild(("runs", "tasks", "timeline")[number])
        assert await shown(engine) == expected_views
    assert ".baseline" in files_of(tmp_path / "short")


@pytest.mark.parametrize("partitions", [1, 3])
async def test_runs_that_run_others_do_not_miss_what_is_given_up(
    tmp_path: Path, partitions: int
) -> None:
    """Children end, are archived and given up, while the run that began them goes on."""
    child = sums("child")
    parent = goclaw.Workflow("parent")
    last = parent.task("t0", workflow="child", with_={"start": 0})
    for number in range(1, 4):
        pause = parent.wait(f"pause{number}", "60ms", needs=[last])
        last = parent.task(f"t{number}", workflow="child", with_={"start": number}, needs=[pause])
    parent.output = {"last": last.result}
    async with engine_on(tmp_path, partitions, **EAGER) as engine:
        await engine.register(child)
        done = await engine.run(parent, run_id="top", timeout_s=WAIT_S)
        assert (done.status, done.result) == ("completed", {"last": {"sum": 14}})
    check(tmp_path)


async def until_gone(engine: goclaw.Engine, run_id: str) -> None:
    """Ask for a result until it is given up."""

    async def look() -> None:
        await engine.result(run_id)

    await eventually(look)


async def test_nothing_is_archived_by_default(tmp_path: Path) -> None:
    """No segment is made; where output is kept for ever, too, no thread looks."""
    settings: tuple[dict[str, Any], ...] = ({}, {"output_s": None, "output_bytes_max": None})
    for more in settings:
        async with engine_on(tmp_path, **more) as engine:
            await engine.run(sums())
            retention = engine.parts.retention
            assert retention is not None
            assert not retention.archive_step(0)
            assert (retention._thread.ident is None) == bool(more)
    assert not DataDirectory(tmp_path).segments.exists()


async def test_few_facts_wait_for_more(tmp_path: Path) -> None:
    """Below `archive_facts_min` nothing is archived, however old it is."""
    async with engine_on(tmp_path, archive_after_s=0, archive_facts_min=10_000) as engine:
        await engine.run(sums())
        retention = engine.parts.retention
        assert retention is not None
        assert not await asyncio.to_thread(retention.archive_step, 0)
        assert engine.parts.journal.floor(0) == 1


async def test_what_is_young_stays(tmp_path: Path) -> None:
    """What was recorded after `archive_after_s` ago is not archived."""
    eager = {**EAGER, "archive_after_s": 3600, "expire_after_s": 3600, "check_every_s": 3600}
    async with engine_on(tmp_path, **eager) as engine:
        await engine.run(sums())
        retention = engine.parts.retention
        assert retention is not None
        assert not await asyncio.to_thread(retention.archive_step, 0)
        assert engine.parts.journal.floor(0) == 1


async def test_a_full_disk_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A segment that cannot be written is tried again later; the engine goes on, and says why."""
    full = True

    def seal(*args: Any, **kwargs: Any) -> Any:
        if full:
            raise JournalFull("no space left on device")
        return real(*args, **kwargs)

    real = sealing.seal
    monkeypatch.setattr(archiving, "seal", seal)
    with caplog.at_level(logging.WARNING, "goclaw.retention"):
        async with engine_on(tmp_path, **EAGER) as engine:
            assert (await engine.run(sums())).result == {"sum": 12}
            await until(lambda: "old facts are kept" in caplog.text)
            full = False
            await until(lambda: engine.parts.journal.floor(0) > 1)
    check(tmp_path)


def test_the_first_number_of_a_time_is_found() -> None:
    """Whatever is older than a time lies below the number, nothing else does."""
    journal = MemoryJournal()
    writer = LogWriter(journal)
    for number in range(9):
        writer.frame(*[said(f"workflow/r{number}.{n}", submitted()) for n in range(number % 3 + 1)])
    headers = [read_header(data) for data in journal.frames(0)]
    for least in (1, headers[3].first):
        for time_ns in [h.time_ns + d for h in headers for d in (-1, 0, 1)]:
            older = [h.first + h.facts_count for h in headers if h.time_ns < time_ns]
            assert number_before(journal, 0, time_ns, least) == max([least, *older])
