"""The states of the catalogue of a name, reached by facts, and the messages put to it in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.catalogue import CATALOGUE, Catalogue
from goclaw_actors.messages import RegisterDefinition
from goclaw_events.facts import DefinitionRegistered
from scripts.aggregates import OTHER, REF, Aggregate

if TYPE_CHECKING:
    from collections.abc import Sequence


def catalogue() -> Aggregate:
    """Return the catalogue of a name with its states and messages."""
    states: dict[str, Sequence[Any]] = {
        "empty": (),
        "registered": (DefinitionRegistered("1", REF, ""),),
    }
    messages = {
        "RegisterDefinition": RegisterDefinition(None, OTHER, ""),
        "RegisterDefinition of a body that is known": RegisterDefinition(None, REF, ""),
        "RegisterDefinition as version 1": RegisterDefinition("1", REF, ""),
        "RegisterDefinition of another body as version 1": RegisterDefinition("1", OTHER, ""),
    }
    about = "What can be run by one name; *registered*: version 1 is known."
    return Aggregate(
        "Catalogue", about, CATALOGUE, "catalogue/w", states, messages, _catalogue_state
    )


def _catalogue_state(state: Catalogue) -> str:
    return "registered" if state.versions else "empty"
