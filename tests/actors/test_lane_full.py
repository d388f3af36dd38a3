"""Full lanes that block or redirect: nobody is lost, overtaken, or told twice."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_actors.decider import Send
from goclaw_actors.lane import LANE
from goclaw_actors.lane.decide import decide_together
from goclaw_actors.lane.draft import HOPS_MAX
from goclaw_actors.lane.room import PLACES_MAX, Room
from goclaw_actors.lending import (
    DeclareLane,
    Enqueue,
    LeaveRoom,
    LendFree,
    RecheckSlots,
    Release,
    ReturnRoom,
    WaitForRoom,
)
from goclaw_actors.message import Message
from goclaw_actors.messages import (
    AskAgain,
    LaneFull,
    RoomFor,
    SlotRedirected,
    SlotRefused,
)
from goclaw_actors.task import task_decider
from goclaw_actors.work import Interrupt
from goclaw_events.facts import (
    LaneAdvanced,
    LaneDeclared,
    LaneRedirected,
    LaneRefused,
    LaneRoomChanged,
    TaskCancelled,
    TaskRedirected,
    TasksBlocked,
    TaskScheduled,
    TasksUnblocked,
)
from goclaw_events.value import BlobRef
from tests.actors.given import Scenario, Shelf, moment
from tests.actors.play import Play
from tests.actors.stage import Stage

STREAM = "lane/w/io"


def blocking(capacity: int = 1, **more: Any) -> Scenario[Any]:
    """Return a lane of one slot that blocks, which is taken."""
    lane = Scenario(LANE, STREAM)
    lane.given(LaneDeclared(1, capacity, "block", "w", None, "", **more))
    ask(lane, "busy")
    return lane


def ask(lane: Scenario[Any], *tasks: str, let_in: bool = False) -> Any:
    """Let tasks (`run.task`) ask for a slot in one turn; return what follows."""
    messages = [
        Enqueue(f"task/{task.partition('.')[0]}/{task}", 0, at_head=False, let_in=let_in)
        for task in tasks
    ]
    decision = decide_together(lane.state, messages, moment())
    lane.given(*decision.facts)
    return decision


def said(decision: Any, kind: type) -> list[Any]:
    """Return what is said of one kind."""
    return [(send.target, send.body) for send in decision.sends if isinstance(send.body, kind)]


def ends(lane: Scenario[Any], task: str) -> Any:
    """Let a task give its slot back."""
    return lane.when(Release(f"task/{task.partition('.')[0]}/{task}"))


def test_the_run_hears_once_of_all_its_tasks_that_find_no_room() -> None:
    """One waiter a run, however many tasks: they are named to the run, which holds them back."""
    lane = blocking()
    decision = ask(lane, "r.a", "r.b", "r.c", "s.d")
    assert said(decision, LaneFull) == [
        ("workflow/r", LaneFull("w/io", ["task/r/r.b", "task/r/r.c"])),
        ("workflow/s", LaneFull("w/io", ["task/s/s.d"])),
    ]
    assert decision.facts[1:] == (LaneRoomChanged([], [], ["workflow/r", "workflow/s"], []),)
    assert said(decision, SlotRefused) == []
    assert lane.encoded() == lane.replayed()


def test_room_is_kept_for_who_waits_in_order() -> None:
    """The first run is told; another that comes meanwhile does not get its place."""
    lane = blocking()
    ask(lane, "r.a", "r.b", "s.c")
    decision = ends(lane, "busy")
    assert said(decision, RoomFor) == [("workflow/r", RoomFor("w/io", 1))]
    late = ask(lane, "t.d")
    assert said(late, LaneFull) == [("workflow/t", LaneFull("w/io", ["task/t/t.d"]))]
    came = ask(lane, "r.b", let_in=True)
    assert came.facts[0].queued == [("task/r/r.b", 0, False)]
    assert came.facts[1].used == [["workflow/r", 1]]
    assert list(lane.state.room.waiters) == ["workflow/s", "workflow/t"]
    assert lane.encoded() == lane.replayed()


def test_places_that_nobody_wants_go_to_the_next() -> None:
    """A run whose tasks ended meanwhile gives the place back, or leaves the line before."""
    lane = blocking()
    ask(lane, "r.a", "r.b", "s.c", "t.d")
    ends(lane, "busy")
    assert lane.when(LeaveRoom("workflow/s")).facts == (
        LaneRoomChanged([], ["workflow/s"], [], []),
    )
    returned = lane.when(ReturnRoom("workflow/r", 1))
    assert said(returned, RoomFor) == [("workflow/t", RoomFor("w/io", 1))]
    for repeated in (ReturnRoom("workflow/r", 1), LeaveRoom("workflow/s")):
        assert lane.when(repeated).facts == ()
    assert lane.encoded() == lane.replayed()


def test_a_run_that_waits_again_where_there_is_room_is_told_at_once() -> None:
    """The line is empty and so is the queue: nothing could wake it later."""
    lane = Scenario(LANE, STREAM).given(LaneDeclared(1, 2, "block", "w"))
    decision = lane.when(WaitForRoom("workflow/r"))
    assert said(decision, RoomFor) == [("workflow/r", RoomFor("w/io", 2))]


def test_the_line_is_bounded() -> None:
    """Where `waiters_max` runs wait a task of another one is rejected; one of these is not."""
    lane = blocking(waiters_max=1)
    decision = ask(lane, "r.a", "r.b", "s.c", "r.d")
    assert said(decision, LaneFull)[0][1].tasks == ["task/r/r.b", "task/r/r.d"]
    assert said(decision, SlotRefused) == [("task/s/s.c", SlotRefused("lane_full"))]
    assert LaneRefused(["task/s/s.c"], "lane_full") in decision.facts


def test_a_place_in_the_line_that_falls_free_in_a_turn_is_had_in_it() -> None:
    """Who waited has its room now; who came in the same turn lines up behind it."""
    lane = blocking(waiters_max=1)
    ask(lane, "r.a", "r.b")
    asks = Enqueue("task/s/s.c", 0, at_head=False)
    busy = Release("task/busy/busy")
    decision = decide_together(lane.state, [busy, asks], moment())
    lane.given(*decision.facts)
    assert said(decision, RoomFor) == [("workflow/r", RoomFor("w/io", 1))]
    assert said(decision, LaneFull) == [("workflow/s", LaneFull("w/io", ["task/s/s.c"]))]
    assert said(decision, SlotRefused) == []
    assert list(lane.state.room.waiters) == ["workflow/s"]
    assert lane.encoded() == lane.replayed()


def test_more_capacity_is_given_to_who_waits() -> None:
    """A declaration that makes room gives it, to so many runs at a time."""
    lane = blocking()
    for run in range(70):
        ask(lane, f"r{run}.a", f"r{run}.b")
    first = lane.when(DeclareLane(1, 10_000, "block", "w"))
    told = said(first, RoomFor)
    assert len(told) == 64
    assert {body.places for _, body in told} == {156, 157}
    assert said(first, LendFree) == []
    assert lane.state.room.places <= 10_000


def test_a_run_is_given_no_more_than_it_can_let_in_at_once() -> None:
    """256 places a run, and what is left in a further turn."""
    lane = blocking()
    ask(lane, "r.a", "r.b", "s.c")
    declared = lane.when(DeclareLane(1, 100_000, "block", "w"))
    assert [body.places for _, body in said(declared, RoomFor)] == [PLACES_MAX] * 2


def test_a_lane_that_could_not_be_read_keeps_no_places() -> None:
    """What was said about them is gone; whoever wanted one lines up again."""
    lane = blocking()
    ask(lane, "r.a", "r.b")
    ends(lane, "busy")
    checked = lane.when(RecheckSlots(None))
    assert checked.facts == (LaneRoomChanged([["workflow/r", 1]], [], [], []),)
    lined_up = ask(lane, "r.b", let_in=True)
    assert lined_up.facts[0].queued == [("task/r/r.b", 0, False)]


@pytest.mark.parametrize("ended", [True, False])
def test_a_task_takes_its_place_or_gives_it_back(ended: bool) -> None:
    """One that ended, or asks another lane by now, does not keep the place from others."""
    task = Scenario(task_decider(Shelf()), "task/r/a")
    task.given(TaskScheduled(BlobRef(bytes(32), 1), 0, {}, "w/io", 0))
    task.given(TaskCancelled("why", abandoned=False) if ended else TaskRedirected("w/other"))
    decision = task.when(AskAgain("w/io"))
    assert [(send.target, send.body) for send in decision.sends] == [
        (STREAM, ReturnRoom("workflow/r", 1))
    ]


def test_a_run_stays_in_line_for_tasks_that_it_has_not_heard_of_yet() -> None:
    """One that ended needs no room; the lane may have told another meanwhile that there is none.

    Room that nobody wants comes back when it is given; a run that ended leaves at once.
    """
    play = Play({name: {"agent": "x"} for name in ("a", "b")}, on_failure="continue")
    play.report("a", "failed")
    assert not play.run.when(LaneFull("w/io", ["task/r/a"])).sends
    play.report("b")
    left = play.run.when(LaneFull("w/io", ["task/r/b"]))
    assert left.sends == (Send(STREAM, LeaveRoom("workflow/r")),)


def lanes(**limits: Any) -> dict[str, Any]:
    """Return a lane of one slot with room for two, and what it does when full."""
    return {"io": {"concurrency": 1, "capacity": 2, "overflow": "block", **limits}}


def wide(count: int, **more: Any) -> dict[str, Any]:
    """Return tasks side by side."""
    return {f"t{n:02}": {"agent": "x", "lane": "io", **more} for n in range(count)}


def leases(stage: Stage, stream: str = STREAM) -> list[str]:
    """Return who got a slot, in order, without the kind of stream."""
    facts = [fact for fact in stage.facts(stream) if isinstance(fact, LaneAdvanced)]
    return [task.removeprefix("task/") for fact in facts for task in fact.leased]


def room_of(stage: Stage) -> Room:
    """Return the room of the lane, as its facts have it."""
    lane = LANE.initial(STREAM)
    for fact in stage.facts(STREAM):
        LANE.evolve(lane, fact)
    room: Room = lane.room
    return room


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_lane_that_blocks_loses_nothing(partitions: int) -> None:
    """Forty tasks through room for two: all complete, in order, and nothing stays behind."""
    stage = Stage(partitions=partitions)
    stage.submit(wide(40), lanes=lanes())
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    assert leases(stage) == [f"r/t{n:02}" for n in range(40)]
    assert [stage.rows(table) for table in ("inbox", "attempts", "open")] == [0] * 3
    held = [task for fact in stage.facts("workflow/r") if isinstance(fact, TasksBlocked)
            for task in fact.tasks]  # fmt: skip
    assert sorted(held) == [f"t{n:02}" for n in range(3, 40)]
    stage.check_live()


def test_runs_take_turns_where_they_wait() -> None:
    """A run with many tasks and one with few: the few do not wait for the many."""
    stage = Stage()
    stage.submit(wide(30), "many", lanes=lanes())
    stage.submit(wide(3), "few", lanes=lanes())
    stage.finish()
    order = leases(stage)
    assert len(order) == 33
    assert max(order.index(f"few/t{n:02}") for n in range(3)) < 12


def test_the_highest_priority_held_back_asks_first() -> None:
    """Of the tasks of one run, whatever the order in which they were held back."""
    tasks = wide(5) | {"urgent": {"agent": "x", "lane": "io", "priority": 5}}
    lane = lanes(concurrency=1)
    stage = Stage()
    stage.submit(wide(3, priority=9), "before", lanes=lane)
    stage.rest()
    stage.submit(tasks, lanes=lane)
    stage.finish()
    assert leases(stage)[3:] == ["r/urgent", *(f"r/t{n:02}" for n in range(5))]


def test_held_back_tasks_of_a_cancelled_run_make_way() -> None:
    """They end as cancelled at once; the run leaves the line, and the next one goes on."""
    stage = Stage()
    stage.submit(wide(9), "first", lanes=lanes())
    stage.rest()
    stage.submit(wide(4), "second", lanes=lanes())
    stage.rest()
    stage.cancel("first", "c")
    stage.rest()
    for stop in stage.executor.stops:
        stage.end(stage.executor.held[stop.token], "cancelled")
    stage.finish()
    assert (stage.ended["first"][0], stage.ended["second"][0]) == ("cancelled", "completed")
    assert not room_of(stage).waiters
    assert not room_of(stage).kept


def test_the_wait_for_a_slot_goes_on_while_held_back() -> None:
    """`queue_timeout` counts from when the task first asked."""
    stage = Stage()
    stage.submit(wide(5, queue_timeout="1m"), lanes=lanes(), on_failure="continue")
    stage.rest()
    stage.clock.ns += 61 * 10**9
    stage.rest()
    codes = [fact.error for fact in stage.facts("workflow/r") if hasattr(fact, "error")]
    assert [code for code, _ in codes] == ["timeout"] * 4
    stage.finish()
    assert not room_of(stage).waiters


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("survive", [0, 1, 3, 7])
def test_held_back_tasks_survive_a_crash(partitions: int, survive: int) -> None:
    """Whatever frames reached the disk, each task runs once and the line empties."""
    stage = Stage(partitions=partitions)
    stage.submit(wide(12), lanes=lanes())
    for _ in range(3):
        stage.decide()
        stage.commit(survive)
        stage.decide()
        stage = stage.crash(survive)
        stage.end_all()
    if "workflow/r" not in {said.stream for said in stage.log()}:
        stage.submit(wide(12), lanes=lanes())
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    assert not room_of(stage).waiters
    assert [stage.rows(table) for table in ("inbox", "attempts", "open")] == [0] * 3


SPILL: dict[str, Any] = {
    "io": {"concurrency": 1, "capacity": 1, "overflow": "redirect", "redirect_to": "spill"},
    "spill": {"concurrency": 1, "capacity": 1, "overflow": "redirect", "redirect_to": "last"},
    "last": {"concurrency": 1, "capacity": 1, "overflow": "block"},
}


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_task_that_finds_no_room_goes_to_the_lane_that_is_named(partitions: int) -> None:
    """Down a chain of lanes, the last of which blocks: the task hears which lane took it."""
    stage = Stage(partitions=partitions)
    stage.submit(wide(9), lanes=SPILL)
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    sent_on = [fact for fact in stage.facts(STREAM) if isinstance(fact, LaneRedirected)]
    assert {fact.lane for fact in sent_on} == {"w/spill"}
    assert sum(len(fact.tasks) for fact in sent_on) == 7
    redirected = [fact for fact in stage.facts("task/r/t08") if isinstance(fact, TaskRedirected)]
    assert [fact.lane for fact in redirected] == ["w/spill", "w/last"]
    assert set(leases(stage, "lane/w/last")) == {f"r/t{n:02}" for n in range(4, 9)}


def test_what_was_redirected_stays_in_the_lane_that_took_it() -> None:
    """A retry goes to the head of that lane, and its slot comes back there."""
    lanes_of = SPILL | {"io": SPILL["io"] | {"redirect_to": "last"}}
    stage = Stage()
    stage.submit(wide(4, retry={"attempts": 2, "initial": "1s"}), lanes=lanes_of)
    stage.rest()
    moved = next(a for a in stage.executor.held.values() if a.task_id == "t02")
    stage.end(moved, "failed")
    stage.rest()
    stage.clock.ns += 10 * 10**9
    stage.finish()
    assert leases(stage, "lane/w/last").count("r/t02") == 2
    assert stage.ended["r"][0] == "completed"


def test_a_circle_that_comes_up_at_run_time_ends() -> None:
    """Lanes declared one after the other may form one: after some hops the task is refused."""
    stage = Stage()
    full = {"concurrency": 1, "capacity": 1}
    lane = {**full, "overflow": "redirect", "redirect_to": "b"}
    tasks = {f"t{n}": {"agent": "x", "lane": "a"} for n in range(5)}
    stage.submit(tasks, "first", lanes={"a": lane, "b": full}, on_failure="continue")
    stage.rest()
    stage.node.accept(Message("lane/w/b", DeclareLane(1, 1, "redirect", "w", None, "w/a")))
    stage.rest()
    late = Message("lane/w/a", Enqueue("task/first/t4", 0, at_head=False))
    stage.node.accept(late)
    stage.rest()
    sent_on = [said.fact for said in stage.log() if isinstance(said.fact, LaneRedirected)]
    assert len(sent_on) <= 3 + HOPS_MAX
    stage.finish()
    assert stage.ended["first"][0] == "failed"


def test_hops_are_counted_by_the_lane() -> None:
    """The last hop that is allowed is sent on, the next is refused."""
    lane = Scenario(LANE, STREAM).given(LaneDeclared(1, 1, "redirect", "w", None, "w/b"))
    for task in ("busy", "waits"):
        lane.when(Enqueue(task, 0, at_head=False))
    sent_on = lane.when(Enqueue("a", 0, at_head=False, hops=HOPS_MAX - 1))
    assert said(sent_on, SlotRedirected) == [("a", SlotRedirected("w/b"))]
    refused = lane.when(Enqueue("b", 0, at_head=False, hops=HOPS_MAX))
    assert refused.facts == (LaneRefused(["b"], "lane_full"),)


@pytest.mark.parametrize(
    ("policy", "completed"), [("fail_fast", 0), ("let_finish", 1), ("continue", 3)]
)
def test_a_task_that_is_refused_fails_as_the_policy_says(policy: str, completed: int) -> None:
    """The reason reaches the run, which stops at once, lets what runs finish, or goes on."""
    stage = Stage()
    stage.submit(wide(4), lanes=lanes(overflow="reject"), on_failure=policy)
    stage.rest()
    asked = [tell.token for tell in stage.executor.tells if isinstance(tell.word, Interrupt)]
    assert len(asked) == (policy == "fail_fast")
    for token in asked:
        stage.end(stage.executor.held[token], "cancelled")
    stage.finish()
    assert stage.ended["r"][0] == "failed"
    ended = [fact for fact in stage.facts("workflow/r") if hasattr(fact, "generation")]
    assert [fact.error[0] for fact in ended if fact.status == "failed"] == ["lane_full"]
    assert [fact.status for fact in ended].count("completed") == completed


def test_a_lane_given_up_tells_the_runs_that_wait() -> None:
    """Held-back tasks fail with the code, in turns of their own, and the run ends."""

    def change(kinds: dict[str, Any]) -> None:
        from dataclasses import replace

        def decide(state: Any, message: Any, now: Any) -> Any:
            if isinstance(message, Release):
                _ = 1 // 0
            return LANE.decide(state, message, now)

        kinds["lane"] = replace(LANE, decide=decide, pool=None)

    stage = Stage(change=change)
    stage.submit(wide(6), lanes=lanes(), on_failure="continue")
    stage.finish()
    assert stage.ended["r"][0] == "failed"
    codes = [fact.error[0] for fact in stage.facts("workflow/r") if getattr(fact, "error", None)]
    assert codes == ["stream_poisoned"] * 5
    let_go = [fact for fact in stage.facts("workflow/r") if isinstance(fact, TasksUnblocked)]
    assert sum(len(fact.tasks) for fact in let_go) == 3
