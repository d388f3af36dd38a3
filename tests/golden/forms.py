"""How the actors of a log are kept where history is given up, in the forms of a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.baseline import raised
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.rebuild import fold
from goclaw_events.ids import kind_of
from goclaw_events.replay import stream_turns
from goclaw_events.snapshots import Manifest, Snapshot
from goclaw_events.value import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_actors.decider import Decider
    from goclaw_events.journal import Journal


def folded(journal: Journal) -> Iterator[tuple[str, Decider[Any], Any]]:
    """Yield every actor that is kept in a form: its stream, its decider, its state."""
    kinds = deciders(StoredContents(journal))
    for partition in range(journal.partitions):
        for stream in journal.streams(partition):
            decider = kinds.get(kind_of(stream))
            if decider is not None and decider.form is not None:
                yield stream, decider, fold(decider, stream, stream_turns(journal, stream))


def kept_forms(journal: Journal) -> bytes:
    """Return every actor in its form, packed: stream -> [version, root, maps]."""
    found = {}
    for stream, decider, state in folded(journal):
        form = decider.form
        assert form is not None
        maps = {at: dict(each.chunks()) for at, each in enumerate(form.maps(state)) if len(each)}
        found[stream] = [form.version, pack(form.root(state)), pack(maps)]
    return pack(found)


def restored(decider: Decider[Any], stream: str, kept: list[Any]) -> Any:
    """Return the state of an actor from what `kept_forms` has of it."""
    form = decider.form
    assert form is not None
    version, root, maps = kept
    manifest = Manifest(1, 1, version, 1, [], root, {})
    snapshot = raised(stream, form, Snapshot(manifest, unpack(root), unpack(maps)))
    return form.restore(stream, snapshot.root, snapshot.maps)
