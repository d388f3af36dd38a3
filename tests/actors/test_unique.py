"""Unique tasks: one at a time has a key; a duplicate is refused, joins, or takes the place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.lending import ClaimKey, FreeKey
from goclaw_actors.messages import KeyEnded, KeyGranted, KeyRefused, KeyTaken
from goclaw_actors.unique import UNIQUE, Unique
from goclaw_actors.unique import decide as deciding
from goclaw_events.facts import KeyClaimed, TaskFailed, TaskJoined
from goclaw_events.faults import InvalidDefinition
from goclaw_events.loading import definition_from
from goclaw_events.plan import compile_plan, pack_plan, unpack_plan
from tests.actors.given import NOW_NS, Scenario
from tests.actors.stage import Stage
from tests.actors.test_snapshot_forms import Keeper

KEYS = "unique/w/a"
SECOND_NS = 10**9


def keys() -> Scenario[Unique]:
    """Return the keys of a task."""
    return Scenario(UNIQUE, KEYS)


def claim(task: str, on_duplicate: str = "refuse", window_s: int = 0, key: str = "k") -> ClaimKey:
    """Return what a task asks for."""
    return ClaimKey(key, task, window_s * SECOND_NS, on_duplicate)


def free(task: str, status: str = "completed", result: Any = None, key: str = "k") -> FreeKey:
    """Return what a task says at its end."""
    error = ["boom", "why"] if status == "failed" else None
    return FreeKey(key, task, status, result, error)


def told(decision: Any) -> list[tuple[str, str]]:
    """Return who is told what."""
    return [(send.target, type(send.body).__name__) for send in decision.sends]


def test_one_has_the_key_until_it_ends() -> None:
    """A second is refused and leaves no trace; after the end the next one has it."""
    scenario = keys()
    assert told(scenario.when(claim("a"))) == [("a", "KeyGranted")]
    refused = scenario.when(claim("b"))
    assert refused.facts == ()
    assert [send.body.code for send in refused.sends] == ["task_duplicate"]
    assert scenario.when(claim("a")).sends == (), "asked again, it has it already"
    scenario.when(free("a"))
    assert told(scenario.when(claim("b"))) == [("b", "KeyGranted")]
    assert scenario.encoded() == scenario.replayed()


def test_what_completed_keeps_its_key_for_the_window() -> None:
    """From when it got it, by recorded time; what failed or was cancelled keeps nothing."""
    scenario = keys()
    scenario.when(claim("a", window_s=10))
    scenario.when(free("a"), NOW_NS + 3 * SECOND_NS)
    late = scenario.when(claim("b"), NOW_NS + 9 * SECOND_NS)
    assert told(late) == [("b", "KeyRefused")]
    assert told(scenario.when(claim("c", window_s=10), NOW_NS + 10 * SECOND_NS)) == [
        ("c", "KeyGranted")
    ]
    scenario.when(free("c", "failed"), NOW_NS + 11 * SECOND_NS)
    assert told(scenario.when(claim("d"), NOW_NS + 12 * SECOND_NS)) == [("d", "KeyGranted")]


def test_who_joins_ends_as_the_first_does() -> None:
    """All that joined hear the result; within the window a late one hears it at once."""
    scenario = keys()
    scenario.when(claim("a", "join", 60))
    for task in ("b", "c"):
        assert told(scenario.when(claim(task, "join"))) == [(task, "KeyShared")]
    ended = scenario.when(free("a", result={"n": 1}))
    assert [(send.target, send.body) for send in ended.sends] == [
        (task, KeyEnded("completed", {"n": 1}, None)) for task in ("b", "c")
    ]
    late = scenario.when(claim("d", "join"))
    assert late.sends[1].body == KeyEnded("completed", {"n": 1}, None)
    assert scenario.encoded() == scenario.replayed()


def test_where_the_first_is_cancelled_another_does_the_work() -> None:
    """Who joined did not ask for its end: the first of them has the key, the others wait on."""
    scenario = keys()
    for task in ("a", "b", "c"):
        scenario.when(claim(task, "join"))
    scenario.when(free("c", "cancelled"))
    again = scenario.when(free("a", "cancelled"))
    assert told(again) == [("b", "KeyGranted")]
    assert told(scenario.when(free("b", "failed"))) == []
    assert not scenario.state.claims


def test_who_comes_last_takes_the_place_of_who_waits() -> None:
    """The one with the key is asked to make way; of those that come, only the last waits."""
    scenario = keys()
    scenario.when(claim("a", "replace"))
    assert told(scenario.when(claim("b", "replace"))) == [("a", "KeyTaken"), ("b", "KeyShared")]
    last = scenario.when(claim("c", "replace"))
    assert ("b", "KeyRefused") in told(last)
    assert isinstance(last.sends[0].body, KeyTaken)
    ended = scenario.when(free("a", "failed"))
    assert [(send.target, send.body) for send in ended.sends] == [("c", KeyGranted())]
    assert ended.facts[1] == KeyClaimed("k", "c", 0, NOW_NS)


def test_keys_are_forgotten_when_their_window_is_over() -> None:
    """What is kept is bounded by how many come in a window, whatever came before."""
    scenario = Scenario(UNIQUE, KEYS, large=True)
    for number in range(2_000):
        now_ns = NOW_NS + number * SECOND_NS
        scenario.when(claim(f"t{number}", window_s=10, key=f"k{number}"), now_ns)
        scenario.when(free(f"t{number}", key=f"k{number}"), now_ns + 1)
    assert scenario.state.count == len(scenario.state.rows) <= 12
    assert len(scenario.state.claims) <= 12


def test_how_many_join_and_how_many_keys_there_are_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is over a bound is refused with a code of its own, not lost."""
    monkeypatch.setattr(deciding, "KEYS_MAX", 2)
    monkeypatch.setattr(deciding, "JOINED_MAX", 1)
    scenario = keys()
    for task in ("a", "b"):
        scenario.when(claim(task, "join"))
    for message in (claim("c", "join"), claim("d", key="other")):
        (send,) = scenario.when(message).sends
        assert isinstance(send.body, KeyRefused)
        assert send.body.code == "unique_full"


