"""Timetables: when something is due, in time zones whose clocks change, and after long absences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_events.durations import BadDuration
from goclaw_events.schedule import ScheduleInvalid, Timetable, due, next_after, timetable_of
from goclaw_events.schedule.timetable import COUNT_MAX, times

SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
BERLIN = "Europe/Berlin"
ZONES = (
    "UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/St_Johns",
)  # fmt: skip
CRONS = (
    "*/15 * * * *", "30 2 * * *", "0 * * * *", "15,45 2 * * *", "0 */2 * * *", "5 1-3 * * *",
    "* 2 * * *", "0 0 * * *", "30 0 * * FRI", "*/20 1,2 * * SUN",
)  # fmt: skip
CHANGES = ("2026-03-28", "2026-10-24", "2026-03-07", "2026-10-31", "2026-04-23", "2026-10-03")


def at(text: str) -> int:
    """Return a time of UTC in ns."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_NS


def shown(at_ns: int) -> str:
    """Return a time of UTC as text."""
    return f"{datetime.fromtimestamp(at_ns // SECOND_NS, UTC):%m-%d %H:%M}"


def days(cron: str, zone: str, begin: str, count: int) -> list[str]:
    """Return the first times behind the beginning of a day (UTC)."""
    return [shown(found) for found in islice(times(Timetable(cron, zone, 0, 0), at(begin)), count)]


def test_an_expression_is_read_in_its_time_zone() -> None:
    """The same wall time is another instant in summer."""
    assert days("30 2 * * *", "UTC", "2026-01-10", 2) == ["01-10 02:30", "01-11 02:30"]
    assert days("30 2 * * *", BERLIN, "2026-01-10", 1) == ["01-10 01:30"]
    assert days("30 2 * * *", BERLIN, "2026-07-10", 1) == ["07-10 00:30"]
    assert days("0 0 * * *", "Asia/Kathmandu", "2026-07-10", 1) == ["07-10 18:15"]


def test_a_time_of_day_that_is_left_out_is_due_when_the_gap_is_over() -> None:
    """On 29 March 2026 Berlin goes from 02:00 to 03:00: 02:30 is due at 03:00, once."""
    assert days("30 2 * * *", BERLIN, "2026-03-28", 3) == [
        "03-28 01:30", "03-29 01:00", "03-30 00:30",
    ]  # fmt: skip
    assert days("15,45 2 * * *", BERLIN, "2026-03-29", 2) == ["03-29 01:00", "03-30 00:15"]


def test_a_time_of_day_that_comes_twice_is_due_once() -> None:
    """On 25 October 2026 Berlin has 02:30 twice: the first counts."""
    assert days("30 2 * * *", BERLIN, "2026-10-24", 3) == [
        "10-24 00:30", "10-25 00:30", "10-26 01:30",
    ]  # fmt: skip


