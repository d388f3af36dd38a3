"""The tables of states in the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.collector_states import collector
from scripts.lane_states import lane
from scripts.run_states import run
from scripts.schedule_states import schedule
from scripts.state_tables import PATH, answers, draw, main
from scripts.task_states import task

if TYPE_CHECKING:
    from scripts.aggregates import Aggregate


def test_the_document_is_what_the_code_says(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/reference/states.md is drawn from the deciders as they are."""
    assert main(check=True) == 0, "run scripts/state_tables.py"
    assert "as the code says" in capsys.readouterr().out


@pytest.mark.parametrize(
    "aggregate", [run(), task(), lane(), collector(), schedule()], ids=lambda found: found.title
)
def test_every_state_answers_every_message(aggregate: Aggregate) -> None:
    """No state raises for a message: each has a row, or is named as one that nothing follows."""
    text = draw()
    for state in aggregate.states:
        section = text.split(f"### {aggregate.title}: {state}\n")[1].split("\n#")[0]
        for answer in answers(aggregate, state):
            assert answer.message in section


def test_the_document_has_every_state_of_a_task() -> None:
    """The states are those that the design names for what this version can run."""
    text = PATH.read_text(encoding="utf-8")
    for state in ("pending", "scheduled", "running", "waiting", "retrying", "cancelling"):
        assert f"### Task: {state}" in text