MESSAGES = st.tuples(
    st.sampled_from("kl"),
    st.sampled_from("abcdef"),
    st.sampled_from(["refuse", "join", "replace", "completed", "failed", "cancelled"]),
    st.sampled_from([0, 5]),
    st.integers(0, 4),
)


@settings(max_examples=150)
@given(st.lists(MESSAGES, max_size=40))
def test_whatever_comes_a_key_has_one_task(
    steps: list[tuple[str, str, str, int, int]],
) -> None:
    """One holder a key at any time, a grant for each claim, and a snapshot that is the state."""
    scenario, keeper = keys(), Keeper(UNIQUE, KEYS)
    holders: dict[str, str] = {}
    now_ns = NOW_NS
    for key, task, what, window_s, passed_s in steps:
        now_ns += passed_s * SECOND_NS
        name = f"{key}{task}"
        if what in ("refuse", "join", "replace"):
            message: Any = claim(name, what, window_s, key)
        else:
            message = free(name, what, key=key)
        decision = scenario.when(message, now_ns)
        if isinstance(message, FreeKey) and holders.get(key) == name:
            del holders[key]
        for send in decision.sends:
            if isinstance(send.body, KeyGranted):
                assert key not in holders, f"{send.target} has the key of {holders[key]}"
                holders[key] = send.target
        for known, holder in holders.items():
            row = scenario.state.holder(known)
            assert row is not None
            assert (row.task, row.done) == (holder, False)
        assert scenario.encoded() == scenario.replayed()
        restored = keeper.through(scenario.state)
        assert UNIQUE.encode(restored) == UNIQUE.encode(scenario.state)
        assert restored.count == scenario.state.count


# -- tasks of runs ---------------------------------------------------------------------------------

