"""Collectors: who counts, when a rule is met, and that no end is missed or counted twice."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.collecting import (
    AddMembers,
    AskMembers,
    CancelCollector,
    CloseCollector,
    CollectorDone,
    MembersReported,
    OpenCollector,
    WatchCollector,
    WatchTasks,
)
from goclaw_actors.collector import collector_decider
from goclaw_actors.collector.decide import ASK_NS, RUNS_A_TURN_MAX
from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.message import Message
from goclaw_actors.messages import FailRun, TimerFired
from goclaw_actors.votes import vote_of
from goclaw_events.collect_checks import MEMBERS_MAX
from goclaw_events.ids import collector_stream, workflow_stream
from goclaw_events.verify import verify
from tests.actors.given import NOW_NS, Scenario, Shelf, kinds
from tests.actors.stage import CHAIN, MANY, ONE, Stage

if TYPE_CHECKING:
    from goclaw_actors.collector import Collector

STREAM = collector_stream("c")
SKIP: dict[str, Any] = {"a": {"agent": "x"}, "b": {"agent": "x", "when": "1 > 2"}}


def opening(members: Any, rule: str = "all", **more: Any) -> OpenCollector:
    """Return what opens a collector."""
    given = {"wanted": 0, "by": None, "failures_max": None, "deadline_ns": 0, **more}
    return OpenCollector(rule, members=members, digest=b"d", opened_by="", **given)


def collector(members: int = 5, rule: str = "all", **more: Any) -> Scenario[Collector]:
    """Return an open collector of tasks `0`, `1`... of run `r`."""
    scenario = Scenario(collector_decider(Shelf()), STREAM)
    tasks = [str(number) for number in range(members)]
    scenario.when(opening([["r", tasks]], rule, **more))
    return scenario


def end(scenario: Scenario[Collector], *ends: tuple[int, str] | tuple[int, str, str]) -> str:
    """Report ends of members, each in a turn of its own; return the collector's state."""
    for place, status, *vote in ends:
        scenario.when(MembersReported("r", [[str(place), 0, status, *(vote or [""])]]))
        assert scenario.encoded() == scenario.replayed()
    return scenario.state.status


def order(scenario: Scenario[Collector]) -> list[int]:
    """Return the places of those that ended, in order."""
    return [outcome[0] for _, outcome in sorted(scenario.state.outcomes.items())]


def test_all_waits_for_every_member() -> None:
    """Some failures are part of what it finds; nothing but failures is a failure."""
    some = collector(3)
    assert end(some, (2, "completed"), (0, "failed")) == "open"
    assert end(some, (1, "skipped")) == "met"
    assert order(some) == [2, 0, 1]
    assert end(collector(2), (0, "failed"), (1, "cancelled")) == "unmet"
    assert end(collector(2), (0, "skipped"), (1, "skipped")) == "met"


def test_any_first_n_and_quorum_count_what_completed() -> None:
    """They end with the one that is enough, or when too few are left."""
    assert end(collector(3, "any", wanted=1), (1, "failed"), (2, "completed")) == "met"
    first = collector(4, "first_n", wanted=2)
    assert end(first, (3, "completed"), (1, "failed"), (0, "completed")) == "met"
    first.when(MembersReported("r", [["2", 0, "completed", ""]]))
    assert order(first) == [3, 1, 0]
    quorum = collector(3, "quorum", wanted=2)
    assert end(quorum, (0, "failed"), (1, "skipped")) == "unmet"
    assert (quorum.state.reason, collector(2).state.reason) == ("too_few", "")
    every = collector(2, "any", wanted=1)
    assert end(every, (0, "failed"), (1, "unknown")) == "unmet"
    assert every.state.reason == "all_failed"


