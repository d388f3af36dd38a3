"""History that was given up: what is kept of it answers, the rest says that it is gone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.datadir import DataDirectory
from goclaw.expiry import STEPS
from goclaw.log_health import look_at_log
from goclaw.log_records import Selection, select
from goclaw.results import CommandRefused
from goclaw.upkeep import Upkeep
from goclaw.view_records import view_record
from goclaw_actors import directory
from goclaw_actors.alive import loaded
from goclaw_actors.decider import SnapshotForm
from goclaw_actors.errors import BaselineFormUnknown
from goclaw_actors.lane import LANE
from goclaw_events.envelope import Position
from goclaw_events.errors import HistoryExpired
from goclaw_projections.runs import RunsProjection
from tests.goclaw.test_archive import (
    FAR,
    Killed,
    archive,
    check,
    engine_on,
    single,
    sums,
    view_rows,
    work,
)

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw.expiry import ExpiryPlan
    from goclaw_actors.decider import Decider, MapChunks
    from goclaw_actors.lane import Lane
    from goclaw_events.value import Value


def expire(path: Path, before: int = FAR) -> list[ExpiryPlan]:
    """Give up what can be given up while no engine runs; return what that was."""
    with Upkeep(goclaw.Settings(data_dir=path)) as upkeep:
        partitions = range(upkeep.journal.partitions)
        plans = [upkeep.expirer.plan(partition, before) for partition in partitions]
        found = [plan for plan in plans if plan is not None]
        for plan in found:
            upkeep.expirer.expire(plan)
    return found


def forget_views(path: Path) -> None:
    """Delete the views: the next who opens them builds them again."""
    for file in DataDirectory(path).views.iterdir():
        file.unlink()


def files_of(path: Path) -> list[str]:
    """Return the kinds of files of the archive; nothing else may be left of an expiry."""
    assert not [left for left in path.iterdir() if left.name.startswith(".baseline")]
    return sorted(file.suffix for file in DataDirectory(path).segments.iterdir())


async def end_what_is_left(path: Path, partitions: int = 1) -> None:
    """Cancel the unfinished run of `work`."""
    async with engine_on(path, partitions) as engine:
        await engine.cancel("unfinished")
        assert (await engine.result("unfinished")).status == "cancelled"


@pytest.fixture(params=[1, 3], ids=["1 partition", "3 partitions"])
def partitions(request: pytest.FixtureRequest) -> int:
    """Run the test with one partition and with three."""
    count: int = request.param
    return count


async def test_what_is_kept_answers(tmp_path: Path, partitions: int) -> None:
    """Repeats and cancels are answered, results are typed as gone, views have every row."""
    results = await work(tmp_path, partitions)
    await end_what_is_left(tmp_path, partitions)
    archive(tmp_path)
    check(tmp_path)
    before = view_rows(tmp_path)
    plans = expire(tmp_path)
    assert sorted(run for plan in plans for run in plan.runs) == sorted([*results, "unfinished"])
    assert view_rows(tmp_path) == before
    forget_views(tmp_path)
    check(tmp_path)
    assert view_rows(tmp_path) == before
    async with engine_on(tmp_path, partitions) as engine:
        for run_id, (status, _) in results.items():
            with pytest.raises(HistoryExpired) as gone:
                await engine.result(run_id)
            assert gone.value.details["status"] == status
            with pytest.raises(CommandRefused) as refused:
                await engine.cancel(run_id)
            assert refused.value.code == "run_finished"
        assert (await engine.submit(sums(), input={"start": 2}, run_id="sum2")).repeated
        with pytest.raises(CommandRefused) as refused:
            await engine.submit(sums(), input={"start": 3}, run_id="sum2")
        assert refused.value.code == "command_conflict"
        assert (await engine.run(sums(), run_id="new")).result == {"sum": 12}
        with pytest.raises(goclaw.errors.RunNotFound):
            await engine.result("nobody")
    check(tmp_path)


async def test_a_view_of_a_newer_version_goes_on_without_what_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what it lacks, to whoever asks for it; and more can be given up."""
    await work(tmp_path)
    await end_what_is_left(tmp_path)
    archive(tmp_path)
    [plan] = expire(tmp_path)
    monkeypatch.setattr(RunsProjection, "version", 99)
    for round_ in range(2):
        async with engine_on(tmp_path) as engine:
            ended = await engine.run(sums(), run_id=f"later{round_}")
            assert ended.result == {"sum": 12}
            records = [view_record(status) for status in engine.views.runner.status()]
            page = engine.views.at(ended.position, "runs").runs.list(limit=10)
            lacks = {record["name"]: record["lacks_below"] for record in records}
            assert lacks.pop("runs") == [f"0:{plan.below}"]
            assert {tuple(each) for each in lacks.values()} == {()}
            assert [run.run_id for run in page.runs] == [f"later{n}" for n in range(round_, -1, -1)]
        found = look_at_log(tmp_path).findings
        [says] = [each.says for each in found if each.name == "views"]
        assert says.endswith(f"they lack what was given up: runs below 0:{plan.below}")
        archive(tmp_path)
        expire(tmp_path)
        forget_views(tmp_path)


def newer_lanes(raised: bool) -> Decider[Lane]:
    """Return lanes as a later version of Goclaw might keep them: with one thing more."""
    form = LANE.form
    assert form is not None

    def root(lane: Lane) -> Value:
        return [*form.root(lane), "new"]

    def restore(stream: str, root: Value, maps: MapChunks) -> Lane:
        *known, new = root
        assert new in {"new", "none"}
        return form.restore(stream, known, maps)

    def with_none(root: Value, maps: MapChunks) -> tuple[Value, MapChunks]:
        return [*root, "none"], maps

    raises = {form.version: with_none} if raised else {}
    return replace(LANE, form=SnapshotForm(form.version + 1, root, form.maps, restore, raises))


