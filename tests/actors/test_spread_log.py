"""A log that is spread over other partitions goes on where its idle actors are now."""

from __future__ import annotations

from io import BytesIO

import pytest

from goclaw_actors.decider import Send
from goclaw_actors.messages import TimerFired
from goclaw_events.errors import LogUnfinished
from goclaw_events.facts import MessageFailed, MessageSettled, ScheduleFired
from goclaw_events.memory_journal import MemoryJournal
from goclaw_events.portable import check_portable, export_log, import_portable
from goclaw_events.verify import verify
from tests.actors.stage import Stage
from tests.actors.test_schedule import FIRST_NS, MINUTE_NS, SECOND_NS, STREAM, set_schedule, struck


def spread(stage: Stage, partitions: int) -> Stage:
    """Return a process on what the log of another one holds, in so many partitions."""
    file = BytesIO()
    export_log(stage.journal, file, "test")
    file.seek(0)
    manifest = check_portable(file)
    file.seek(0)
    journal = MemoryJournal(partitions=partitions)
    import_portable(file, manifest, journal, lambda _: None)
    assert verify(journal).problems == []
    return Stage(journal.crash(), boot=2)


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (4, 7)])
def test_a_schedule_goes_on_in_other_partitions(before: int, after: int) -> None:
    """Its timer goes with it: what is due meanwhile is made up for, and no time comes twice."""
    stage = Stage(partitions=before)
    set_schedule(stage)
    stage.clock.ns = FIRST_NS + 2 * SECOND_NS
    stage.finish()
    other = spread(stage, after)
    assert other.rows("timers") == 1
    other.clock.ns = FIRST_NS + MINUTE_NS + 2 * SECOND_NS
    other.finish()
    fired = [fact.planned_ns for fact in other.facts(STREAM) if isinstance(fact, ScheduleFired)]
    assert [at_ns - fired[0] for at_ns in fired] == [0, MINUTE_NS]
    assert other.rows("timers") == 1
    assert verify(other.journal).problems == []


def test_a_schedule_whose_run_goes_on_waits_for_its_end() -> None:
    """A run under way names places of the old log; what is said is what to do."""
    stage = Stage()
    set_schedule(stage)
    stage.clock.ns = FIRST_NS + 2 * SECOND_NS
    stage.rest()
    with pytest.raises(LogUnfinished, match="rows of attempts") as refused:
        spread(stage, 4)
    assert "goclaw schedules pause" in refused.value.hint


@pytest.mark.parametrize("after", [1, 4])
def test_what_was_settled_stays_so(after: int) -> None:
    """Of two messages that were parked the one that waits still is parked, under its new number."""
    stage = struck(2)
    (failed,) = [said for said in stage.log() if isinstance(said.fact, MessageFailed)]
    settled = MessageSettled(failed.number, "redelivered", "mended", "me")
    again = Send(STREAM, TimerFired("fire"))
    stage.node.dispatchers[failed.partition].record([settled], lambda _: None, [again])
    stage.finish()
    assert stage.rows("parked") == 0
    other = spread(stage, after)
    assert other.rows("parked") == 0
    assert [type(said.fact) for said in other.log()].count(MessageSettled) == 1
    assert spread(struck(2), after).rows("parked") == 1
