"""Progress: one report a second leaves, the last one always, none after the end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from goclaw_actors.executors.progress import ProgressMeter
from goclaw_actors.work import AttemptToken, Progress, StartAttempt

if TYPE_CHECKING:
    from collections.abc import Callable

ATTEMPT = StartAttempt("task/r/t", "r", "t", 0, 1, AttemptToken(0, 1, 9), "a", None, None)


class Desk:
    """A meter with a clock and timers that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.sent: list[tuple[float, float | None, str]] = []
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.meter = ProgressMeter(ATTEMPT, self.emit, lambda: self.now_s, self.after)

    def emit(self, item: Progress) -> None:
        """Note what left, and when."""
        self.sent.append((self.now_s - 100.0, item.fraction, item.message))

    def after(self, delay_s: float, call: Callable[[], None], /) -> None:
        """Keep a timer."""
        self.due.append((self.now_s + delay_s, call))

    def move_to(self, now_s: float) -> None:
        """Move the clock and fire what is due on the way."""
        for due_s, call in sorted(self.due, key=lambda entry: entry[0]):
            if due_s <= 100.0 + now_s:
                self.now_s = due_s
                self.due.remove((due_s, call))
                call()
        self.now_s = 100.0 + now_s


def test_the_first_report_leaves_at_once() -> None:
    """Nothing delays a single report."""
    desk = Desk()
    desk.meter.report(0.25, "begun")
    assert desk.sent == [(0.0, 0.25, "begun")]
    assert not desk.due


def test_a_long_attempt_leaves_fewer_reports() -> None:
    """One a second for a quarter of an hour; after a day hardly more than one in 86 s."""
    desk = Desk()
    counts = []
    for begin_s, end_s, every_s in ((0, 900, 1), (86_400, 90_000, 1)):
        before = len(desk.sent)
        for now_s in range(begin_s, end_s, every_s):
            desk.move_to(float(now_s))
            desk.meter.report(None, str(now_s))
        counts.append(len(desk.sent) - before)
    assert counts[0] == 900
    assert 3600 / 91 <= counts[1] <= 3600 / 86 + 1
    desk.meter.end()
    assert desk.sent[-1][2] == "89999", "the last one always leaves"


def test_one_report_a_second_leaves_and_it_is_the_newest() -> None:
    """Reports within a second are replaced by later ones and leave when it is over."""
    desk = Desk()
    for step in range(10):
        desk.move_to(step * 0.25)
        desk.meter.report(step / 10, "")
    desk.move_to(9.0)
    assert desk.sent == [(0.0, 0.0, ""), (1.0, 0.3, ""), (2.0, 0.7, ""), (3.0, 0.9, "")]


def test_the_last_report_leaves_at_the_end() -> None:
    """The end does not wait for the second, and nothing comes after it."""
    desk = Desk()
    desk.meter.report(0.1, "first")
    desk.meter.report(0.2, "lost")
    desk.meter.report(1.0, "last")
    desk.meter.end()
    assert [entry[2] for entry in desk.sent] == ["first", "last"]
    desk.meter.report(0.5, "too late")
    desk.move_to(5.0)
    assert len(desk.sent) == 2


@pytest.mark.parametrize(
    ("given", "sent"), [(None, None), (-1, 0.0), (7, 1.0), (math.nan, None), (math.inf, 1.0)]
)
def test_a_fraction_lies_between_zero_and_one(given: float | None, sent: float | None) -> None:
    """What lies outside is moved to the edge; what is no number is left out."""
    desk = Desk()
    desk.meter.report(given, "")
    assert desk.sent == [(0.0, sent, "")]


def test_a_message_is_bounded() -> None:
    """At most 1 KiB, and it can be stored."""
    desk = Desk()
    desk.meter.report(None, "\udcff" + "x" * 5_000)
    assert len(desk.sent[0][2].encode()) == 1024