HEAD: dict[str, Any] = {"lanes": {"io": {"concurrency": 1}}, "input": {"k": {}}}


def tasks(on_duplicate: str, **more: Any) -> dict[str, Any]:
    """Return a unique task."""
    unique = {"key": "${input.k}", "on_duplicate": on_duplicate, **more}
    return {"a": {"agent": "x", "lane": "io", "unique": unique}}


def submit(stage: Stage, run: str, on_duplicate: str, k: str = "k", **more: Any) -> None:
    """Submit a run of it."""
    stage.submit(tasks(on_duplicate, **more), run, given={"k": k}, **HEAD)
    stage.rest()


def code_of(stage: Stage, run: str) -> str:
    """Return why the task of a run failed."""
    failed = [fact for fact in stage.facts(f"task/{run}/a") if isinstance(fact, TaskFailed)]
    return failed[0].code if failed else ""


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_duplicate_is_refused(partitions: int) -> None:
    """Its task fails with the reason; another key, and the same one later, are not duplicates."""
    stage = Stage(partitions=partitions)
    submit(stage, "first", "refuse")
    submit(stage, "second", "refuse")
    submit(stage, "other", "refuse", k="l")
    assert code_of(stage, "second") == "task_duplicate"
    stage.finish()
    submit(stage, "later", "refuse")
    stage.finish()
    assert {run: status for run, (status, _) in stage.ended.items()} == {
        "first": "completed", "second": "failed", "other": "completed", "later": "completed",
    }  # fmt: skip
    assert [stage.rows(table) for table in ("inbox", "attempts", "timers", "open")] == [0] * 4


@pytest.mark.parametrize("partitions", [1, 4])
def test_those_that_join_hand_on_the_same_result(partitions: int) -> None:
    """The agent is called once; who waits holds no slot; a large result is one blob."""
    stage = Stage(partitions=partitions)
    for run in ("first", "second", "third"):
        submit(stage, run, "join", window="1h")
    (attempt,) = stage.executor.held.values()
    assert any(isinstance(fact, TaskJoined) for fact in stage.facts("task/second/a"))
    stage.end(attempt, value="x" * 100_000)
    stage.rest()
    submit(stage, "late", "join")
    assert len(stage.executor.started) == 1
    results = {repr(result) for _, result in stage.ended.values()}
    assert len(stage.ended) == 4
    assert len(results) == 1
    assert {status for status, _ in stage.ended.values()} == {"completed"}
    stage.check_live()


def test_those_that_join_fail_with_the_first() -> None:
    """The same code and message; the key is free again."""
    stage = Stage()
    for run in ("first", "second"):
        submit(stage, run, "join", window="1h")
    stage.end(next(iter(stage.executor.held.values())), "failed")
    stage.rest()
    assert code_of(stage, "second") == code_of(stage, "first") == "boom"
    submit(stage, "again", "join")
    assert len(stage.executor.held) == 1


def test_a_cancelled_first_leaves_the_work_to_who_joined() -> None:
    """The run that joined asks for a slot of its own and goes on."""
    stage = Stage()
    for run in ("first", "second"):
        submit(stage, run, "join")
    stage.cancel("first", "c")
    stage.rest()
    for stop in stage.executor.stops:
        stage.end(stage.executor.held[stop.token], "cancelled")
    stage.finish()
    assert (stage.ended["first"][0], stage.ended["second"][0]) == ("cancelled", "completed")


def test_what_has_not_begun_is_replaced() -> None:
    """It leaves its lane and fails with the reason; the one that came asks in its place."""
    stage = Stage()
    stage.submit({"b": {"agent": "x", "lane": "io"}}, "busy", lanes=HEAD["lanes"])
    stage.rest()
    submit(stage, "first", "replace")
    submit(stage, "second", "replace")
    assert code_of(stage, "first") == "task_replaced"
    stage.finish()
    assert stage.ended["second"][0] == "completed"
    assert [attempt.run_id for attempt in stage.executor.started] == ["busy", "second"]


