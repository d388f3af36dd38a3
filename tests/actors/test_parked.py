"""Parked messages: each is seen to once, whoever asks, whenever the process dies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.decider import Send
from goclaw_actors.errors import NotParked
from goclaw_actors.message import Message
from goclaw_actors.messages import RegisterDefinition
from goclaw_actors.parked import said_again
from goclaw_events.errors import UnknownType
from goclaw_events.facts import DefinitionRegistered, MessageFailed, MessageSettled
from goclaw_events.ids import catalogue_stream
from goclaw_events.value import BlobRef
from tests.actors.stage import Stage

if TYPE_CHECKING:
    from goclaw_actors.decider import Decider
    from goclaw_events.errors import CodedError

STREAM = catalogue_stream("w")
SAID = RegisterDefinition("1", BlobRef(b"d" * 32, 1), "me")


def strikes_once(kinds: dict[str, Decider[Any]]) -> None:
    """Let a bug strike what is said first to a catalogue."""
    decider, armed = kinds["catalogue"], [True]

    def decide(state: Any, message: Any, moment: Any) -> Any:
        if armed:
            armed.clear()
            msg = "a bug"
            raise RuntimeError(msg)
        return decider.decide(state, message, moment)

    kinds["catalogue"] = replace(decider, decide=decide)


def struck() -> tuple[Stage, int]:
    """Return a stage on which a message is parked, and at which number."""
    stage = Stage(change=strikes_once)
    stage.node.accept(Message(STREAM, SAID))
    stage.finish()
    (failed,) = [said for said in stage.log() if isinstance(said.fact, MessageFailed)]
    assert stage.rows("parked") == 1
    return stage, failed.number


def settle(stage: Stage, number: int, how: str = "redelivered") -> list[CodedError | None]:
    """Ask for a parked message to be settled; return where the answer will stand."""
    told: list[CodedError | None] = []
    sends = [Send(STREAM, SAID)] if how == "redelivered" else []
    fact = MessageSettled(number, how, "seen", "me")
    stage.node.dispatchers[0].record([fact], told.append, sends)
    return told


@pytest.mark.parametrize("second", ["redelivered", "discarded"])
def test_of_two_who_settle_a_message_in_one_batch_the_first_does(second: str) -> None:
    """The other is told that it is parked no more; it is handled once."""
    stage, number = struck()
    first, other = settle(stage, number), settle(stage, number, second)
    stage.finish()
    assert first == [None]
    assert [type(error) for error in other] == [NotParked]
    assert [type(fact) for fact in stage.facts(STREAM)] == [DefinitionRegistered]
    assert stage.rows("parked") == 0


def test_who_comes_before_the_first_is_durable_comes_second() -> None:
    """The row goes when its batch is written; who was decided first is known before that."""
    stage, number = struck()
    first = settle(stage, number)
    stage.decide()
    assert (first, stage.rows("parked")) == ([], 1)
    other = settle(stage, number)
    stage.finish()
    assert first == [None]
    assert [type(error) for error in other] == [NotParked]


@pytest.mark.parametrize("survive", [0, 9])
def test_after_a_crash_the_row_says_who_was_first(survive: int) -> None:
    """Lost with its batch, it is asked for again; recorded, nobody can do it once more."""
    stage, number = struck()
    settle(stage, number)
    stage.decide()
    stage = stage.crash(survive)
    again = settle(stage, number)
    stage.finish()
    assert [type(error) for error in again] == [NotParked if survive else type(None)]
    assert [type(fact) for fact in stage.facts(STREAM)] == [DefinitionRegistered]


def test_nothing_is_settled_that_was_never_parked() -> None:
    """Whoever names another fact is refused, and nothing is said."""
    stage, number = struck()
    assert [type(error) for error in _settled(stage, number + 1)] == [NotParked]
    assert stage.facts(STREAM) == []
    assert stage.rows("parked") == 1


def test_a_large_message_is_said_again_whole() -> None:
    """It was recorded by reference; what could not be stored is refused, and stays parked."""
    stage = Stage(change=strikes_once)
    large = SAID._replace(registered_by="x" * 100_000)
    stage.node.accept(Message(STREAM, large))
    stage.finish()
    (failed,) = [said.fact for said in stage.log() if isinstance(said.fact, MessageFailed)]
    assert isinstance(failed.message, BlobRef)
    assert said_again(failed, stage.journal) == Send(STREAM, large)
    text = failed._replace(message=["RegisterDefinition(...)"])
    with pytest.raises(UnknownType, match="has 1 fields"):
        said_again(text, stage.journal)


def _settled(stage: Stage, number: int) -> list[CodedError | None]:
    told = settle(stage, number)
    stage.finish()
    return told
