"""What a submission is answered whose id, or key, another one has taken."""

from __future__ import annotations

from goclaw_actors.decider import Refused


def submitted_otherwise(name: str, idempotency_key: str | None) -> Refused:
    """Return what another request under the id, or the key, of a run or a saga is answered."""
    under = f" under the idempotency key {idempotency_key!r}" if idempotency_key else ""
    text = f"{name} was submitted before{under} with another definition or input"
    hint = f"choose another {'key' if idempotency_key else 'id'}"
    return Refused("command_conflict", text, hint)