def test_a_majority_agrees() -> None:
    """More than half of all members, whatever the others say; it ends once none can be."""
    agreed = collector(5, "majority", wanted=3, by=[])
    votes = {0: '"yes"', 1: '"no"', 4: '"yes"', 2: '"yes"'}
    assert end(agreed, *((place, "completed", vote) for place, vote in votes.items())) == "met"
    assert agreed.state.vote == '"yes"'
    split = collector(4, "majority", wanted=3, by=[])
    votes = {0: "1", 1: "2"}
    assert end(split, *((place, "completed", vote) for place, vote in votes.items())) == "open"
    assert end(split, (2, "failed")) == "unmet"
    assert split.state.reason == "no_majority"


def test_failures_end_it_where_they_are_too_many() -> None:
    """As many as are allowed do not."""
    strict = collector(5, failures_max=1)
    assert end(strict, (0, "failed"), (1, "skipped")) == "open"
    assert end(strict, (2, "cancelled")) == "unmet"
    assert strict.state.reason == "too_many_failed"


def test_what_comes_together_counts_in_its_order() -> None:
    """What is enough ends it: what comes after that in the same message does not count."""
    scenario = collector(5, "first_n", wanted=2)
    ends: list[list[int | str]] = [[str(n), 0, "completed", ""] for n in (4, 4, 2, 0)]
    decision = scenario.when(MembersReported("r", ends))
    assert kinds(decision.facts) == ["MembersEnded", "CollectorEnded"]
    assert order(scenario) == [4, 2]
    assert kinds(decision.effects) == ["ClearTimer", "ClearOpen"]
    assert scenario.when(MembersReported("x", [["4", 0, "failed", ""]])).facts == ()


def test_a_deadline_ends_it_with_what_there_is() -> None:
    """What is missing is known."""
    scenario = collector(3, deadline_ns=NOW_NS + 5)
    end(scenario, (1, "completed"))
    assert kinds(scenario.when(TimerFired("deadline")).facts) == ["CollectorEnded"]
    assert (scenario.state.status, scenario.state.reason) == ("partial", "deadline")
    assert [member.task for member in scenario.state.missing()] == ["0", "2"]


def live(rule: str = "all", **more: Any) -> Scenario[Collector]:
    """Return a collector that has no members yet, and takes some in."""
    scenario = Scenario(collector_decider(Shelf()), STREAM)
    opened = opening([], rule, **more)._replace(select={"labels": {"k": "v"}}, live=True)
    decision = scenario.when(opened)
    assert "SelectMembers" in kinds(decision.effects)
    return scenario


def add(scenario: Scenario[Collector], *tasks: str, is_all: bool = False) -> list[str]:
    """Add tasks of run `r`; return the kinds of the facts."""
    decision = scenario.when(AddMembers([["r", list(tasks)]], is_all))
    assert scenario.encoded() == scenario.replayed()
    return kinds(decision.facts)


def test_members_come_until_it_is_closed() -> None:
    """Each once; nothing is met before that where it depends on how many there are."""
    scenario = live()
    assert add(scenario, "0", "1") == ["MembersAdded"]
    assert add(scenario, "1", "2") == ["MembersAdded"]
    assert add(scenario, "2") == []
    assert [member.task for member in scenario.state.members] == ["0", "1", "2"]
    assert end(scenario, (0, "completed"), (1, "completed"), (2, "failed")) == "open"
    decision = scenario.when(CloseCollector())
    assert kinds(decision.facts) == ["MembersAdded", "CollectorEnded"]
    assert (scenario.state.status, decision.reply) == ("met", Accepted("c"))
    assert scenario.when(CloseCollector()).reply == Accepted("c", repeated=True)
    assert add(scenario, "3") == []


@pytest.mark.parametrize(
    ("rule", "wanted", "before", "after"),
    [("any", 1, "met", "met"), ("first_n", 2, "open", "unmet"), ("quorum", -1, "open", "met")],
)
def test_a_count_may_be_met_before_it_is_closed(
    rule: str, wanted: int, before: str, after: str
) -> None:
    """What cannot come any more is known only then; half of them, too."""
    scenario = live(rule, wanted=wanted)
    add(scenario, "0")
    assert end(scenario, (0, "completed")) == before
    scenario.when(CloseCollector())
    assert scenario.state.status == after


