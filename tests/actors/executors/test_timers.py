"""Timers: in order of their time, cancelled ones forgotten, faults of one harmless to others."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from goclaw_actors.executors.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 20.0


@pytest.fixture
def timers() -> Iterator[Timers]:
    """Make timers that end with the test."""
    made = Timers("test-timers")
    yield made
    made.close()


def test_calls_come_in_the_order_of_their_time(timers: Timers) -> None:
    """A shorter delay that is asked for later is called first, all on one thread."""
    seen: list[str] = []
    threads: set[str] = set()
    end = threading.Event()

    def note(name: str) -> None:
        seen.append(name)
        threads.add(threading.current_thread().name)
        if name == "late":
            end.set()

    timers.after(0.03, note, "late")
    timers.after(0.01, note, "soon")
    timers.after(0.0, note, "now")
    assert end.wait(WAIT_S)
    assert seen == ["now", "soon", "late"]
    assert threads == {"test-timers"}


def test_a_cancelled_timer_is_not_called(timers: Timers) -> None:
    """Cancelling twice is as once."""
    seen: list[int] = []
    end = threading.Event()
    timer = timers.after(0.005, seen.append, 1)
    timer.cancel()
    timer.cancel()
    timers.after(0.01, end.set)
    assert end.wait(WAIT_S)
    assert seen == []


def test_cancelled_timers_do_not_pile_up(timers: Timers) -> None:
    """A timeout of an hour that is cancelled at once keeps no memory for an hour."""
    for _ in range(10_000):
        timers.after(3600.0, print).cancel()
    assert len(timers) < 200


def test_a_faulty_call_does_not_end_the_timers(
    timers: Timers, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception is logged, later timers are called."""
    end = threading.Event()
    timers.after(0.0, [].pop)
    timers.after(0.001, end.set)
    assert end.wait(WAIT_S)
    assert "a timer of the executors failed" in caplog.text


def test_after_close_nothing_is_called(timers: Timers) -> None:
    """What is not due is dropped, what is asked for later as well."""
    seen: list[int] = []
    timers.after(0.02, seen.append, 1)
    timers.close()
    timers.after(0.0, seen.append, 2)
    assert seen == []
    assert len(timers) == 0
