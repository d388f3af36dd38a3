"""Rebuild an actor: what is durable of its stream, then what is still on its way to the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.errors import StreamBroken
from goclaw_actors.replies import fold_reply
from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, Fact
from goclaw_events.frame import decode_frame
from goclaw_events.replay import StreamTurn, stream_turns, turns_of
from goclaw_events.value import unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from goclaw_actors.actor import Entity
    from goclaw_actors.decider import Decider
    from goclaw_events.framing import FrameBuilder
    from goclaw_events.journal import Journal


def load(
    entity: Entity,
    journal: Journal,
    partition: int,
    in_flight: Sequence[bytes],
    builder: FrameBuilder | None,
    time_ns: int,
) -> None:
    """Fold the actor's stream into its shell: state, seq, position, and remembered replies.

    `in_flight` are the frames not yet durable, `builder` the batch being decided: those that hold
    facts of the stream. A frame that became durable meanwhile is met twice; its turns count
    once, by their sequence numbers.
    """
    entity.state = entity.decider.initial(entity.stream)
    entity.seq = 0
    entity.replies = None
    for turn in stream_turns(journal, entity.stream, partition=partition):
        _fold(entity, turn)
    for data in in_flight:
        for turn in turns_of(decode_frame(data, check=False), entity.stream):
            _fold(entity, turn)
    if builder is not None:
        for turn in _open_turns(builder, entity.stream, time_ns):
            _fold(entity, turn)


def _fold(entity: Entity, turn: StreamTurn) -> None:
    facts = turn.facts
    if facts[-1].seq <= entity.seq:
        return
    if facts[0].seq != entity.seq + 1:
        msg = f"stream {entity.stream} jumps from fact {entity.seq} to {facts[0].seq}"
        raise StreamBroken(msg, stream=entity.stream, seq=entity.seq)
    for fact in facts:
        entity.decider.evolve(entity.state, FACTS.decode(fact.type, fact.version, fact.data))
    entity.seq = facts[-1].seq
    entity.number = turn.number + len(facts) - 1
    fold_reply(entity, turn.cause, turn.time_ns)


def _open_turns(builder: FrameBuilder, stream: str, time_ns: int) -> Iterator[StreamTurn]:
    number = builder.first
    for _, cause, *facts in builder.turns:
        decoded = [Fact(*unpack(fact)) for fact in facts]
        if decoded[0].stream == stream:
            yield StreamTurn(number, time_ns, Cause(*unpack(cause)), decoded)
        number += len(decoded)


def fold(decider: Decider[Any], stream: str, turns: Iterable[StreamTurn]) -> Any:
    """Return the state that the turns of a stream fold to: replay, without a shell."""
    state = decider.initial(stream)
    for turn in turns:
        for fact in turn.facts:
            state = decider.evolve(state, FACTS.decode(fact.type, fact.version, fact.data))
    return state