def test_a_live_one_that_nobody_joined_ends_without_members() -> None:
    """Also on its deadline; one whose members have all ended by then is met."""
    nobody = live()
    nobody.when(CloseCollector())
    assert (nobody.state.status, nobody.state.reason) == ("unmet", "no_members")
    late = live(deadline_ns=NOW_NS + 5)
    late.when(TimerFired("deadline"))
    assert (late.state.status, late.state.reason) == ("partial", "deadline")
    joined = live(deadline_ns=NOW_NS + 5)
    add(joined, "0")
    end(joined, (0, "completed"))
    joined.when(TimerFired("deadline"))
    assert joined.state.status == "met"
    few = collector(0)
    few.when(AskMembers(0))
    assert few.state.reason == "no_members"


def test_it_takes_in_so_many_members_and_no_more() -> None:
    """With the last one that fits it is closed."""
    scenario = live()
    for at in range(0, MEMBERS_MAX, 1000):
        add(scenario, *[str(number) for number in range(at, at + 1000)])
    assert (len(scenario.state.members), scenario.state.more) == (MEMBERS_MAX, False)
    assert add(scenario, "further") == []


def test_tasks_are_told_of_the_end() -> None:
    """Who opened it, and who asked; one that asks later, at once; of another one: unknown."""
    scenario = Scenario(collector_decider(Shelf()), STREAM)
    scenario.when(opening([["r", ["0"]]])._replace(task="task/r/own"))
    for task in ("task/r/a", "task/r/b", "task/r/a"):
        scenario.when(WatchCollector(task))
    decision = scenario.when(MembersReported("r", [["0", 0, "completed", ""]]))
    told = [(s.target, s.body) for s in decision.sends if isinstance(s.body, CollectorDone)]
    done = CollectorDone("c", "met")
    assert told == [(f"task/r/{task}", done) for task in ("own", "a", "b")]
    late = scenario.when(WatchCollector("task/r/late"))
    assert [(s.target, s.body) for s in late.sends] == [("task/r/late", done)]
    nobody = Scenario(collector_decider(Shelf()), STREAM).when(WatchCollector("task/r/a"))
    assert nobody.sends[0].body == CollectorDone("c", "unknown")
    assert scenario.encoded() == scenario.replayed()


def test_it_is_opened_once() -> None:
    """The same again gets the same answer, another request under its id is refused."""
    scenario = collector()
    tasks = [str(number) for number in range(5)]
    assert scenario.when(opening([["r", tasks]])).reply == Accepted("c", repeated=True)
    refused = scenario.when(opening([["r", tasks]])._replace(digest=b"e")).reply
    assert isinstance(refused, Refused)
    assert refused.code == "command_conflict"
    assert scenario.when(CancelCollector("why")).reply == Accepted("c")
    assert scenario.when(CancelCollector("why")).reply == Accepted("c", repeated=True)


def test_who_has_not_ended_is_asked_again_ever_more_seldom() -> None:
    """A turn asks so many runs, and goes on in a message to itself."""
    scenario = Scenario(collector_decider(Shelf()), STREAM)
    scenario.when(opening([[f"r{number}", ["a", "b"]] for number in range(300)]))
    asked: list[WatchTasks] = []
    message: AskMembers | None = AskMembers(0)
    while message is not None:
        decision = scenario.when(message)
        watches = [send.body for send in decision.sends if isinstance(send.body, WatchTasks)]
        assert len(watches) <= RUNS_A_TURN_MAX
        asked += watches
        message = next((s.body for s in decision.sends if isinstance(s.body, AskMembers)), None)
    assert len(asked) == 300
    scenario.when(MembersReported("r0", [["a", 0, "completed", ""]]))
    again = [scenario.state.ask_ns - NOW_NS]
    for _ in range(8):
        scenario.when(TimerFired("ask"), scenario.state.ask_ns)
        again.append(scenario.state.ask_ns - NOW_NS - sum(again))
    assert again == sorted(again)
    assert (again[0], again[-1]) == (ASK_NS, 3_600_000_000_000)
    (first, *_) = scenario.when(AskMembers(0)).sends
    assert first.body.tasks == ["b"]


