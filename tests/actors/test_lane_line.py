"""Who waits in order: a line against a sorted list, whatever comes and goes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.lane.entry import plain_entry
from goclaw_actors.lane.line import RUNS_MAX, Line
from goclaw_actors.lane.sweep import WITHDRAWN_MIN

WAYS = ["behind", "head", "leave", "first"]


@given(st.lists(st.tuples(st.integers(-9, 9), st.sampled_from(WAYS))))
@settings(max_examples=100)
def test_a_line_is_a_sorted_list(steps: list[tuple[int, str]]) -> None:
    """It holds what came and did not go, first the lowest rank, within a rank by order."""
    line, model, head, behind = Line(), list[tuple[object, ...]](), 0, 0
    for rank, what in steps:
        if what == "leave" and model:
            line.remove(model.pop(rank % len(model)))
        elif what == "first" and model:
            line.remove(model.pop(0))
        elif what == "head":
            head -= 1
            model.append(plain_entry(rank, head, "t"))
            line.put(model[-1])
        else:
            behind += 1
            model.append(plain_entry(rank, behind, "t"))
            line.put(model[-1])
        model.sort()
        assert list(line) == model
        assert len(line) == len(model)
        assert bool(line) == bool(model)
        assert line.first() == (model[0] if model else None)


def test_who_waits_no_more_is_not_there() -> None:
    """To take out what is not in the line, or twice, is a bug that is told."""
    line = Line()
    line.put(plain_entry(0, 1, "a"))
    line.remove(plain_entry(0, 1, "a"))
    with pytest.raises(KeyError):
        line.remove(plain_entry(0, 1, "a"))


@pytest.mark.parametrize("seed", range(5))
def test_what_left_does_not_stay_in_memory(seed: int) -> None:
    """Where ranks come in no order, what was taken out leaves no more than a bounded rest."""
    rng, line = Random(seed), Line()
    entries = [plain_entry(rng.randrange(1_000_000), order, "t") for order in range(1, 6_000)]
    for entry in entries:
        line.put(entry)
    stay = set(rng.sample(range(len(entries)), 20))
    held = len(entries)
    for at in rng.sample(range(len(entries)), len(entries)):
        if at in stay:
            continue
        line.remove(entries[at])
        held -= 1
        assert len(line._rest) <= 2 * held + WITHDRAWN_MIN
    assert len(line._runs) <= RUNS_MAX
    assert list(line) == sorted(entries[at] for at in stay)
