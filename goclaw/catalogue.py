"""What is registered by name, read from the log: any thread, with or without an engine."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw.errors import DefinitionNotFound
from goclaw_actors.alive import standing
from goclaw_actors.catalogue import CATALOGUE
from goclaw_actors.rebuild import actor_at
from goclaw_events.errors import HistoryExpired
from goclaw_events.facts import DefinitionRegistered
from goclaw_events.faults import Suggester
from goclaw_events.ids import catalogue_stream, check_id, partition_of
from goclaw_events.replay import stream_turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_actors.catalogue import Catalogue
    from goclaw_events.journal import Journal
    from goclaw_events.value import BlobRef

NAMES_KEPT_MAX: Final = 256
_PREFIX: Final = catalogue_stream("")
_KINDS: Final = {"catalogue": CATALOGUE}


class Registered(NamedTuple):
    """A version of a definition: its plan's blob, when and by whom it was registered.

    When and by whom is not known any more where that part of history was given up.
    """

    name: str
    version: str
    definition: BlobRef
    registered_at_ns: int | None
    registered_by: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class CatalogueReader:
    """Answer what a name stands for. Sees what is durable; the last names asked for are kept."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kept: OrderedDict[str, tuple[int, list[Registered]]] = OrderedDict()

    def names(self) -> list[str]:
        """Return every registered name, in order."""
        found = (
            stream[len(_PREFIX) :]
            for partition in range(self._journal.partitions)
            for stream in standing(self._journal, partition, "catalogue")
        )
        return sorted(found)

    def versions(self, name: str) -> list[Registered]:
        """Return the versions of a name, the latest last; none if it is not registered."""
        stream = catalogue_stream(check_id(name, "name of a definition"))
        last = self._journal.last_seq(partition_of(stream, self._journal.partitions), stream)
        kept = self._kept.get(name)
        if kept is None or kept[0] != last:
            kept = self._kept[name] = (last, list(self._read(name, stream)) if last else [])
            while len(self._kept) > NAMES_KEPT_MAX:
                self._kept.popitem(last=False)
        return kept[1]

    def _read(self, name: str, stream: str) -> Iterator[Registered]:
        partition = partition_of(stream, self._journal.partitions)
        state: Catalogue = actor_at(self._journal, _KINDS, partition, stream).state
        told: dict[str, tuple[int, str]] = {}
        with suppress(HistoryExpired):  # then only the versions themselves are kept
            for turn in stream_turns(self._journal, stream):
                for fact in turn.facts:
                    said = DefinitionRegistered(*fact.data)
                    told[said.version] = (turn.time_ns, said.registered_by)
        for version, definition in state.versions.items():
            yield Registered(name, version, definition, *told.get(version, (None, "")))

    def find(self, text: str) -> Registered:
        """Return what `NAME` (its latest version) or `NAME@VERSION` stands for.

        Raises `DefinitionNotFound` with what was probably meant, `InvalidId`.
        """
        name, at, version = text.partition("@")
        versions = self.versions(name)
        if not versions:
            hint = Suggester().hint(name, self.names()) or "goclaw workflows register FILE"
            raise DefinitionNotFound(f"no definition is registered as {name!r}", hint=hint)
        if not at:
            return versions[-1]
        for registered in versions:
            if registered.version == version:
                return registered
        hint = Suggester().hint(version, [registered.version for registered in versions])
        raise DefinitionNotFound(f"{name!r} has no version {version!r}", hint=hint)
