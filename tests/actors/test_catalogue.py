"""The catalogue of a name: a version stands for one body for ever, the last one is the latest."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_actors.catalogue import CATALOGUE, VERSIONS_MAX
from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.messages import CancelRun, RegisterDefinition
from goclaw_events.facts import DefinitionRegistered
from goclaw_events.value import BlobRef
from tests.actors.given import Scenario, moment

ONE, TWO = BlobRef(b"1" * 32, 1), BlobRef(b"2" * 32, 2)


def catalogue() -> Scenario[Any]:
    """Return an empty catalogue."""
    return Scenario(CATALOGUE, "catalogue/w")


def test_a_version_is_registered_once() -> None:
    """The same again answers as before and records nothing; another body is refused."""
    then = catalogue()
    first = then.when(RegisterDefinition("a", ONE, "me"))
    assert first.facts == (DefinitionRegistered("a", ONE, "me"),)
    assert first.reply == Accepted("a")
    again = then.when(RegisterDefinition("a", ONE, "you"))
    assert (again.facts, again.reply) == ((), Accepted("a", repeated=True))
    other = then.when(RegisterDefinition("a", TWO, "me"))
    assert other.facts == ()
    assert isinstance(other.reply, Refused)
    assert other.reply.code == "definition_conflict"
    assert then.replayed() == then.encoded()


def test_without_a_version_it_is_the_next_number() -> None:
    """Numbers that somebody chose are passed over; a body that is known keeps its version."""
    then = catalogue().given(DefinitionRegistered("2", ONE, ""))
    assert then.when(RegisterDefinition(None, ONE, "")).reply == Accepted("2", repeated=True)
    assert then.when(RegisterDefinition(None, TWO, "")).reply == Accepted("3")


def test_a_name_has_a_bounded_number_of_versions() -> None:
    """One too many is refused; what is known is still answered."""
    then = catalogue()
    for number in range(VERSIONS_MAX):
        then.given(DefinitionRegistered(str(number), BlobRef(number.to_bytes(32, "big"), 1), ""))
    refused = then.when(RegisterDefinition("new", TWO, "")).reply
    assert isinstance(refused, Refused)
    assert refused.code == "catalogue_full"
    known = RegisterDefinition("7", BlobRef((7).to_bytes(32, "big"), 1), "")
    assert then.when(known).reply == Accepted("7", repeated=True)


def test_what_it_does_not_understand_is_a_bug() -> None:
    """It raises, and the shell records the message."""
    with pytest.raises(TypeError, match="CancelRun"):
        CATALOGUE.decide(CATALOGUE.initial("catalogue/w"), CancelRun("", ""), moment())
