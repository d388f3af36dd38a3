"""Remembered answers: bounded by count and age, the same after replay."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.message import Message
from goclaw_actors.messages import CancelRun
from goclaw_actors.replies import REPLIES_MAX, REPLY_AGE_NS, cause_of, fold_reply, known_reply
from goclaw_events.envelope import Cause

NOW_NS = 10 * REPLY_AGE_NS


def shell() -> Any:
    """Return what of an actor's shell remembers."""
    return SimpleNamespace(replies=None)


def command(command_id: str, digest: bytes = b"d") -> Message:
    """Return an outside command."""
    message = Message("workflow/r", CancelRun("", ""))
    message.command_id = command_id
    message.digest = digest
    return message


def kept(entity: Any, command_id: str, now_ns: int = NOW_NS, digest: bytes = b"d") -> Any:
    """Return the answer to a command that comes again."""
    return known_reply(entity, command(command_id, digest), now_ns)


def accept(entity: Any, command_id: str, time_ns: int = NOW_NS) -> Cause:
    """Accept a command."""
    cause = cause_of(command(command_id), Accepted("r"))
    fold_reply(entity, cause, time_ns)
    return cause


def test_the_same_command_gets_the_same_answer() -> None:
    """Marked as a repeat; a new one gets none; another body is a conflict."""
    entity = shell()
    assert kept(entity, "c") is None
    accept(entity, "c")
    assert kept(entity, "c") == Accepted("r", repeated=True)
    conflict = kept(entity, "c", digest=b"other")
    assert isinstance(conflict, Refused)
    assert conflict.code == "command_conflict"


def test_answers_survive_replay() -> None:
    """They are folded from the headers of turns alone."""
    entity, replayed = shell(), shell()
    for number in range(5):
        cause = accept(entity, f"c{number}", NOW_NS + number)
        fold_reply(replayed, Cause(*cause), NOW_NS + number)
    assert replayed.replies == entity.replies


def test_at_most_a_thousand_are_kept() -> None:
    """The oldest goes first."""
    entity = shell()
    for number in range(REPLIES_MAX + 1):
        accept(entity, f"c{number}", NOW_NS + number)
    assert len(entity.replies) == REPLIES_MAX
    assert kept(entity, "c0", NOW_NS + REPLIES_MAX) is None
    assert kept(entity, "c1", NOW_NS + REPLIES_MAX) is not None


@pytest.mark.parametrize(("later_ns", "known"), [(REPLY_AGE_NS, True), (REPLY_AGE_NS + 1, False)])
def test_answers_are_kept_for_a_day(later_ns: int, known: bool) -> None:
    """By recorded time, whether or not another command came since."""
    entity = shell()
    accept(entity, "c")
    assert (kept(entity, "c", NOW_NS + later_ns) is not None) == known
    accept(entity, "other", NOW_NS + later_ns)
    assert ("c" in entity.replies) == known


def test_an_id_used_again_after_a_day_counts_as_new() -> None:
    """It is the youngest then, so those that are older go before it."""
    entity = shell()
    accept(entity, "again")
    accept(entity, "old", NOW_NS + 1)
    accept(entity, "again", NOW_NS + REPLY_AGE_NS + 1)
    accept(entity, "new", NOW_NS + REPLY_AGE_NS + 2)
    assert list(entity.replies) == ["again", "new"]


def test_turns_without_a_command_are_not_remembered() -> None:
    """Messages between actors have rules of their own."""
    entity = shell()
    fold_reply(entity, Cause((1, 2)), NOW_NS)
    assert entity.replies is None