def narrow(engine: goclaw.Engine) -> Any:
    """Return what the lane of `sums` is, of which no facts are left."""
    parts = engine.parts
    return LANE.encode(loaded(parts.journal, parts.deciders, "lane/sums/narrow").state)


async def given_up(path: Path) -> None:
    """Have a log of which the history before its last run is gone."""
    await work(path)
    await end_what_is_left(path)
    archive(path)
    expire(path)


async def test_lanes_of_an_earlier_form_are_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No facts are left of them: what the baseline has becomes what this version keeps."""
    await given_up(tmp_path)
    async with engine_on(tmp_path) as engine:
        before = narrow(engine)
    monkeypatch.setattr(directory, "LANE", newer_lanes(raised=True))
    for round_ in range(2):
        async with engine_on(tmp_path) as engine:
            assert round_ or narrow(engine) == before
            assert (await engine.run(sums(), run_id=f"later{round_}")).result == {"sum": 12}
        archive(tmp_path)
        expire(tmp_path)
    check(tmp_path)


async def test_a_log_whose_lanes_cannot_be_read_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal says which form was found and which are read, and nothing is changed."""
    await given_up(tmp_path)
    with monkeypatch.context() as later:
        later.setattr(directory, "LANE", newer_lanes(raised=False))
        with pytest.raises(BaselineFormUnknown, match=r"lane/\S+ is kept in form \d+ where"):
            async with engine_on(tmp_path):
                pass
    async with engine_on(tmp_path) as engine:
        assert (await engine.run(sums(), run_id="later")).result == {"sum": 12}
    check(tmp_path)


async def test_unfinished_runs_hold_history_back(tmp_path: Path) -> None:
    """Nothing is given up that a run which goes on has facts in, or anything behind it."""
    await work(tmp_path)
    archive(tmp_path)
    assert expire(tmp_path) == []
    await end_what_is_left(tmp_path)
    assert expire(tmp_path) == []  # its end is not archived yet
    archive(tmp_path)
    plans = expire(tmp_path)
    assert [len(plan.segments) for plan in plans] == [2]
    check(tmp_path)


async def test_a_run_on_both_sides_keeps_its_end(tmp_path: Path) -> None:
    """Of a run that began in what went and ended in what stays, result and replay remain."""
    await work(tmp_path)
    archive(tmp_path)
    await end_what_is_left(tmp_path)
    async with engine_on(tmp_path) as engine:
        await engine.run(sums(), run_id="later")
    archive(tmp_path)
    with Upkeep(goclaw.Settings(data_dir=tmp_path)) as upkeep:
        plan = upkeep.expirer.plan(0, _end_of_first(upkeep))
        assert plan is not None
        assert "unfinished" in plan.runs
        assert "later" not in plan.runs
        upkeep.expirer.expire(plan)
    forget_views(tmp_path)
    check(tmp_path)
    async with engine_on(tmp_path) as engine:
        assert (await engine.result("unfinished")).status == "cancelled"
        assert (await engine.result("later")).result == {"sum": 12}
        with pytest.raises(HistoryExpired):
            await engine.result("sum1")


def _end_of_first(upkeep: Upkeep) -> int:
    return upkeep.journal.shelves.current[0].readers[0].info.last + 1


async def test_again_and_again(tmp_path: Path, partitions: int) -> None:
    """Rounds of work, archive and expiry: the views stay those of one long history."""
    rows: dict[bytes, bytes] = {}
    for round_ in range(3):
        async with engine_on(tmp_path, partitions) as engine:
            await engine.run(sums(), input={"start": round_}, run_id=f"round{round_}")
            await engine.submit(single("hang"), run_id=f"hang{round_}")
            if round_:
                await engine.cancel(f"hang{round_ - 1}")
                await engine.result(f"hang{round_ - 1}")
        archive(tmp_path)
        check(tmp_path)
        rows = view_rows(tmp_path)
        expire(tmp_path)
        forget_views(tmp_path)
        check(tmp_path)
        assert view_rows(tmp_path) == rows
    assert len([key for key in rows if key.startswith(b"runs/run/")]) == 6


@pytest.mark.parametrize("step", STEPS)
async def test_what_a_crash_stops_is_completed(tmp_path: Path, step: str) -> None:
    """Killed before any step: the log is whole, and the next attempt completes it."""
    await work(tmp_path)
    await end_what_is_left(tmp_path)
    archive(tmp_path)

    def die(reached: str) -> None:
        if reached == step:
            raise Killed

    with Upkeep(goclaw.Settings(data_dir=tmp_path)) as upkeep:
        upkeep.expirer.step = die
        plan = upkeep.expirer.plan(0, FAR)
        assert plan is not None
        with pytest.raises(Killed):
            upkeep.expirer.expire(plan)
    check(tmp_path)
    assert len(expire(tmp_path)) == (step != "drop")
    check(tmp_path)
    assert files_of(tmp_path) == [".baseline"]


async def test_the_fact_counts_what_the_plan_names(tmp_path: Path) -> None:
    """What is recorded says how far history went and how many runs lost some."""
    await work(tmp_path)
    await end_what_is_left(tmp_path)
    archive(tmp_path)
    plan = expire(tmp_path)[0]
    journal = DataDirectory(tmp_path).open_journal(read_only=True)
    try:
        begin = Position(0, journal.history(0))
        found = list(select(journal, Selection(type="partition.segments_expired", start=begin)))
    finally:
        journal.close()
    assert len(found) == 1
    data: dict[str, Any] = found[0].data()
    assert (data["below"], data["runs"]) == (plan.below, len(plan.runs))
