"""What the dispatchers need of the world, and the limits they keep to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw_actors.contents import StoredContents
    from goclaw_actors.decider import Decider, RunBegun, RunEnded, SelectMembers
    from goclaw_actors.env import Clock, Identity
    from goclaw_actors.work import Executor
    from goclaw_events.envelope import Position
    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Journal


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a dispatcher; each bounds a queue, a loop or a batch."""

    batch_messages_max: int = 4096
    batch_bytes_max: int = 256 * 1024
    batch_time_s: float = 0.02
    live_actors_max: int = 50_000
    commits_in_flight_max: int = 2
    commands_max: int = 100_000
    lost_max: int = 10
    snapshot_every_facts: int = 5_000
    snapshot_time_s: float = 0.001
    snapshot_chunks_max: int = 1_000
    history_facts_max: int = 50_000
    history_bytes_max: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ports:
    """The world of a node.

    `post` has a function called with an argument on the dispatchers' thread, soon. `run_ended`
    and `committed` are called there too, when what they tell is durable; they may not block.
    `contents` are those that `kinds` decide with: they are lent what is not durable yet.
    """

    journal: Journal
    executor: Executor
    clock: Clock
    identity: Identity
    kinds: Mapping[str, Decider[Any]]
    version: str
    post: Callable[[Callable[[Any], None], Any], None]
    run_ended: Callable[[RunEnded, Position], None]
    committed: Callable[[int, EncodedFrame], None]
    contents: StoredContents
    reopened: Callable[[], None] = lambda: None
    """Hear that the log was opened again: what a failed commit had stored was told to nobody."""
    searches: Callable[[RunBegun | SelectMembers], None] = lambda _: None
    """Hear what concerns whoever finds members for collectors; as `run_ended`."""
