"""A failing case is made small, and said in one line."""

from __future__ import annotations

import pytest

from tests.simulation.shrink import Case, SeedTimeout, shrink, time_limit


def test_a_case_is_read_back_from_its_line() -> None:
    """What a failure prints is what repeats it."""
    case = Case(7, ("crash", "power"), 40, 2)
    assert Case.parse(case.line) == case
    assert Case.parse(Case(7).line) == Case(7)


def test_an_unknown_option_is_refused() -> None:
    """A line with a typing error is no case."""
    with pytest.raises(ValueError, match="--with"):
        Case.parse("--seed 1 --with x")
    with pytest.raises(ValueError, match="nonsense"):
        _ = Case(1, ("nonsense",)).options


def test_shrinking_keeps_what_matters() -> None:
    """Kinds that do not matter go, and steps and runs come down to the least that fails."""
    seed = next(seed for seed in range(99) if "crash" in Case(seed).options.rates)

    def fails(case: Case) -> bool:
        options = case.options
        return "crash" in options.rates and options.steps >= 33

    small = shrink(Case(seed), fails)
    assert set(small.options.rates) == {"crash"}
    assert (small.options.steps, small.options.runs) == (33, 1)


def test_a_seed_that_goes_round_in_circles_is_stopped() -> None:
    """Even where every exception is caught."""

    def go_round() -> None:
        while True:
            try:
                sum(range(1_000))
            except Exception:  # noqa: BLE001, S112 - as a careless engine would
                continue

    with pytest.raises(SeedTimeout), time_limit(0.05):
        go_round()