def test_what_has_begun_ends_first() -> None:
    """It is not stopped; of those that come meanwhile the last one follows."""
    stage = Stage()
    for run in ("first", "second", "third"):
        submit(stage, run, "replace")
    assert code_of(stage, "second") == "task_replaced"
    stage.finish()
    assert [attempt.run_id for attempt in stage.executor.started] == ["first", "third"]
    assert (stage.ended["first"][0], stage.ended["third"][0]) == ("completed", "completed")


@pytest.mark.parametrize("how", ["cancel", "total_timeout"])
def test_who_waits_for_a_key_may_give_up(how: str) -> None:
    """Cancelled, or out of time: it does not get the key later."""
    stage = Stage()
    submit(stage, "first", "join")
    waiting = tasks("join")
    waiting["a"]["total_timeout"] = "1m"
    stage.submit(waiting, "second", given={"k": "k"}, **HEAD)
    stage.rest()
    if how == "cancel":
        stage.cancel("second", "c")
    else:
        stage.clock.ns += 61 * SECOND_NS
    stage.rest()
    assert stage.ended["second"][0] == ("cancelled" if how == "cancel" else "failed")
    stage.finish()
    assert stage.ended["first"][0] == "completed"
    assert len(stage.executor.started) == 1


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("on_duplicate", ["refuse", "join", "replace"])
@pytest.mark.parametrize("survive", [0, 2, 5])
def test_keys_survive_a_crash(partitions: int, on_duplicate: str, survive: int) -> None:
    """Whatever frames reached the disk: never two at once, and everything ends."""
    stage = Stage(partitions=partitions)
    for run in ("one", "two", "three"):
        stage.submit(tasks(on_duplicate), run, given={"k": "k"}, **HEAD)
    stage.decide()
    stage.commit(survive)
    stage.decide()
    for _ in range(3):
        stage = stage.crash(survive)
        stage.decide()
        assert len(stage.executor.held) <= 1
        stage.end_all()
    known = {said.stream for said in stage.log()}
    for run in ("one", "two", "three"):
        if f"workflow/{run}" not in known:
            stage.submit(tasks(on_duplicate), run, given={"k": "k"}, **HEAD)
    stage.finish()
    ended = {said.stream for said in stage.log() if type(said.fact).__name__ in
             ("RunCompleted", "RunFailed")}  # fmt: skip
    assert ended == {"workflow/one", "workflow/two", "workflow/three"}
    assert stage.rows("open") == 0
    stage.check_live()


def test_a_run_below_may_be_unique() -> None:
    """A task that stands for a run, without a lane: the run is begun once the key is there."""
    stage = Stage()
    unique = {"key": "${input.k}"}
    stage.submit({"a": {"workflow": "gone", "unique": unique}}, given={"k": 7}, input={"k": {}})
    stage.rest()
    assert stage.ended["r"][0] == "failed", "nobody knows the definition"


def test_a_definition_says_what_is_unique() -> None:
    """It is kept with the plan; what cannot be is refused with its place."""
    plan = compile_plan(definition_from({"name": "w", "tasks": tasks("join", window="5m"), **HEAD}))
    assert unpack_plan(pack_plan(plan)) == plan
    assert plan.tasks[0].unique is not None
    assert plan.tasks[0].unique[1:] == (300.0, "join")
    bad = {
        "a": {"agent": "x", "unique": {"key": "same", "on_duplicate": "join"}},
        "b": {"wait": "1s", "unique": {"key": "${run.id}"}},
        "c": {"agent": "x", "unique": {"key": "${run.id}", "on_duplicate": "drop", "window": 0}},
    }
    with pytest.raises(InvalidDefinition) as raised:
        definition_from({"name": "w", "tasks": bad})
    found = {(fault.code, fault.path) for fault in raised.value.faults}
    assert ("bad_template", "tasks.a.unique.key") in found
    assert ("not_applicable", "tasks.b.unique") in found
    assert {path for _, path in found} >= {"tasks.c.unique.on_duplicate", "tasks.c.unique.window"}
