"""What a command line wants to be run by a schedule: a file or a name, and its input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from goclaw.asking import ask
from goclaw.forms import SUFFIXES, document_of
from goclaw.run_input import given_input
from goclaw.submission import Preparer
from goclaw_events.plan import unpack_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.config import Settings


def scheduled_workflow(
    settings: Settings, workflow: str, inputs: Mapping[str, str], input_file: Path | None
) -> dict[str, Any]:
    """Return the parameters that say what is run; raises what reading either raises."""
    path = Path(workflow)
    if path.suffix in SUFFIXES or path.is_file():
        plan = Preparer().prepare(path).plan
        given = given_input(plan, inputs, input_file)
        return {"definition": document_of(path), "input": given}
    found = ask(settings, "workflows.plan", name=workflow)
    given = given_input(unpack_plan(found["plan"]), inputs, input_file)
    return {"name": f"{found['name']}@{found['version']}", "input": given}
