"""What was registered under a name. Stream `catalogue/<name of the definition>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef


class DefinitionRegistered(NamedTuple):
    """A definition can be run by name: `definition` is its plan's blob, for ever that version's."""

    version: str
    definition: BlobRef
    registered_by: str


CatalogueFact: TypeAlias = DefinitionRegistered