def test_a_vote_is_canonical() -> None:
    """Equal values vote alike; nothing is no vote; what is long is told apart by its hash."""
    shelf = Shelf()
    assert vote_of({"a": {"y": 1, "x": [None]}}, ["a"], shelf) == '{"x": [null], "y": 1}'
    assert vote_of({"a": 1}, ["b"], shelf) == ""
    assert vote_of("yes", None, shelf) == ""
    large = shelf.put_value({"deep": [{"x": "y" * 300}]})
    vote = vote_of(large, ["deep", 0], shelf)
    assert vote.startswith("blake2b:")
    assert vote == vote_of({"x": "y" * 300}, [], shelf)


def collect(stage: Stage, members: Any, rule: str = "all", **more: Any) -> None:
    """Open collector `c`."""
    message = Message(STREAM, opening(members, rule, **more))
    message.reply_to = stage.replies.append
    stage.node.accept(message)


def gathered(stage: Stage) -> tuple[str, list[list[Any]]]:
    """Return how the collector ended, as its durable facts say, and the outcomes in order."""
    facts = stage.facts(STREAM)
    outcomes = [item for fact in facts if hasattr(fact, "ended") for item in fact.ended]
    status = [fact.status for fact in facts if type(fact).__name__ == "CollectorEnded"]
    assert len(status) <= 1
    return "".join(status), outcomes


@pytest.fixture(params=[1, 4])
def stage(request: pytest.FixtureRequest) -> Stage:
    """Return a stage, with one partition and with four."""
    return Stage(partitions=request.param)


def test_tasks_and_runs_tell_their_ends(stage: Stage) -> None:
    """Those that have ended at once, the others as they do; the run itself is task ''."""
    stage.submit(ONE, "early")
    stage.finish(value={"n": 1})
    stage.submit(CHAIN, "r")
    stage.submit(SKIP, "s")
    collect(stage, [["early", ["a", ""]], ["r", ["a", "b", ""]], ["s", ["b"]]])
    stage.rest()
    assert [item[:3:2] for item in sorted(gathered(stage)[1])] == [
        [0, "completed"], [1, "completed"], [5, "skipped"],
    ]  # fmt: skip
    stage.finish()
    status, outcomes = gathered(stage)
    assert status == "met"
    places = [item[0] for item in outcomes]
    assert sorted(places) == [0, 1, 2, 3, 4, 5]
    assert places.index(2) < places.index(3) <= places.index(4)
    assert stage.rows("open") == stage.rows("timers") == 0
    stage.check_live()
    verify(stage.journal)


def test_a_majority_of_early_and_late_votes(stage: Stage) -> None:
    """A task that has ended is asked for its vote; a run has its own."""
    for number, value in enumerate(("yes", "no", "yes")):
        stage.submit(ONE, f"r{number}")
        stage.rest()
        if number != 2:
            stage.end_all({"vote": value})
        stage.rest()
    collect(stage, [["r0", ["a"]], ["r1", [""]], ["r2", ["a"]]], "majority", wanted=2, by=["vote"])
    stage.rest()
    assert gathered(stage)[0] == ""
    stage.end_all({"vote": "yes"})
    stage.rest()
    status, outcomes = gathered(stage)
    assert (status, sorted(item[3] for item in outcomes)) == ("met", ['"no"', '"yes"', '"yes"'])


