"""The live actors: bounded, least recently used first out, never before their facts are kept."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from goclaw_actors.directory import Directory
from goclaw_actors.lane import LANE
from goclaw_actors.lending import Release
from goclaw_actors.message import Message

if TYPE_CHECKING:
    from goclaw_actors.actor import Entity


class Handled:
    """Take turns by noting them."""

    def __init__(self) -> None:
        self.ready: deque[Entity] = deque()
        self.later: deque[Entity] = deque()
        self.seen: list[tuple[str, Any]] = []

    def handle(self, entity: Entity, message: Message) -> None:
        """Note a turn."""
        self.seen.append((entity.stream, message.body))


def directory(live_max: int, turns: Handled | None = None) -> Directory:
    """Return a directory of lanes; one called `final` is final."""
    ending = replace(LANE, is_final=lambda lane: lane.declared_by == "final")
    return Directory({"lane": ending}, turns or Handled(), live_max)


def loaded(found: Directory, name: str, number: int = 0) -> Entity:
    """Activate a lane whose last fact has a number."""
    entity = found.entity(f"lane/{name}")
    entity.state = LANE.initial(entity.stream)
    entity.number = number
    return entity


def live(found: Directory) -> list[str]:
    """Return the names of the live lanes, the longest idle first."""
    return [stream.removeprefix("lane/") for stream in found.live]


def test_the_longest_idle_go_first() -> None:
    """Use is what counts, not age: who recorded something in a batch was used."""
    found = directory(2)
    for name in "abcd":
        loaded(found, name)
    found.passivate([found.entity("lane/a")], durable=10)
    assert live(found) == ["d", "a"]


def test_nothing_goes_below_the_limit() -> None:
    """Idle actors stay: they are a cache."""
    found = directory(4)
    for name in "abcd":
        loaded(found, name)
    found.passivate([], durable=10)
    assert live(found) == list("abcd")


def test_what_is_not_durable_or_not_idle_stays() -> None:
    """Over the limit too: its state cannot be had from the log, or is needed now."""
    turns = Handled()
    found = directory(0, turns)
    loaded(found, "in-flight", number=11)
    loaded(found, "busy").actor_ref.tell(Message("lane/busy", Release("t")))
    loaded(found, "idle", number=10)
    found.passivate([], durable=10)
    assert live(found) == ["in-flight", "busy"]


def test_what_is_final_goes_at_once() -> None:
    """As soon as it is durable, if nothing waits for it."""
    found = directory(100)
    final, late = loaded(found, "final", number=5), loaded(found, "late", number=6)
    for entity in (final, late):
        entity.state.declared_by = "final"
    found.passivate([final, late], durable=5)
    assert live(found) == ["late"]


def test_an_actor_without_a_state_is_no_reason_to_stop() -> None:
    """It failed after its facts of the same batch, and is rebuilt when next told."""
    found = directory(100)
    entity = loaded(found, "failed", number=5)
    entity.forget()
    found.passivate([entity], durable=5)
    assert live(found) == ["failed"]
    assert entity.rebuild


def test_a_dropped_actor_is_stopped_and_replaced() -> None:
    """Its reference is dead; the stream activates another one."""
    found = directory(100)
    first = loaded(found, "a")
    found.drop(first)
    with pytest.raises(pykka.ActorDeadError):
        first.actor_ref.tell(Message("lane/a", Release("t")))
    assert found.entity("lane/a") is not first


def test_actors_stay_out_of_pykka_s_registry() -> None:
    """Leaving it costs hundreds of microseconds an actor."""
    before = len(pykka.ActorRegistry.get_all())
    found = directory(100)
    for number in range(50):
        loaded(found, str(number))
    assert len(pykka.ActorRegistry.get_all()) == before


def test_actors_are_told_never_asked() -> None:
    """A question between actors would deadlock: it is refused at once."""
    entity = loaded(directory(100), "a")
    with pytest.raises(TypeError, match="never asked"):
        entity.actor_ref.ask(Message("lane/a", Release("t")))


def test_messages_are_taken_in_order_of_arrival() -> None:
    """An actor is ready once, however many messages wait for it."""
    turns = Handled()
    found = Directory({"lane": replace(LANE, pool=None)}, turns, 100)
    entity = loaded(found, "a")
    for task in "xyz":
        entity.actor_ref.tell(Message("lane/a", Release(task)))
    assert (list(turns.ready), list(turns.later)) == ([entity], [])
    while not entity.actor_inbox.empty():
        entity.on_receive(entity.actor_inbox.get())
    assert [body.task for _, body in turns.seen] == ["x", "y", "z"]


def test_which_streams_have_a_decider() -> None:
    """By their kind."""
    found = directory(1)
    assert found.knows("lane/x")
    assert not found.knows("task/r/a")
