"""What a snapshot keeps of an actor's shell: the bytes of its history, and what it answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.replies import Known

if TYPE_CHECKING:
    from goclaw_actors.actor import Entity
    from goclaw_events.value import Value


def kept_of(entity: Entity) -> Value:
    """Return it as plain data: [bytes, answers]."""
    return [entity.size, [[name, *known] for name, known in (entity.replies or {}).items()]]


def keep(entity: Entity, kept: Any) -> None:
    """Put it back. Snapshots of before there was a limit hold the answers alone."""
    counts = bool(kept) and isinstance(kept[0], int)
    size, answers = kept if counts else (0, kept)
    replies = {name: Known(*known) for name, *known in answers}
    entity.size, entity.replies = size, replies or None
