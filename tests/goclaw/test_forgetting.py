"""Ids of runs are forgotten as `run_id_retention_s` says, and may then be used again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.retention import FORGET_EVERY_S
from goclaw.upkeep import Upkeep
from goclaw_events.errors import LogDamaged
from goclaw_events.segments.records import Ended, ended_key, read_ended
from goclaw_events.tables import Row
from goclaw_events.value import pack
from tests.goclaw.test_archive import archive, check, engine_on, sums
from tests.goclaw.test_expiry import expire, forget_views

if TYPE_CHECKING:
    from pathlib import Path


def kept(path: Path, **retention: Any) -> Upkeep:
    """Open a log to keep house in it, with settings of its own."""
    settings = {"data_dir": path, "retention": retention}
    return Upkeep(goclaw.Settings.model_validate(settings))


async def play(path: Path, partitions: int, *starts: int) -> None:
    """Run `sum` with each start, one id each, and archive it all."""
    async with engine_on(path, partitions) as engine:
        for start in starts:
            await engine.run(sums(), input={"start": start}, run_id=f"sum{start}")
    archive(path)


@pytest.mark.parametrize("partitions", [1, 3])
async def test_a_forgotten_id_is_a_new_run(tmp_path: Path, partitions: int) -> None:
    """Once its facts are gone and the time is over, not before; the log stays whole, and again."""
    await play(tmp_path, partitions, 1, 2, 3)
    with kept(tmp_path, run_id_retention_s=0) as upkeep:
        assert upkeep.house.forget() == 0  # their facts are there
    expire(tmp_path)
    for retention in ({}, {"run_id_retention_s": 3600}):
        with kept(tmp_path, **retention) as upkeep:
            assert upkeep.house.compact().runs == 0
    async with engine_on(tmp_path, partitions) as engine:
        assert (await engine.submit(sums(), input={"start": 2}, run_id="sum2")).repeated
    with kept(tmp_path, run_id_retention_s=0) as upkeep:
        assert upkeep.house.compact().runs == 3
    check(tmp_path)
    for _ in range(2):
        async with engine_on(tmp_path, partitions) as engine:
            again = await engine.run(sums("other"), input={"start": 9}, run_id="sum2")
            assert again.result == {"sum": 20}
            assert again.position is not None
            engine.views.runner.wait_for(again.position, 10.0)
            page = engine.views.runs.list()
            assert sorted(run.run_id for run in page.runs) == ["sum1", "sum2", "sum3"]
            assert (page.runs[0].run_id, page.runs[0].name) == ("sum2", "other")
        check(tmp_path)
        forget_views(tmp_path)
        archive(tmp_path)
        check(tmp_path)
        expire(tmp_path)
        with kept(tmp_path, run_id_retention_s=0) as upkeep:
            assert upkeep.house.forget() == 1
        check(tmp_path)


async def test_the_engine_forgets_by_itself(tmp_path: Path) -> None:
    """At its first look, and then once an hour."""
    await play(tmp_path, 1, 1)
    expire(tmp_path)
    async with engine_on(tmp_path, run_id_retention_s=0) as engine:
        retention = engine.parts.retention
        assert retention is not None
        assert engine.parts.journal.ended(0, "sum1") is not None
        retention.forget_step()
        assert engine.parts.journal.ended(0, "sum1") is None
        due_ns = retention._forget_at_ns
        assert due_ns > engine.parts.clock.now_ns() + int((FORGET_EVERY_S - 60) * 1e9)
        retention.forget_step()
        assert retention._forget_at_ns == due_ns
        assert not (await engine.submit(sums(), input={"start": 1}, run_id="sum1")).repeated


async def test_rows_without_a_time_stay(tmp_path: Path) -> None:
    """Older versions wrote no time: such rows are read, and never forgotten."""
    await play(tmp_path, 1, 1)
    expire(tmp_path)
    with kept(tmp_path, run_id_retention_s=0) as upkeep:
        journal = upkeep.journal
        found = journal.ended(0, "sum1")
        assert found is not None
        assert found.time_ns > 1_700_000_000 * 10**9
        old = Row("ended", ended_key(0, "sum1"), pack(list(found[:-1])))
        journal.rewrite(lambda store: store.write([old]))
        assert upkeep.house.forget() == 0
        assert journal.ended(0, "sum1") == found._replace(time_ns=0)
    check(tmp_path)


@pytest.mark.parametrize("fields", [list(Ended("s", 1, b"", b"", 1))[:-2], {"a": 1}])
def test_a_row_of_another_shape_is_damage(fields: Any) -> None:
    """It names the table."""
    with pytest.raises(LogDamaged) as caught:
        read_ended(pack(fields))
    assert caught.value.details["table"] == "ended"
