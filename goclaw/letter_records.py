"""Dead letters as records that people and other programs read: plain JSON data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.errors import LetterNotFound
from goclaw.log_records import plain
from goclaw.parked import parked
from goclaw.run_records import time_text
from goclaw_actors.executors.resolve import resolved
from goclaw_events.codec import FACTS
from goclaw_events.errors import HistoryExpired
from goclaw_events.facts import AttemptFailed, AttemptLost, TaskScheduled
from goclaw_events.ids import is_saga, plain_id, routing_key
from goclaw_events.replay import stream_turns
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from goclaw.operations.ground import Ground
    from goclaw_projections.dead_letters import LetterGroup, LetterView

FAILURES_MAX: Final = 10
"""So many of the last failures of a task are shown."""


def find_letter(ground: Ground, name: str) -> LetterView:
    """Return a dead letter by its name; raises `LetterNotFound`."""
    found = ground.views.dead.get(name) or _of_an_item(ground, name)
    if found is None:
        msg = f"there is no dead letter {name!r}"
        raise LetterNotFound(msg, hint="goclaw dead list")
    return found


def _of_an_item(ground: Ground, name: str) -> LetterView | None:
    """Return the dead letter of an item of a list that is named beside the run above."""
    run_id, _, task = name.partition("/")
    run = ground.views.runs.get(run_id)
    if run is None:
        return None
    below, task = ground.runs.place_of(run, task)
    return ground.views.dead.get(f"{below.run_id}/{task}")


def letter_summary(ground: Ground, letter: LetterView) -> dict[str, Any]:
    """Return what a listing says of a dead letter; `name` is that of its definition."""
    owner = "" if letter.kind == "message" else routing_key(letter.target)
    return {
        "letter": letter.letter,
        "kind": letter.kind,
        "state": letter.state,
        "name": _name(ground, owner),
        "run_id": owner if letter.kind == "task" else None,
        "task": letter.letter.partition("/")[2] or None,
        "saga_id": plain_id(owner) if letter.kind == "saga" else None,
        "target": letter.target,
        "reason": letter.reason,
        "code": letter.code,
        "message": letter.message,
        "group": letter.group,
        "times": letter.times,
        "generation": letter.generation,
        "first_at": time_text(letter.first_at_ns),
        "died_at": time_text(letter.died_at_ns),
        "closed_at": time_text(letter.closed_at_ns),
        "by": letter.by or None,
        "why": letter.why or None,
        "planned_at": time_text(letter.planned_at_ns),
        "position": str(letter.position),
    }


def _name(ground: Ground, owner: str) -> str | None:
    """Return the definition of a run or a saga; None for a parked message."""
    if not owner:
        return None
    if is_saga(owner):
        saga = ground.views.sagas.get(plain_id(owner))
        return None if saga is None else saga.name
    run = ground.views.runs.get(owner)
    return None if run is None else run.name


def group_record(group: LetterGroup) -> dict[str, Any]:
    """Return what letters have in common that died of the same."""
    return {
        "group": group.group,
        "code": group.code,
        "message": group.message,
        "open": group.open,
        "total": group.total,
        "first_at": time_text(group.first_at_ns),
        "last_at": time_text(group.last_at_ns),
    }


def letter_record(ground: Ground, letter: LetterView) -> dict[str, Any]:
    """Return everything that is known of a dead letter.

    `params` and `failures` are of the last generation of a task: what it was given, and the last
    `FAILURES_MAX` attempts that failed. `parked`: the message, and where it raised. `expired`: what
    would tell was given up.
    """
    record = letter_summary(ground, letter)
    try:
        if letter.kind == "task":
            return {**record, **_of_task(ground, letter), "expired": False}
        if letter.kind == "message":
            return {**record, "parked": _parked(ground, letter), "expired": False}
    except HistoryExpired:
        return {**record, "expired": True}
    saga = ground.views.sagas.get(plain_id(routing_key(letter.target)))
    alarm = [] if saga is None else [list(step) for step in saga.alarm]
    return {**record, "alarm": alarm, "expired": False}


def _of_task(ground: Ground, letter: LetterView) -> dict[str, Any]:
    params: Any = None
    failures: list[dict[str, Any]] = []
    for turn in stream_turns(ground.journal, letter.target):
        for said in turn.facts:
            fact = FACTS.decode(said.type, said.version, said.data)
            match fact:
                case TaskScheduled():
                    params, failures = fact.params, []
                case AttemptFailed():
                    failures.append(
                        {"attempt": fact.attempt, "code": fact.code, "message": fact.message,
                         "trace": fact.trace}
                    )  # fmt: skip
                case AttemptLost():
                    failures.append(
                        {"attempt": fact.attempt, "code": "lost", "message": fact.holder,
                         "trace": ""}
                    )  # fmt: skip
    return {"params": plain(resolved(params, ground.load)), "failures": failures[-FAILURES_MAX:]}


def _parked(ground: Ground, letter: LetterView) -> dict[str, Any] | None:
    """Return a message whose handling raised; None: somebody saw to it, and its row is gone."""
    failed = parked(ground.journal, letter.letter)
    if failed is None:
        return None
    message = failed.message
    whole = ground.load(message) if isinstance(message, BlobRef) else message
    return {"type": failed.message_type, "message": plain(whole), "trace": failed.trace}
