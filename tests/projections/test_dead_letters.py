"""Given facts, then rows: the view `dead`, and what makes failures one group."""

from __future__ import annotations

import pytest

from goclaw_events import facts
from goclaw_projections.fingerprint import fingerprint, normalised
from tests.projections.log_writer import SECOND_NS, T0, said, scheduled, submitted
from tests.projections.test_folds import given

RUN, TASK = "workflow/r1", "task/r1/a"
DIED = facts.TaskDied("timeout", "no answer in 30 s", "exhausted")


def test_a_letter_goes_from_open_to_redriven_and_back() -> None:
    """One row a task: how often it died, when first and last; who decided, when it is closed."""
    begin = [said(RUN, submitted()), said(TASK, scheduled(), DIED)]
    redriven = facts.LetterRedriven("a", 1, None, "mended", "uid:7")
    views = given(begin, [said(RUN, redriven)])
    letter = views.dead.get("r1/a")
    assert letter is not None
    assert (letter.state, letter.by, letter.why) == ("redriven", "uid:7", "mended")
    assert (letter.generation, letter.closed_at_ns) == (1, T0 + 2 * SECOND_NS)
    assert views.dead.list().items == []
    assert views.dead.groups().items == []
    again = [said(TASK, scheduled(generation=1), DIED._replace(message="no answer in 31 s"))]
    views = given(begin, [said(RUN, redriven)], again)
    (letter,) = views.dead.list().items
    assert (letter.state, letter.times, letter.by, letter.closed_at_ns) == ("open", 2, "", None)
    assert (letter.first_at_ns, letter.died_at_ns) == (T0 + SECOND_NS, T0 + 3 * SECOND_NS)
    (group,) = views.dead.groups().items
    assert (group.open, group.total, group.message) == (1, 2, "no answer in # s")
    assert views.dead.list(state="redriven").items == []


@pytest.mark.parametrize(
    ("turn", "state"),
    [
        (said(RUN, facts.LetterDiscarded("a", 0, "why", "me")), "discarded"),
        (said(TASK, facts.TaskCancelled("stopped", abandoned=False)), "withdrawn"),
        (said(TASK, facts.TaskDropped("skipped")), "withdrawn"),
    ],
)
def test_a_letter_is_closed(turn: object, state: str) -> None:
    """By a person, or because its run was stopped or goes on without it."""
    views = given([said(TASK, scheduled(), DIED)], [turn])  # type: ignore[list-item] # a turn
    assert [letter.letter for letter in views.dead.list(state=state).items] == ["r1/a"]
    assert (views.dead.list().items, views.dead.groups().items) == ([], [])


def test_a_task_that_is_cancelled_alive_is_no_letter() -> None:
    """Nor is one that failed."""
    views = given([said(TASK, scheduled(), facts.TaskCancelled("stopped", abandoned=False))])
    assert views.dead.get("r1/a") is None


def test_sagas_and_parked_messages_are_letters_too() -> None:
    """With what failed; the kinds and groups are told apart, and pages go on."""
    alarm = facts.SagaAlarmed([["b", "timeout", "m"], ["c", "timeout", "m"]], ["b", "c"])
    failed = facts.MessageFailed("lane/x", 3, "lane.enqueue", 1, [], "internal_bug", "T\nKeyError")
    views = given(
        [said("saga/~s", alarm)], [said("$partition", failed)], [said(TASK, scheduled(), DIED)]
    )
    found = views.dead.list().items
    assert [(one.letter, one.kind, one.reason) for one in found] == [
        ("~s", "saga", "compensation_failed"),
        ("0:2", "message", "message_failed"),
        ("r1/a", "task", "exhausted"),
    ]
    assert [one.message for one in found[:2]] == ["b: m (and 1 more)", "KeyError"]
    assert [one.letter for one in views.dead.list(kind="saga").items] == ["~s"]
    assert [one.letter for one in views.dead.list(group=found[1].group).items] == ["0:2"]
    page = views.dead.list(limit=2)
    assert [one.letter for one in views.dead.list(limit=2, cursor=page.cursor).items] == ["r1/a"]
    assert [group.open for group in views.dead.groups().items] == [1, 1, 1]


def test_a_saga_that_alarms_again_is_open_again() -> None:
    """Also where what was tried again fails in the same turn."""
    alarm = facts.SagaAlarmed([["b", "timeout", "m"]], ["b"])
    retried = facts.CompensationRetried(["b"], "me", "the bank is back")
    views = given([said("saga/~s", alarm)], [said("saga/~s", retried, alarm)])
    (letter,) = views.dead.list().items
    assert (letter.times, letter.state) == (2, "open")
    views = given([said("saga/~s", alarm)], [said("saga/~s", retried)])
    (letter,) = views.dead.list(state="redriven").items
    assert (letter.by, letter.why) == ("me", "the bank is back")
    views = given([said("saga/~s", alarm)], [said("saga/~s", facts.SagaResolved("done", "me"))])
    (letter,) = views.dead.list(state="discarded").items
    assert (letter.by, letter.why) == ("me", "done")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("no answer in 30.5 s", "no answer in # s"),
        ("row 1,234 of 0xFFee", "row # of #"),
        ("order 6f1c2a34-0000-4abc-9def-0123456789ab is gone", "order # is gone"),
        ("commit deadbeef1234 \n at  12:30:59", "commit # at #"),
        ("customer 'defaced' unknown", "customer 'defaced' unknown"),
    ],
)
def test_what_differs_from_failure_to_failure_is_left_out(message: str, text: str) -> None:
    """Numbers, times, ids and white space; words stay."""
    assert normalised(message) == text


def test_a_fingerprint_is_the_same_for_ever() -> None:
    """It stands in people's notes; the code is part of it."""
    assert fingerprint("timeout", "no answer in 30 s") == fingerprint("timeout", "no answer in 4 s")
    assert fingerprint("timeout", "m") != fingerprint("boom", "m")
    assert fingerprint("timeout", "m") == "6d09ce671e52"
    assert fingerprint("x", "\ud800") != ""
