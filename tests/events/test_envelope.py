"""What surrounds a fact: made quickly, and never with a field too few."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from goclaw_events.envelope import maker


class Pair(NamedTuple):
    """Two numbers, the second with a default."""

    left: int
    right: int = 7


def test_what_a_maker_makes_is_what_its_class_makes() -> None:
    """It has the type, and equals what the class's own constructor gives."""
    made = maker(Pair, 2)((1, 2))
    assert (made, type(made), made.right) == (Pair(1, 2), Pair, 2)


def test_a_maker_refuses_a_class_with_another_number_of_fields() -> None:
    """A field that was added, default or not, is not left out in silence."""
    with pytest.raises(TypeError, match="Pair has 2 fields, and is made of 1"):
        maker(Pair, 1)
