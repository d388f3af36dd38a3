"""The harness of what waits finds what it looks for: each of its rules, broken on purpose."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, Fact
from goclaw_events.facts import (
    AttemptSlept,
    AttemptStarted,
    FiredRunEnded,
    FiringPlanned,
    FiringQueued,
    FiringsSkipped,
    LetterDiscarded,
    LetterLeft,
    LetterRedriven,
    MessageFailed,
    MessageSettled,
    ScheduleDeleted,
    ScheduleFired,
    ScheduleSet,
    SignalGiven,
    SignalReceived,
    SignalReturned,
    SignalsLeft,
    TaskAnswered,
    TaskAwaiting,
    TaskCompleted,
    TaskFailed,
    TaskWaiting,
)
from goclaw_events.value import BlobRef
from scripts.harness.errand_parts import errand
from scripts.harness.errands import SIGNAL
from scripts.harness.killed_world import DEADLINE_S, FOREVER
from scripts.harness.nursery import Harm, Nursery
from scripts.harness.parking import REDRIVE, verdict
from scripts.harness.parking_audit import settled_faults
from scripts.harness.timer_audit import woken_early
from scripts.harness.timetable_audit import model_faults, trigger_faults
from scripts.harness.wait_audit import answer_faults, letter_faults
from scripts.harness.wait_kill import WaitCounts, WaitWorld
from tests.simulation.history import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from scripts.harness.errands import Errand

REF = BlobRef(b"d" * 32, 1)
SECOND_NS = 1_000_000_000


@pytest.fixture(name="nursery", scope="module")
def _nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


def errand_that(is_it: Callable[[Errand], bool]) -> Errand:
    """Return the first errand that nobody recalls and that is as wanted."""
    made = (errand("planted", number) for number in range(500))
    return next(one for one in made if is_it(one) and not one.is_recalled)


def test_errands_repeat_and_vary() -> None:
    """A seed always makes the same errands, and a hundred of them hold every kind of part."""
    made = [errand("variety", number) for number in range(100)]
    again = errand("variety", 7)
    assert again.program.workflow.definition() == made[7].program.workflow.definition()
    assert (again.program.effects, again.said) == (made[7].program.effects, made[7].said)
    tasks = [task for one in made for task in one.program.workflow.definition().tasks.values()]
    assert {"wait", "wait_for", "approval", "workflow", "foreach"} <= {
        name for task in tasks for name in type(task).model_fields if getattr(task, name)
    }
    assert "harness.deadly" in {task.agent for task in tasks}
    params = [task.with_ or {} for task in tasks]
    assert {"sleep_s", "spawns", "doom", "mended_in"} <= {name for said in params for name in said}
    assert {v.how for one in made for all_ in one.letters.values() for v in all_} == {
        "redrive", "discard",
    }  # fmt: skip
    assert {word.taken for one in made for words in one.said for word in words} == {True, False}
    assert any(one.late for one in made)
    assert any(one.is_recalled for one in made)
    statuses = {status for one in made for status in one.program.statuses.values()}
    assert statuses == {"completed", "failed", "skipped", "blocked"}


# -- answers --------------------------------------------------------------------------------------


def asked_twice() -> Errand:
    """Return an errand of which two tasks wait for one signal each, and one asks a person."""
    return errand_that(
        lambda one: (
            any(len(words) == 3 and words[2].kind == SIGNAL for words in one.said)
            and any(word.kind == "approve" and word.taken for words in one.said for word in words)
            and all(len(question.answers) < 3 for question in one.questions.values())
        )
    )


def story_of(made: Errand) -> tuple[list[Any], dict[str, list[str]], list[str]]:
    """Return facts of a run that went as it should, the answers of its tasks, what was said."""
    run: list[Any] = []
    answered: dict[str, list[str]] = {}
    used: set[str] = set()
    for task, question in made.questions.items():
        own = next(one for one in question.answers if one not in used)
        answered[task] = [own] if own else []
        used.add(own)
    for word in (word for words in made.said for word in words if word.taken):
        if word.kind == SIGNAL:
            run.append(SignalReceived(word.id, word.task, {}, ""))
            to = next((task for task, found in answered.items() if word.id in found), "")
            run.append(SignalGiven(word.id, word.task, to) if to else SignalsLeft([word.id], ""))
    signals = [fact.signal for fact in run if isinstance(fact, SignalReceived)]
    said = [*signals, *(one for found in answered.values() for one in found if one != "deadline")]
    return run, answered, said


def test_what_is_wrong_with_answers_is_found() -> None:
    """An answer that counts twice, nowhere, or that nobody may give; a signal lost or doubled."""
    made = asked_twice()
    run, answered, said = story_of(made)

    def faults(
        run: Sequence[Any] = run, answered: dict[str, list[str]] = answered, more: str = ""
    ) -> str:
        taken = [*said, more] if more else said
        return "\n".join(answer_faults(made, run, answered, taken, Counter()))

    assert faults() == ""
    words = next(words for words in made.said if len(words) == 3 and words[2].kind == SIGNAL)
    name, both = words[0].task, {f"{words[0].task}a", f"{words[0].task}b"}
    assert {answered[task][0] for task in both} == {words[0].id, words[1].id}
    twice = {**answered, f"{name}b": answered[f"{name}a"]}
    assert f"{words[0].id} answered 2 tasks" in faults(answered=twice)
    more = {**answered, f"{name}a": [*answered[f"{name}a"], "other"]}
    assert "was answered 2 times" in faults(answered=more)
    assert "was answered by 'other'" in faults(answered={**answered, f"{name}a": ["other"]})
    received = next(fact for fact in run if isinstance(fact, SignalReceived))
    assert "was received 2 times" in faults([*run, received])
    forged = SignalReceived("forged", name, {}, "")
    assert "forged was to be refused, and was received" in faults([*run, forged])
    given = next(fact for fact in run if isinstance(fact, SignalGiven))
    assert f"{given.signal} came to 2 ends" in faults([*run, given])
    assert f"{given.signal} came to 0 ends" in faults([one for one in run if one != given])
    back = SignalReturned(given.signal, name, {}, "")
    assert f"{given.signal} came to 0 ends" in faults([*run, back])
    lost = [one for one in run if getattr(one, "signal", "") != given.signal]
    assert f"{given.signal} was acknowledged, and is lost" in faults(lost)
    assert f"['{given.signal}'] answered, and never came" in faults(lost)
    yes = next(word for words in made.said for word in words if word.kind == "approve")
    unanswered = {**answered, yes.task: []}
    assert f"{yes.id} was acknowledged, and is lost" in faults(answered=unanswered, more=yes.id)


def test_the_effect_is_the_one_of_the_answer_that_came() -> None:
    """Where two people, or a person and a deadline, race, the log says who was first."""
    made = errand_that(lambda one: any(len(q.effects or ()) > 1 for q in one.questions.values()))
    task, question = next(
        (task, found) for task, found in made.questions.items() if len(found.effects or ()) > 1
    )
    assert question.effects is not None
    for answer, effect in question.effects.items():
        answered = {other: list[str]() for other in made.questions}
        answered[task] = [answer] if answer else []
        list(answer_faults(made, [], answered, [], Counter()))
        assert made.program.effects[question.key] == effect
    assert len(set(question.effects.values())) > 1


# -- letters --------------------------------------------------------------------------------------


def test_what_is_wrong_with_letters_is_found() -> None:
    """A letter that is answered twice, otherwise, or not at all; a decision that is lost."""
    made = errand_that(lambda one: any(len(v) == 2 for v in one.letters.values()))
    task, (first, last) = next((t, v) for t, v in made.letters.items() if len(v) == 2)
    made.letters = {task: [first, last]}
    discards = last.how == "discard"
    run = [
        LetterLeft(task, 0),
        LetterRedriven(task, 1, first.edits, "", ""),
        LetterLeft(task, 1),
        LetterDiscarded(task, 1, "", "")
        if discards
        else LetterRedriven(task, 2, last.edits, "", ""),
    ]

    def faults(run: Sequence[Any], decided: Sequence[tuple[str, int]] = ()) -> str:
        return "\n".join(letter_faults(made, run, decided, Counter()))

    assert faults(run, [(task, 0), (task, 1)]) == ""
    assert "was decided, not" in faults([*run, run[1]])
    assert "was decided, not" in faults([*run[:3], LetterRedriven(task, 2, {"other": 1}, "", "")])
    assert "died 3 times, and 2 were decided" in faults([*run, LetterLeft(task, 2)])
    assert "generations [2] is lost" in faults(run, [(task, 2)])
    made.is_recalled = True
    assert faults(run[:3]) == "", "somebody cancelled it first"
    assert "was decided, not" in faults([run[0], run[1], run[1]])


# -- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "now_ns", "is_early"),
    [
        ([TaskWaiting(REF, 0, 10), TaskCompleted(0, 0, None)], 10, False),
        ([TaskWaiting(REF, 0, 10), TaskCompleted(0, 0, None)], 9, True),
        ([AttemptSlept(1, 1, 10), AttemptStarted(2, 2, "h")], 9, True),
        ([AttemptSlept(1, 1, 10, ["k"]), AttemptStarted(2, 2, "h")], 9, False),
        ([TaskAwaiting(REF, 0, "s", {}, 10), TaskFailed("timeout", "")], 9, True),
        ([TaskAwaiting(REF, 0, "s", {}, 10), TaskAnswered("a", "signal", {}, ""),
          TaskCompleted(0, 0, None)], 9, False),
        ([TaskAwaiting(REF, 0, "", {}, 10), TaskAnswered("deadline", "approved", None, ""),
          TaskCompleted(0, 0, None)], 9, True),
    ],
)  # fmt: skip
def test_what_wakes_early_is_found(facts: list[Any], now_ns: int, *, is_early: bool) -> None:
    """No wait, sleep or deadline is over before its time, unless an answer came."""
    turns = [(0, facts[:1]), (now_ns, facts[1:])]
    assert bool(list(woken_early("t", turns))) == is_early


# -- schedules ------------------------------------------------------------------------------------


def set_every(seconds: int, overlap: str = "skip") -> ScheduleSet:
    """Return the making of a schedule from second 1 on."""
    every_ns = seconds * SECOND_NS
    return ScheduleSet(
        REF, "w", None, {}, None, b"", "", "", every_ns, SECOND_NS, 0, 0, overlap, "one",
        60 * SECOND_NS, 3, "", paused=False, set_by="",
    )  # fmt: skip


def planned(second: int) -> FiringPlanned:
    """Return that the next time is this one."""
    return FiringPlanned(second * SECOND_NS, second * SECOND_NS)


def fired(second: int, trigger: int = 0) -> ScheduleFired:
    """Return that a firing of this second began its run in it."""
    name = f"s:trigger-{trigger}" if trigger else f"s:{second}"
    return ScheduleFired(second * SECOND_NS, second * SECOND_NS, name, trigger)


def entries_of(turns: Sequence[tuple[int, list[Any]]]) -> list[Entry]:
    """Return turns, each at its second, as a log has them."""
    found: list[Entry] = []
    for number, (second, facts) in enumerate(turns):
        cause = Cause(command_id=f"c{number}")
        for fact in facts:
            name, version = FACTS.names[type(fact)]
            stored = Fact("schedule/s", len(found) + 1, name, version, list(fact))
            found.append(Entry(0, len(found) + 1, second * SECOND_NS, cause, stored, fact))
    return found


MADE = (1, [set_every(1), planned(2)])
FIRST = (2, [fired(2), planned(3)])
ENDED = (2, [FiredRunEnded("s:2", "completed")])
DELETED = (9, [ScheduleDeleted("")])


@pytest.mark.parametrize(
    ("turns", "fault"),
    [
        ([MADE, FIRST, ENDED, (3, [fired(3), planned(4)]), DELETED], ""),
        ([MADE, FIRST, ENDED, (3, [fired(3), planned(4)])], "was deleted, and says"),
        ([MADE, FIRST, ENDED, (3, [planned(4)]), DELETED], "0 ends of 1"),
        ([MADE, FIRST, (3, [fired(3), planned(4)]), DELETED], "goes on"),
        ([MADE, FIRST, ENDED, (3, [fired(2), planned(4)]), DELETED], "twice"),
        ([MADE, (1, [fired(2), planned(3)]), DELETED], "schedule s"),
        ([MADE, FIRST, (3, [FiringsSkipped(3 * SECOND_NS, 3 * SECOND_NS, 1, "overlap"),
                            planned(4)]), DELETED], ""),
        ([(1, [set_every(1, "queue"), planned(2)]), FIRST,
          (3, [FiringQueued(3 * SECOND_NS), planned(4)]), DELETED], "nothing says what became"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_schedule_is_found(
    turns: list[tuple[int, list[Any]]], fault: str
) -> None:
    """A time without an end or with two, a run begun twice, early, or beside another one."""
    found = "\n".join(model_faults("s", entries_of(turns)))
    assert bool(found) == bool(fault)
    assert fault in found


def test_a_trigger_that_is_lost_or_shared_is_found() -> None:
    """Each that was acknowledged is there, as a run of its own."""
    facts = [fired(2, 1), FiringQueued(3 * SECOND_NS, 2)]
    good = [["trigger", "s:trigger-1"], ["trigger", "s:trigger-2"], ["pause", "s"]]
    assert list(trigger_faults("s", facts, good)) == []
    lost = list(trigger_faults("s", facts, [*good, ["trigger", "s:trigger-3"]]))
    assert lost == ["s:trigger-3 was acknowledged, and is lost"]
    assert "share runs" in "".join(trigger_faults("s", facts, [*good, good[0]]))


# -- parked messages ------------------------------------------------------------------------------


def test_what_is_wrong_with_parked_messages_is_found() -> None:
    """One that is seen to twice or never, or registered twice, in vain, or not at all."""
    wanted, other = (
        next(str(n) for n in range(50) if (verdict("planted", str(n)) == REDRIVE) is is_redriven)
        for is_redriven in (True, False)
    )
    facts: dict[str, Any] = {
        "0:5": MessageFailed("catalogue/struck", 0, "definition.register", 1, [wanted], "", ""),
        "1:5": MessageFailed("catalogue/struck", 0, "definition.register", 1, [other], "", ""),
        "0:9": MessageSettled(5, "redelivered", "", ""),
        "1:9": MessageSettled(5, "discarded", "", ""),
    }

    def faults(
        more: dict[str, Any], registered: Sequence[str] = (wanted,), letter: str = "0:5"
    ) -> str:
        settled = [[letter, REDRIVE]]
        return "\n".join(settled_faults("planted", {**facts, **more}, registered, settled))

    assert faults({}) == ""
    assert "0:5 was seen to 2 times" in faults({"0:10": facts["0:9"]})
    assert "1:5 was seen to 0 times" in faults({"1:9": None})
    assert "0:7 was acknowledged (redrive), and is lost" in faults({}, letter="0:7")
    assert f"version {wanted} was redriven, and never registered" in faults({}, ())
    assert f"version {wanted} was registered 2 times" in faults({}, (wanted, wanted))
    assert f"version {other} was registered 1 times" in faults({}, (wanted, other))


# -- a world --------------------------------------------------------------------------------------


def test_what_engines_say_that_must_not_be_is_found(nursery: Nursery, tmp_path: Path) -> None:
    """What was acknowledged is never new, refused, or answered otherwise; an end is as drawn."""
    world = WaitWorld(nursery, tmp_path / "w", "planted", WaitCounts())
    world.said(["taken", "w0-p0-0", False])
    world.said(["done_to", "tick", 0, "trigger", "tick:trigger-1"])
    world.said(["settled", "0:5", "redrive"])
    world.said(["ack", 0, False])
    status = errand("planted", 0).program.status
    for words in (
        ["taken", "w0-p0-0", False],
        ["refused", "w0-p0-0", "run_finished"],
        ["done_to", "tick", 0, "trigger", "tick:trigger-2"],
        ["settled", "0:5", "redrive"],
        ["ack", 0, False],
        ["end", 0, "failed" if status == "completed" else "completed"],
    ):
        with pytest.raises(Harm):
            world.said(words)


def test_a_world_that_was_tampered_with_is_found(nursery: Nursery, tmp_path: Path) -> None:
    """The audit takes a world that is whole, and tells of lost words, triggers and effects."""
    world = WaitWorld(nursery, tmp_path / "w", "planted", WaitCounts())
    child = world.start(finish=False)
    world.listen(child, time.monotonic() + DEADLINE_S, FOREVER)
    child.kill()
    child = world.start(finish=True)
    world.listen(child, time.monotonic() + DEADLINE_S, FOREVER)
    assert world.done
    child.kill()
    world.audit()

    every = [errand("planted", number) for number in sorted(world.acknowledged)]
    refused = next(w for one in every for words in one.said for w in words if not w.taken)
    world.taken.add(refused.id)
    world.done_to["tick", 99] = ["trigger", "tick:trigger-99"]
    ledger = world.home / "ledger"
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    sure = {run.run_id for one in every if not one.is_recalled for run in one.below}
    effect = next(e for e in lines if e[0] == "effect" and e[3].partition("/")[0] in sure)
    kept = [line for line in lines if line[0] != "effect" or line[3] != effect[3]]
    ledger.write_text("".join(json.dumps(line) + "\n" for line in kept))
    with pytest.raises(Harm) as caught:
        world.audit()
    said = str(caught.value)
    assert f"{refused.id} was acknowledged, and is lost" in said
    assert "tick:trigger-99 was acknowledged, and is lost" in said
    assert f"missing: ['{effect[3]}']" in said
