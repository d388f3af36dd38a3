"""How lanes of other systems failed, each shown not to happen here.

What these were: locks on itself of a lane that is called from within, one call that starves its
siblings, sessions that wait for each other, work that is lost or doubled without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.lane import LANE
from goclaw_actors.lane.control import DRAINING
from goclaw_actors.lending import ControlLane, Enqueue, Release
from goclaw_actors.message import Message
from goclaw_events.facts import (
    AttemptStarted,
    LaneAdvanced,
    LaneDeclared,
    LaneRedirected,
    LaneRefused,
    LaneScaled,
)
from tests.actors.given import NOW_NS, Scenario, plan_of
from tests.actors.stage import Stage
from tests.actors.test_children import Family

if TYPE_CHECKING:
    from goclaw_events.plan import Plan

SECOND_NS = 10**9
ONE_SLOT: dict[str, Any] = {"concurrency": 1, "capacity": 1}
SHARED: dict[str, Any] = {"io": ONE_SLOT}


def below(depth: int, lane: str, **lanes: Any) -> dict[str, Plan]:
    """Return definitions that run each other through one lane; the last one works in it."""
    plans = {}
    for level in range(depth):
        last = level == depth - 1
        work = {"agent": "x"} if last else {"workflow": f"d{level + 1}"}
        plans[f"d{level}"] = plan_of({"t": {**work, "lane": lane}}, **lanes)
    return plans


def one_at_a_time(stage: Stage, stream: str) -> list[str]:
    """Return who got a slot of a lane, in order; never were there two."""
    held: set[str] = set()
    order = []
    for fact in stage.facts(stream):
        if isinstance(fact, LaneAdvanced):
            held = (held - set(fact.released)) | set(fact.leased)
            order += fact.leased
            assert len(held) <= 1
    assert not held
    return order


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_lane_of_one_slot_can_be_called_from_within(depth: int, partitions: int) -> None:
    """A task that waits for what runs below it holds no slot: nested calls through one lane end.

    Elsewhere: two dispatches of one lane, or nested inference at a concurrency of 1, never ended.
    """
    stage = Family(partitions=partitions)
    top = {"top": {"workflow": "d0", "lane": "/one"}}
    stage.submit_with(top, below(depth, "/one"))
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    assert len(one_at_a_time(stage, "lane//one")) >= depth + 1


@pytest.mark.parametrize("overflow", ["reject", "block", "drop_oldest", "drop_newest"])
def test_a_task_may_send_work_to_its_own_full_lane(overflow: str) -> None:
    """What is full answers; it does not wait for the one that asks. Everything ends.

    Elsewhere: a scheduled task that queued work in its own full lane hung it.
    """
    stage = Family()
    full = {"io": {**ONE_SLOT, "overflow": overflow}}
    tasks = {f"t{n}": {"workflow": "sub", "with": {"n": 1}, "lane": "io"} for n in range(6)}
    stage.submit_with(tasks, {"sub": plan_of({"s": {"agent": "x", "lane": "io"}}, lanes=full,
                              input={"n": {}})}, lanes=full, on_failure="continue")  # fmt: skip
    stage.finish()
    expected = "completed" if overflow == "block" else "failed"
    assert stage.ended["r"][0] == expected
    assert stage.rows("open") == 0


def test_one_that_hangs_holds_up_nobody_but_its_key() -> None:
    """Tasks of other keys go on beside an attempt that never ends, and its timeout ends it.

    Elsewhere: one wedged call starved all lanes beside it, and all that waited behind it.
    """
    stage = Stage()
    keyed = {
        user: {"agent": "x", "lane": {"name": "io", "key": f"${{input.{user}}}"}}
        for user in ("ann", "bob")
    }
    head = {"lanes": {"io": {"concurrency": 2}}, "input": {"ann": {}, "bob": {}}}
    stage.submit(keyed, "hangs", given={"ann": "a", "bob": "b"}, **head)
    stage.rest()
    hanging = next(a for a in stage.executor.held.values() if a.task_id == "ann")
    for number in range(5):
        stage.submit(keyed, f"r{number}", given={"ann": f"n{number}", "bob": "b"}, **head)
        for _ in range(4):
            stage.rest()
            for attempt in list(stage.executor.held.values()):
                if attempt is not hanging:
                    stage.end(attempt)
        stage.rest()
        assert stage.ended[f"r{number}"][0] == "completed"
    stage.end(hanging, "failed")
    stage.rest()
    assert stage.ended["hangs"][0] == "failed"


def test_sessions_do_not_wait_for_each_other() -> None:
    """Keys of one lane run side by side, those of one key one by one in order of arrival.

    Elsewhere: different sessions went one after the other; messages of one overtook each other.
    """
    stage = Stage()
    task = {"a": {"agent": "x", "lane": {"name": "io", "key": "${input.user}"}}}
    for number in range(12):
        user = "abc"[number % 3]
        stage.submit(task, f"r{number:02}", given={"user": user}, lanes={"io": {}},
                     input={"user": {}})  # fmt: skip
    stage.rest()
    assert sorted(attempt.run_id for attempt in stage.executor.held.values()) == [
        "r00", "r01", "r02",
    ]  # fmt: skip
    stage.finish()
    started = [attempt.run_id for attempt in stage.executor.started]
    for first in range(3):
        own = [run for run in started if int(run[1:]) % 3 == first]
        assert own == sorted(own)


def test_a_lane_forgets_keys_that_nobody_uses() -> None:
    """Ten thousand sessions that came and went leave nothing behind.

    Elsewhere: lanes that were made for a session were never given up.
    """
    lane = Scenario(LANE, "lane/w/io", large=True)
    lane.given(LaneDeclared(4, 100, "reject", "w", {"fair_by": "none"}))
    for number in range(10_000):
        lane.when(Enqueue(f"t{number}", 0, at_head=False, key=f"k{number}"), NOW_NS + number)
        lane.when(Release(f"t{number}"), NOW_NS + number)
    assert len(lane.encoded()) < 1_000
    assert not lane.state.queued
    assert not lane.state.leased


def test_a_run_that_takes_too_long_takes_nobody_along() -> None:
    """Its own tasks leave the lane; those of another run keep their place.

    Elsewhere: a run that timed out lost the whole queue.
    """
    stage = Stage()
    tasks = {f"t{n}": {"agent": "x", "lane": "io"} for n in range(4)}
    lanes = {"io": {"concurrency": 1, "overflow": "block", "capacity": 2}}
    stage.submit(tasks, "slow", lanes=lanes, timeout="1s")
    stage.submit(tasks, "other", lanes=lanes)
    stage.rest()
    stage.clock.ns += 2 * SECOND_NS
    stage.rest()
    for stop in stage.executor.stops:
        stage.end(stage.executor.held[stop.token], "cancelled")
    stage.finish()
    assert (stage.ended["slow"][0], stage.ended["other"][0]) == ("failed", "completed")


@pytest.mark.parametrize("overflow", ["reject", "drop_oldest", "drop_newest", "redirect", "block"])
@pytest.mark.parametrize("partitions", [1, 4])
def test_a_storm_comes_to_one_outcome_each(overflow: str, partitions: int) -> None:
    """Of a hundred at once each is taken, sent on, rejected or dropped, once, and its run hears.

    Elsewhere: work over the limit vanished, or all that was queued ran at once and twice.
    """
    lane = {"concurrency": 2, "capacity": 5, "overflow": overflow}
    if overflow == "redirect":
        lane["redirect_to"] = "/spill"
    stage = Stage(partitions=partitions)
    tasks = {f"t{n:02}": {"agent": "x", "lane": "io"} for n in range(100)}
    stage.submit(tasks, lanes={"io": lane}, on_failure="continue")
    stage.finish()
    told_no = [task for fact in stage.facts("lane/w/io") if isinstance(fact, LaneRefused)
               for task in fact.tasks]  # fmt: skip
    outcomes = [*told_no]
    for fact in stage.facts("lane/w/io"):
        match fact:
            case LaneAdvanced():
                outcomes += [task for task, *_ in fact.queued if task not in told_no]
            case LaneRedirected():
                outcomes += fact.tasks
    assert sorted(outcomes) == [f"task/r/{name}" for name in tasks]
    ended = [fact for fact in stage.facts("workflow/r") if hasattr(fact, "generation")]
    assert sorted(fact.task for fact in ended) == list(tasks)
    started = [said.stream for said in stage.log() if isinstance(said.fact, AttemptStarted)]
    assert len(started) == len(set(started))
    lost = {"block": 0, "redirect": 0}.get(overflow, 100 - len(started))
    assert sum(fact.status == "failed" for fact in ended) == lost
    assert (lost == 0) == (overflow in ("block", "redirect"))


def test_a_lane_counts_what_is_in_it_and_not_what_a_process_thinks() -> None:
    """Capacity is the lane's own, over partitions, crashes and processes that are gone.

    Elsewhere: each process counted for itself, so the limits of several were not those said.
    """
    stage = Stage(partitions=4)
    lanes = {"io": {"concurrency": 1, "capacity": 3, "overflow": "reject"}}
    for number in range(8):
        stage.submit({"a": {"agent": "x", "lane": "io"}}, f"r{number}", lanes=lanes)
        if number % 3 == 2:
            stage.rest()
            stage = stage.crash(survive=100)
    stage.finish()
    statuses = [status for status, _ in stage.ended.values()]
    refused = [fact for fact in stage.facts("lane/w/io") if isinstance(fact, LaneRefused)]
    assert sum(len(fact.tasks) for fact in refused) == 4
    assert statuses.count("completed") + statuses.count("failed") <= 8


def test_asking_twice_neither_fails_nor_runs_twice() -> None:
    """A task that is in the lane already stays as it is: nothing is refused, nothing changes.

    Elsewhere: a duplicate counted as a failure of the queue, which was left for another one.
    """
    lane = Scenario(LANE, "lane/w/io").given(LaneDeclared(1, 1, "reject", "w"))
    for task in ("a", "b"):
        lane.when(Enqueue(task, 0, at_head=False))
    for task in ("a", "b"):
        assert lane.when(Enqueue(task, 0, at_head=False)).facts == ()


@pytest.mark.parametrize("per_second", [0.1, 0.5, 0.9])
def test_a_leaky_bucket_below_one_a_second_is_a_pause_of_seconds(per_second: float) -> None:
    """Each starts 1/rate after the one before. Elsewhere: a division by zero."""
    stage = Stage()
    rate = {"per_second": per_second, "kind": "leaky_bucket"}
    tasks = {f"t{n}": {"agent": "x", "lane": "io"} for n in range(3)}
    stage.submit(tasks, lanes={"io": {"rate": rate}})
    stage.rest()
    assert len(stage.executor.started) == 1
    for started in (2, 3):
        stage.clock.ns += int(SECOND_NS / per_second) - 10_000_000
        stage.rest()
        assert len(stage.executor.started) == started - 1
        stage.clock.ns += 20_000_000
        stage.rest()
        assert len(stage.executor.started) == started


def test_every_lane_heeds_priority_and_then_arrival() -> None:
    """Also one with limits; ties are first in first out. Elsewhere: priority was not read."""
    for limits in (None, {"per_tenant": 1, "ageing": 0}):
        lane = Scenario(LANE, "lane/w/io").given(LaneDeclared(1, 100, "reject", "w", limits))
        order = [("busy", 0), ("b", 1), ("d", 0), ("a", 5), ("c", 1)]
        for at, (task, priority) in enumerate(order):
            lane.when(Enqueue(task, priority, at_head=False), NOW_NS + at)
        leased = []
        for task in ("busy", "a", "b", "c"):
            decision = lane.when(Release(task), NOW_NS + 10)
            leased += decision.facts[0].leased
        assert leased == ["a", "b", "c", "d"]


@pytest.mark.parametrize("partitions", [1, 4])
def test_two_that_send_to_one_session_at_once_both_get_there(partitions: int) -> None:
    """Runs started by two others for one key go one by one; each runs once, whoever was first.

    Elsewhere: a message from one agent to another raced with the lane of the one it was for.
    """
    session = {"s": {"agent": "x", "lane": {"name": "/sessions", "key": "${input.to}"}}}
    stage = Family(partitions=partitions)
    top = {f"t{n}": {"workflow": "turn", "with": {"to": "main"}} for n in range(4)}
    stage.submit_with(top, {"turn": plan_of(session, input={"to": {}})})
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    assert len(one_at_a_time(stage, "lane//sessions")) == len(top)
    assert len(stage.executor.started) == len(top)


def test_slots_come_and_go_by_themselves() -> None:
    """Work that waits brings slots up to the most, quiet takes them away down to the least.

    Elsewhere: workers could be scaled, and nobody ever did; fewer of them was a number only.
    """
    stage = Stage()
    lane = {"scale": {"min": 1, "max": 4, "wait": "1s", "idle": "10s"}}
    stage.submit({f"t{n}": {"agent": "x", "lane": "io"} for n in range(9)}, lanes={"io": lane})
    stage.rest()
    most = 0
    for _ in range(3):
        stage.clock.ns += 2 * SECOND_NS
        stage.rest()
        most = max(most, len(stage.executor.held))
    assert most == 4
    stage.submit({"last": {"agent": "x", "lane": "io"}}, "last", lanes={"io": lane})
    while len(stage.executor.held) > 1 or stage.rows("inbox"):
        stage.end(next(iter(stage.executor.held.values())))
        stage.rest()
    for _ in range(5):
        stage.clock.ns += 11 * SECOND_NS
        stage.rest()
    slots = [fact.concurrency for fact in stage.facts("lane/w/io") if isinstance(fact, LaneScaled)]
    assert (max(slots), slots[-1]) == (4, 1)
    stage.finish()
    assert {status for status, _ in stage.ended.values()} == {"completed"}


def test_everything_a_lane_can_do_is_said_in_a_definition() -> None:
    """Slots, rate, units, overflow, keys and priority: each is declared, and holds.

    Elsewhere: there was one lane, and neither its rate nor its overflow could be configured.
    """
    stage = Stage()
    lanes = {
        "io": {"concurrency": 2, "capacity": 3, "overflow": "redirect", "redirect_to": "spill",
               "rate": {"per_second": 5, "burst": 7, "kind": "token_bucket"},
               "resources": {"gpu": 2}, "per_key": 1},
        "spill": {"concurrency": 1, "resources": {"gpu": 1}},
    }  # fmt: skip
    lane = {"name": "io", "key": "${input.user}"}
    tasks = {
        f"t{n}": {"agent": "x", "lane": lane, "units": {"gpu": 1}, "priority": n} for n in range(3)
    }
    stage.submit(tasks, given={"user": "ann"}, input={"user": {}}, lanes=lanes)
    stage.rest()
    (declared,) = (fact for fact in stage.facts("lane/w/io") if isinstance(fact, LaneDeclared))
    assert (declared.concurrency, declared.capacity) == (2, 3)
    assert (declared.overflow, declared.redirect_to) == ("redirect", "w/spill")
    assert declared.limits == {
        "rate": [5.0, 7, "token_bucket"], "resources": {"gpu": 2}, "per_key": 1,
    }  # fmt: skip
    stage.finish()
    started = [attempt.task_id for attempt in stage.executor.started]
    assert started == ["t2", "t1", "t0"], "one at a time of the key, the highest priority first"


def test_a_draining_lane_that_blocks_keeps_nobody_waiting() -> None:
    """What it took in is worked on; who is held back, and who comes, is told that it drains."""
    stage = Stage()
    lanes = {"io": {"concurrency": 1, "capacity": 1, "overflow": "block"}}
    tasks = {f"t{n}": {"agent": "x", "lane": "io"} for n in range(6)}
    stage.submit(tasks, lanes=lanes, on_failure="continue")
    stage.rest()
    assert stage.executor.held
    stage.node.accept(Message("lane/w/io", ControlLane(DRAINING, {}, False, "uid:0")))
    stage.submit({"late": {"agent": "x", "lane": "io"}}, "late", lanes=lanes)
    stage.finish()
    ended = [fact for fact in stage.facts("workflow/r") if hasattr(fact, "generation")]
    assert [fact.status for fact in ended].count("completed") == 2
    assert [fact.error[0] for fact in ended if fact.status == "failed"] == ["lane_draining"] * 4
    assert stage.ended["late"][0] == "failed"
    assert stage.rows("open") == 0


def test_a_task_that_a_full_lane_rejects_is_not_tried_again() -> None:
    """`retry` counts attempts, and there was none; who wants to wait says `block`."""
    stage = Stage()
    lanes = {"io": {"concurrency": 1, "capacity": 1, "overflow": "reject"}}
    retry = {"attempts": 4, "initial": "1s", "retry_on": ["lane_full", "agent_error"]}
    tasks = {f"t{n}": {"agent": "x", "lane": "io", "retry": retry} for n in range(3)}
    stage.submit(tasks, lanes=lanes, on_failure="continue")
    stage.finish()
    ended = [fact for fact in stage.facts("workflow/r") if hasattr(fact, "generation")]
    assert sorted(fact.status for fact in ended) == ["completed", "completed", "failed"]
    assert [fact.error[0] for fact in ended if fact.status == "failed"] == ["lane_full"]
    assert len(stage.executor.started) == 2
