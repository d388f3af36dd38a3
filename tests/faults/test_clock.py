"""Clocks that jump: time is never early, never goes back, never stands still."""

from __future__ import annotations

import pytest

from goclaw_actors.env import JUMP_S, SystemClock
from goclaw_events.errors import JournalFull, LogDamaged
from goclaw_events.frame import read_header
from tests.actors.stage import ONE, Stage

SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND


class Times:
    """A wall clock and a monotonic one, moved by the test."""

    def __init__(self) -> None:
        self.wall_ns = START
        self.mono_ns = 5 * SECOND

    def clock(self, least_ns: int = 0) -> SystemClock:
        """Return a clock that reads these."""
        return SystemClock(least_ns, wall=lambda: self.wall_ns, monotonic=lambda: self.mono_ns)

    def pass_s(self, seconds: float, jump_s: float = 0.0) -> None:
        """Let time pass, and the wall clock jump besides."""
        self.mono_ns += int(seconds * SECOND)
        self.wall_ns += int((seconds + jump_s) * SECOND)


def test_between_anchors_the_monotonic_clock_counts() -> None:
    """A jump of the wall clock is not seen before the next anchor, a second later."""
    times = Times()
    clock = times.clock()
    times.pass_s(0.5, jump_s=3600)
    assert clock.now_ns() == START + SECOND // 2
    times.pass_s(0.6)
    assert clock.now_ns() == START + 3600 * SECOND + int(1.1 * SECOND)


def test_a_clock_set_back_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """An hour back: time goes on with the monotonic clock until the wall clock has caught up."""
    times = Times()
    clock = times.clock()
    times.pass_s(2, jump_s=-3600)
    assert clock.now_ns() == START + 2 * SECOND
    told = []
    for _ in range(50):
        times.pass_s(0.7)
        told.append(clock.now_ns())
    assert told[-1] == START + int((2 + 50 * 0.7) * SECOND)
    assert told == sorted(told)
    times.pass_s(2, jump_s=3700)
    assert clock.now_ns() == times.wall_ns
    assert [record.__dict__["jump_s"] for record in caplog.records] == [-3600.0, 3700.0]
    assert clock.jump_s == 3700.0


def test_a_small_jump_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """Up to a minute nothing is logged; the largest jump is kept all the same."""
    times = Times()
    clock = times.clock()
    times.pass_s(2, jump_s=JUMP_S - 1)
    clock.now_ns()
    assert caplog.records == []
    assert clock.jump_s == JUMP_S - 1


def test_suspended_time_has_passed() -> None:
    """After a sleep during which the monotonic clock stood, the wall clock is believed."""
    times = Times()
    clock = times.clock()
    times.pass_s(1.5, jump_s=8 * 3600)
    assert clock.now_ns() == times.wall_ns


def test_a_log_from_the_future_does_not_stop_time(caplog: pytest.LogCaptureFixture) -> None:
    """Where the log's last time is ahead, time goes on from there, and that is logged."""
    times = Times()
    clock = times.clock(least_ns=START + 3600 * SECOND)
    times.pass_s(10)
    assert clock.now_ns() == START + 3610 * SECOND
    assert "behind what the log recorded last" in caplog.text


def test_a_timer_is_never_early_and_recorded_time_never_goes_back() -> None:
    """A clock that is set back delays a timer; no frame is older than the one before it."""
    stage = Stage()
    stage.submit({"w": {"wait": "10s"}})
    stage.rest()
    begun = stage.clock.ns
    for jump_s in (5, -3600, 1000, 2600):
        stage.clock.ns += jump_s * SECOND
        stage.submit(ONE, f"r{jump_s}")
        stage.rest()
        assert "r" not in stage.ended
    stage.clock.ns = begun + 10 * SECOND
    stage.rest()
    assert stage.ended["r"][0] == "completed"
    times = [read_header(data).time_ns for data in stage.journal.frames(0)]
    assert times == sorted(times)


def test_a_log_found_damaged_when_opened_again_stops_the_node() -> None:
    """After a failed commit a full disk is waited for; damage is not."""
    stage = Stage()
    stage.rest()

    def recover() -> None:
        raise LogDamaged("the log is shorter than it was")

    stage.journal.recover = recover  # type: ignore[method-assign]
    stage.submit(ONE)
    stage.decide()
    stage.journal.fail_next(JournalFull("no space"))
    stage.commit()
    with pytest.raises(LogDamaged):
        stage.node.run_once()
