"""Who waits in order: a line against a sorted list, whatever comes and goes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.lane.entry import PRIORITY, Entry, plain_entry
from goclaw_actors.lane.levels import Levels
from goclaw_actors.lane.line import PART_MAX, Line

WAYS = ["behind", "head", "leave", "first"]


def entry(rank: int, order: int) -> Entry:
    """Return an entry as a lane makes it."""
    return plain_entry(rank, order, "t", 0, 0)


@given(st.lists(st.tuples(st.integers(-9, 9), st.sampled_from(WAYS))))
@settings(max_examples=100)
def test_a_line_is_a_sorted_list(steps: list[tuple[int, str]]) -> None:
    """It holds what came and did not go, first the lowest rank, within a rank by order."""
    line, model, head, behind = Line(), list[Entry](), 0, 0
    for rank, what in steps:
        if what == "leave" and model:
            line.remove(model.pop(rank % len(model)))
        elif what == "first" and model:
            line.remove(model.pop(0))
        elif what == "head":
            head -= 1
            model.append(entry(rank, head))
            line.put(model[-1])
        else:
            behind += 1
            model.append(entry(rank, behind))
            line.put(model[-1])
        model.sort()
        assert list(line) == model
        assert len(line) == len(model)
        assert bool(line) == bool(model)
        assert line.first() == (model[0] if model else None)


@pytest.mark.parametrize("ranks", [1, 7, 1_000_000])
def test_a_line_of_many_parts(ranks: int) -> None:
    """Parts are cut and leave: thousands in any order, and all of them out in any order."""
    rng, line = Random(ranks), Line()
    entries = [entry(rng.randrange(ranks), order) for order in range(8 * PART_MAX)]
    for one in entries:
        line.put(one)
    assert list(line) == sorted(entries)
    assert max(map(len, line._parts)) <= PART_MAX
    for one in rng.sample(entries, 7 * PART_MAX):
        line.remove(one)
        entries.remove(one)
    assert list(line) == sorted(entries)
    while (first := line.first()) is not None:
        assert first == min(entries)
        entries.remove(first)
        line.remove(first)
    assert not entries
    assert not line._parts
    assert not line._ends


def test_who_waits_no_more_is_not_there() -> None:
    """To take out what is not in the line, or twice, is a bug that is told."""
    line = Line()
    with pytest.raises(KeyError):
        line.remove(entry(0, 1))
    for order in (1, 3):
        line.put(entry(0, order))
    line.remove(entry(0, 1))
    for order in (1, 2, 4):
        with pytest.raises(KeyError):
            line.remove(entry(0, order))
    assert list(line) == [entry(0, 3)]


@given(
    st.lists(
        st.tuples(st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 2))), st.integers(0, 9))
    )
)
@settings(max_examples=100)
def test_levels_are_a_sorted_list_that_knows_the_first_of_each_priority(
    turns: list[tuple[list[tuple[int, int]], int]],
) -> None:
    """Some come and some go together, from anywhere or from the front."""
    levels, model, order = Levels(), list[Entry](), 0
    for came, leave in turns:
        entries = []
        for rank, priority in came:
            order += 1
            entries.append(plain_entry(rank, order, "t", priority, 0))
        levels.put_all(sorted(entries))
        model = sorted([*model, *entries])
        gone = model[:leave] if leave % 2 else model[len(model) // 2 :][:leave]
        levels.remove_all(gone)
        model = [entry for entry in model if entry not in gone]
        assert list(levels) == model
        assert bool(levels) == bool(model)
        assert levels.first() == (model[0] if model else None)
        for priority in range(3):
            ours = (entry for entry in model if entry[PRIORITY] == priority)
            assert levels.first_of(priority) == next(ours, None)


def test_many_that_come_and_go_together() -> None:
    """More than a part at once, and over the bounds of parts."""
    line, count = Line(), 4 * PART_MAX
    entries = [entry(0, order) for order in range(count)]
    for at in range(0, count, 300):
        line.put_all(entries[at : at + 300])
    assert list(line) == entries
    assert max(map(len, line._parts)) <= PART_MAX
    for at in range(0, count - 300, 300):
        assert not line.remove_all(entries[at : at + 300])
    assert list(line) == entries[at + 300 :]
    assert line.remove_all(entries[at + 300 :])
    assert not line
