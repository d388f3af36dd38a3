"""The catalogue of one name: the versions of a definition that can be run by it.

A version never changes what it stands for: who registers it again with another body is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import Accepted, Decider, Decision, Moment, Refused, SnapshotForm
from goclaw_actors.messages import RegisterDefinition
from goclaw_events.facts import DefinitionRegistered

if TYPE_CHECKING:
    from goclaw_actors.decider import MapChunks
    from goclaw_events.facts import CatalogueFact
    from goclaw_events.value import BlobRef, Value

VERSIONS_MAX: Final = 1_000
"""Versions of one name; a further one is refused."""


class Catalogue:
    """The versions of one definition, in the order in which they came; the last is the latest."""

    __slots__ = ("name", "versions")

    def __init__(self, stream: str) -> None:
        self.name = stream.partition("/")[2]
        self.versions: dict[str, BlobRef] = {}


def evolve(catalogue: Catalogue, fact: CatalogueFact) -> Catalogue:
    """Apply a fact in place."""
    catalogue.versions[fact.version] = fact.definition
    return catalogue


def decide(catalogue: Catalogue, message: Any, _moment: Moment) -> Decision:
    """Register a version once; the answer's id is the version."""
    if not isinstance(message, RegisterDefinition):
        msg = f"a catalogue does not understand {type(message).__name__}"
        raise TypeError(msg)
    version = message.version or _version_for(catalogue, message.definition)
    known = catalogue.versions.get(version)
    if known is not None:
        if known.sha256 == message.definition.sha256:
            return Decision(reply=Accepted(version, repeated=True))
        text = f"{catalogue.name} has a version {version} with another body"
        return Decision(reply=Refused("definition_conflict", text, "give it another version"))
    if len(catalogue.versions) >= VERSIONS_MAX:
        text = f"{catalogue.name} has {VERSIONS_MAX} versions already"
        return Decision(reply=Refused("catalogue_full", text, "register it under another name"))
    fact = DefinitionRegistered(version, message.definition, message.registered_by)
    return Decision((fact,), reply=Accepted(version))


def _version_for(catalogue: Catalogue, definition: BlobRef) -> str:
    """Return the version that has this body, or the next number that is free."""
    for version, known in catalogue.versions.items():
        if known.sha256 == definition.sha256:
            return version
    number = len(catalogue.versions) + 1
    while str(number) in catalogue.versions:
        number += 1
    return str(number)


def encode(catalogue: Catalogue) -> dict[str, Any]:
    """Return the catalogue as plain data: equal ones give equal data."""
    return {"versions": [[version, ref.hex] for version, ref in catalogue.versions.items()]}


def _root(catalogue: Catalogue) -> Value:
    return [[version, ref] for version, ref in catalogue.versions.items()]


def _maps(_: Catalogue) -> tuple[()]:
    return ()


def _restore(stream: str, root: Value, _: MapChunks) -> Catalogue:
    catalogue = Catalogue(stream)
    catalogue.versions = dict(root)
    return catalogue


def _is_final(_: Catalogue) -> bool:
    return False


FORM: Final = SnapshotForm(1, _root, _maps, _restore)
"""How a catalogue is kept: every version with its plan's blob."""
CATALOGUE: Final = Decider(Catalogue, decide, evolve, _is_final, encode, FORM)
"""The catalogue as a value."""