def test_what_runs_every_hour_goes_by_real_time() -> None:
    """Neither gap nor overlap changes how far apart the times are."""
    for begin in ("2026-03-28T20:00", "2026-10-24T20:00"):
        table = Timetable("*/30 * * * *", BERLIN, 0, 0)
        found = list(islice(times(table, at(begin)), 30))
        steps = {later - earlier for earlier, later in pairwise(found)}
        assert steps == {HOUR_NS // 2}


@given(
    st.sampled_from(CRONS), st.sampled_from(ZONES), st.sampled_from(CHANGES),
    st.lists(st.integers(0, 3 * 24 * 3600 * SECOND_NS), min_size=1, max_size=20),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_next_time_depends_on_nothing_but_now(
    cron: str, zone: str, begin: str, spans: list[int]
) -> None:
    """From wherever one asks, the answer is the first time behind that: none is lost or doubled."""
    table, first = Timetable(cron, zone, 0, 0), at(begin)
    stop = first + 4 * 24 * HOUR_NS
    known = list(takewhile(lambda found: found < stop, times(table, first)))
    assert known == sorted(set(known))
    for span in spans:
        wanted = [found for found in known if found > first + span]
        assert not wanted or next_after(table, first + span) == wanted[0]


@given(
    st.sampled_from((*CRONS[:4], "* * * * *")), st.integers(0, 300), st.integers(1, 40),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_what_was_due_is_counted_and_the_latest_are_named(
    cron: str, hours: int, most: int, every: bool
) -> None:
    """As if each had been looked at; beyond what is counted, the latest are right all the same."""
    table = Timetable(cron, BERLIN, 0, 0)
    if every:
        table = Timetable("", "UTC", 600 * SECOND_NS, at("2026-03-27"))
    first = next_after(table, at("2026-03-27"))
    until = first + hours * HOUR_NS
    all_due = [first, *takewhile(lambda found: found <= until, times(table, first))]
    found = due(table, first, until, most)
    assert found.latest == all_due[-most:]
    assert found.number == (len(all_due) if len(all_due) <= COUNT_MAX else -1)


def test_years_of_absence_cost_little() -> None:
    """A schedule of every minute that nobody ran for years is not gone through minute by minute."""
    table = Timetable("* * * * *", BERLIN, 0, 0)
    began, now = at("2020-01-01"), at("2026-11-23")
    found = due(table, next_after(table, began), now, 3)
    assert found.number == -1
    assert found.latest == [now - 120 * SECOND_NS, now - 60 * SECOND_NS, now]
    assert due(table, now + SECOND_NS, now, 3) == (0, [])


def test_an_interval_is_counted_from_the_second_in_which_it_was_asked_for() -> None:
    """The first time is one interval later; each later one keeps the distance."""
    now = at("2026-01-01") + 5
    table = timetable_of("", "90m", "", now)
    assert table.anchor_ns == at("2026-01-01") + SECOND_NS
    found = list(islice(times(table, now), 3))
    assert [at_ns - table.anchor_ns for at_ns in found] == [5400e9, 10800e9, 16200e9]
    assert next_after(table, found[1]) == found[2]
    assert next_after(table, found[1] - 1) == found[1]
    assert timetable_of("@daily", None, BERLIN, now).cron == "0 0 * * *"


def test_leap_days_come_every_four_years() -> None:
    """A rare expression is found, however far."""
    found = next_after(Timetable("0 0 29 2 *", "UTC", 0, 0), at("2026-03-01"))
    assert timedelta(seconds=found // SECOND_NS) + datetime(1970, 1, 1, tzinfo=UTC) == datetime(
        2028, 2, 29, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("cron", "every", "zone", "words"),
    [
        ("61 * * * *", None, "", "bad minute"),
        ("* * * *", None, "", "five fields"),
        ("* * * * * *", None, "", "five fields"),
        ("0 0 31 2 *", None, "", "bad day-of-month"),
        ("* * */20 * 1L", None, "", "never due"),
        ("@often", None, "", "five fields"),
        ("1," * 200 + "1 * * * *", None, "", "200 characters"),
        ("0 2 * * *", None, "Europe/Berlim", "Europe/Berlin"),
        ("0 2 * * *", None, "../../etc/passwd", "no time zone"),
        ("", None, "", "either"),
        ("0 2 * * *", "5m", "", "either"),
        ("", "200ms", "", "whole seconds"),
        ("", "90.5s", "", "whole seconds"),
        ("", "5m", BERLIN, "no time zone"),
    ],
)
def test_what_cannot_be_a_timetable_is_refused(
    cron: str, every: str | None, zone: str, words: str
) -> None:
    """With what is wrong, and what was probably meant."""
    with pytest.raises(ScheduleInvalid, match=words):
        timetable_of(cron, every, zone, at("2026-01-01"))


def test_an_interval_is_a_duration() -> None:
    """As everywhere in definitions."""
    with pytest.raises(BadDuration):
        timetable_of("", "soon", "", 0)