def test_whoever_is_not_there_is_unknown(stage: Stage) -> None:
    """And counts as a failure."""
    stage.submit(ONE, "r")
    collect(stage, [["r", ["zz"]], ["nope", ["a", ""]]])
    stage.rest()
    status, outcomes = gathered(stage)
    assert (status, {item[2] for item in outcomes}) == ("unmet", {"unknown"})


@pytest.mark.parametrize("how", ["cancel", "fail", "bug"])
def test_what_does_not_begin_is_cancelled(stage: Stage, how: str) -> None:
    """When its run ends, however that is."""
    stage.submit(CHAIN, "r")
    collect(stage, [["r", ["b", ""]]])
    stage.rest()
    (attempt,) = stage.executor.held.values()
    if how == "cancel":
        stage.cancel("r")
        stage.rest()
        stage.end(attempt, "cancelled")
    elif how == "fail":
        stage.end(attempt, "failed")
    else:
        stage.node.accept(Message(workflow_stream("r"), FailRun("internal_bug", "m", "a")))
    stage.rest()
    status, outcomes = gathered(stage)
    run_ended = "cancelled" if how == "cancel" else "failed"
    assert status == "unmet"
    assert [item[2] for item in sorted(outcomes)] == ["cancelled", run_ended]


def test_who_has_enough_hears_no_more(stage: Stage) -> None:
    """The runs forget it: their later ends activate nobody."""
    stage.submit(MANY, "r", lanes={"io": {"concurrency": 3}})
    collect(stage, [["r", [f"t{number}" for number in range(12)]]], "any", wanted=1)
    stage.rest()
    stage.end(next(iter(stage.executor.held.values())))
    stage.rest()
    assert gathered(stage)[0] == "met"
    assert stage.names(workflow_stream("r"))[-1] == "TasksUnwatched"
    seqs = len(stage.facts(STREAM))
    stage.end_all()
    stage.rest()
    assert len(stage.facts(STREAM)) == seqs


def test_the_clock_ends_it_and_asks_again(stage: Stage) -> None:
    """Timers survive with the log."""
    stage.submit(ONE, "r")
    deadline_ns = stage.clock.ns + 10 * ASK_NS
    collect(stage, [["r", ["a"]]], deadline_ns=deadline_ns)
    stage.rest()
    stage.clock.ns += ASK_NS
    stage.rest()
    assert stage.names(STREAM) == ["CollectorOpened", "MembersAsked"]
    assert stage.names(workflow_stream("r")).count("TasksWatched") == 1
    stage.clock.ns = deadline_ns
    stage.rest()
    assert gathered(stage) == ("partial", [])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("partitions", [1, 4])
def test_crashes_lose_no_end(seed: int, partitions: int) -> None:
    """Each member ends once in the collector, as it ended, whatever was lost on the way."""
    random = Random(seed)
    stage = Stage(partitions=partitions)
    runs = [f"r{number}" for number in range(4)]
    members = [[run, ["a", "b", ""]] for run in runs]
    names = ["", *runs]
    random.shuffle(names)
    for name in names:
        answered = False
        while not answered:  # it is said again
            collect(stage, members) if not name else stage.submit(CHAIN, name)
            known = len(stage.replies)
            stage = _stumble(stage, random)
            answered = len(stage.replies) > known
    for _ in range(6):
        stage.end_all() if random.random() < 0.7 else None
        stage = _stumble(stage, random)
    stage.finish()
    status, outcomes = gathered(stage)
    if status == "unmet":  # it was there before any of the runs
        assert all(item[2] == "unknown" for item in outcomes)
        return
    assert status == "met"
    assert sorted(item[0] for item in outcomes) == list(range(12))
    stage.check_live()
    verify(stage.journal)


def _stumble(stage: Stage, random: Random) -> Stage:
    """Go some steps, and perhaps crash with a part of what was decided."""
    for _ in range(random.randrange(4)):
        stage.node.run_once()
    if random.random() < 0.5:
        return stage.crash(random.randrange(3))
    stage.commit()
    return stage
