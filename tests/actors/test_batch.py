"""A batch: rows that are put and deleted within it are never written."""

from __future__ import annotations

import pytest

from goclaw_actors.batch import Batch
from goclaw_actors.decider import (
    ClearOpen,
    ClearTimer,
    CloseAttempt,
    OpenAttempt,
    SetOpen,
    SetTimer,
)
from goclaw_actors.message import Message
from goclaw_actors.messages import TimerFired
from goclaw_events.envelope import AttemptRow, OpenRow, TimerRow
from goclaw_events.value import packer

STREAM = "task/r/a"
DUE = TimerRow(5, STREAM, "due")


def settled(*effects: object) -> Batch:
    """Return a batch after effects of one stream, settled."""
    batch = Batch(1, 77, packer())
    for effect in effects:
        batch.apply(STREAM, effect)
    batch.settle()
    return batch


def test_a_timer_that_is_set_and_cleared_leaves_no_row() -> None:
    """In this order; but one that was there before, and is cleared at last, goes."""
    builder = settled(SetTimer("due", 5), ClearTimer("due", 5)).builder
    assert (builder.timers_added, builder.timers_removed) == ([], [])
    builder = settled(ClearTimer("due", 5), SetTimer("due", 5), ClearTimer("due", 5)).builder
    assert (builder.timers_added, builder.timers_removed) == ([], [DUE])


def test_a_timer_that_fired_and_is_set_again_is_there() -> None:
    """Also where it had been cleared in a batch before, and its word was still to be handled."""
    batch = Batch(1, 77, packer())
    message = Message(STREAM, TimerFired("due"))
    message.timer = DUE
    batch.take_source(message)
    batch.apply(STREAM, SetTimer("due", 5))
    batch.settle()
    assert (batch.builder.timers_added, batch.builder.timers_removed) == ([DUE], [])
    assert batch.timers_added() == [DUE]


def test_a_timer_of_another_time_is_another_timer() -> None:
    """The one is removed, the other added."""
    builder = settled(ClearTimer("due", 5), SetTimer("due", 6)).builder
    assert builder.timers_removed == [TimerRow(5, STREAM, "due")]
    assert builder.timers_added == [TimerRow(6, STREAM, "due")]


@pytest.mark.parametrize(
    ("effects", "added", "removed"),
    [
        ((SetOpen("run", "w"),), [OpenRow(STREAM, "run", "w", 0, 77)], []),
        ((ClearOpen(),), [], [STREAM]),
        ((SetOpen("run", "w"), ClearOpen()), [], []),
        ((ClearOpen(), SetOpen("run", "w")), [], []),
        ((ClearOpen(), SetOpen("run", "w"), ClearOpen()), [], [STREAM]),
        ((SetOpen("run", "x", replaces=True), ClearOpen()), [], [STREAM]),
        (
            (SetOpen("run", "w"), SetOpen("run", "x", replaces=True)),
            [OpenRow(STREAM, "run", "x", 0, 77)],
            [],
        ),
        ((SetOpen("run", "w"), SetOpen("run", "x", replaces=True), ClearOpen()), [], []),
    ],
)
def test_open_rows_are_netted(
    effects: tuple[object, ...], added: list[OpenRow], removed: list[str]
) -> None:
    """Only the difference between the batch's begin and its end is written."""
    builder = settled(*effects).builder
    assert (builder.open_added, builder.open_removed) == (added, removed)


def test_attempts_are_rows() -> None:
    """One opened is added, one closed is removed."""
    builder = settled(CloseAttempt(3), OpenAttempt(9, 2, "node:boot", 77)).builder
    assert builder.attempts_added == [AttemptRow(9, STREAM, 2, "node:boot", 77)]
    assert builder.attempts_removed == [3]


def test_an_unknown_effect_is_a_bug() -> None:
    """Nothing a decider says is dropped in silence."""
    with pytest.raises(TypeError, match="unknown effect"):
        settled("what")
