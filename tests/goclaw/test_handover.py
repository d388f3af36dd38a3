"""Outcomes between an executor and the dispatchers."""

from __future__ import annotations

from typing import Any

from goclaw.handover import Handover
from goclaw_actors.work import AttemptToken, Outcome


def test_an_outcome_is_known_from_hand_to_hand() -> None:
    """From when an executor gives it until the dispatchers have it, whatever they do meanwhile."""
    posted: list[tuple[Any, Any]] = []
    taken: list[Any] = []
    handover = Handover(lambda function, items: posted.append((function, items)), taken.append)
    token, other = AttemptToken(0, 1, 7), AttemptToken(0, 1, 8)
    items = [Outcome("task/r/a", token, "completed")]
    assert not handover.has(token)
    handover.put(items)
    handover.put([Outcome("task/r/b", other, "completed")])
    assert handover.has(token)
    for function, argument in posted:
        function(argument)
    assert taken[0] is items
    assert not handover.has(token)
    assert not handover.has(other)
