"""Parked messages are said once more or put away: fact, row and message in one frame."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.decider import Decider, Send
from goclaw_actors.message import Message
from goclaw_actors.messages import MESSAGES, RegisterDefinition
from goclaw_events.facts import MessageFailed, MessageSettled
from goclaw_events.value import blob_of
from goclaw_events.verify import verify
from tests.actors.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_events.errors import CodedError


CATALOGUE = "catalogue/greet"


def parked() -> tuple[Stage, int, Send]:
    """Return a stage on which a definition was not registered, and what was parked."""
    broken = [True]

    def bug(kinds: dict[str, Decider[Any]]) -> None:
        catalogue = kinds["catalogue"]

        def decide(state: Any, message: Any, moment: Any) -> Any:
            if broken[0]:
                raise RuntimeError("a bug")
            return catalogue.decide(state, message, moment)

        kinds["catalogue"] = replace(catalogue, decide=decide)

    stage = Stage(change=bug)
    ref = blob_of(b"plan")
    message = Message(CATALOGUE, RegisterDefinition(None, ref, "me"))
    message.blobs = {ref.sha256: b"plan"}
    stage.node.accept(message)
    stage.rest()
    broken[0] = False
    (said,) = [one for one in stage.log() if isinstance(one.fact, MessageFailed)]
    failed = said.fact
    body = MESSAGES.decode(failed.message_type, failed.message_version, failed.message)
    return stage, said.number, Send(failed.target, body)


def settle(stage: Stage, number: int, how: str, *sends: Send) -> list[CodedError | None]:
    """Have a message settled; return what was heard of it."""
    heard: list[CodedError | None] = []
    done: Callable[[CodedError | None], None] = heard.append
    fact = MessageSettled(number, how, "mended", "me")
    stage.node.dispatchers[0].record([fact], done, sends)
    return heard


def test_a_discarded_message_is_parked_no_more() -> None:
    """Its row goes with the fact; the tables of the log are what its frames stand for."""
    stage, number, _ = parked()
    assert stage.rows("parked") == 1
    heard = settle(stage, number, "discarded")
    stage.rest()
    assert (heard, stage.rows("parked")) == ([None], 0)
    assert verify(stage.journal).whole


@pytest.mark.parametrize("survive", [0, 1])
def test_a_redelivered_message_is_handled_whatever_is_lost(survive: int) -> None:
    """A crash leaves it parked and unsaid, or said and parked no more."""
    stage, number, send = parked()
    settle(stage, number, "redelivered", send)
    stage.decide()
    stage = stage.crash(survive=survive)
    stage.rest()
    registered = stage.names(CATALOGUE) == ["DefinitionRegistered"]
    assert (stage.rows("parked"), registered) == ((0, True) if survive else (1, False))
    assert verify(stage.journal).whole
