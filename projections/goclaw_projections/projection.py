"""A projection: a fold of the log into rows that answer one kind of question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from goclaw_events.codec import FACTS
from goclaw_events.frame import read_header, read_turns
from goclaw_events.ids import PARTITION_STREAM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_events.envelope import Told
    from goclaw_events.frame import FrameHeader
    from goclaw_projections.rows import Rows

_READ_KINDS = frozenset({"workflow", "task", PARTITION_STREAM})


class ReadTurn(NamedTuple):
    """The facts that one stream recorded in one turn; `number` and `seq` are those of the first.

    `run_id` and `task_id` are taken from the stream's name, '' where it has none.
    """

    number: int
    kind: str
    run_id: str
    task_id: str
    seq: int
    facts: Sequence[Any]


class ReadFrame(NamedTuple):
    """A frame decoded once for every projection.

    `lanes` has the turns of lanes (of lane `io` of `digest`: `run_id` is `digest`, `task_id` is
    `io`), `turns` those of runs, tasks and the partition itself.
    """

    partition: int
    era: int
    first: int
    last: int
    time_ns: int
    turns: list[ReadTurn]
    lanes: list[ReadTurn]


class Projection(Protocol):
    """Fold frames into rows of its own, in the order of each partition.

    `version` is part of the checkpoint: another one drops the rows and builds them again, so it
    grows whenever `apply` or the shape of a row changes. A projection keeps nothing outside its
    rows, and may see the frames of different partitions in any interleaving.
    """

    @property
    def name(self) -> str:
        """Return the stable name, an id without `/`."""
        ...

    @property
    def version(self) -> int:
        """Return the version of the rows that `apply` makes."""
        ...

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Change the rows by one frame. What it raises stops this projection alone."""
        ...


class _Known(NamedTuple):
    cls: type[tuple[Any, ...]]
    version: int
    fields_count: int


def _known_types() -> dict[str, _Known]:
    found = {}
    for cls, (name, version) in FACTS.names.items():
        assert issubclass(cls, tuple), "a fact is a NamedTuple"
        fields: tuple[str, ...] = cls._fields  # type: ignore[attr-defined]  # a NamedTuple's
        found[name] = _Known(cls, version, len(fields))
    return found


_KNOWN: Final = _known_types()


def read_frame(data: bytes) -> ReadFrame:
    """Decode a frame for projections; raises `LogDamaged`, `UnknownType`."""
    header = read_header(data)
    number = header.first
    turns: list[ReadTurn] = []
    lanes: list[ReadTurn] = []
    for turn in read_turns(data):
        count = len(turn) - 1
        if count:
            kind, _, rest = turn[1][0].partition("/")
            found = turns if kind in _READ_KINDS else lanes if kind == "lane" else None
            if found is not None:
                run_id, _, task_id = rest.partition("/")
                found.append(ReadTurn(number, kind, run_id, task_id, turn[1][1], _decode(turn)))
        number += count
    last = header.first + header.facts_count - 1
    return ReadFrame(header.partition, header.era, header.first, last, header.time_ns, turns, lanes)


def frame_told(header: FrameHeader, told: Sequence[Told]) -> ReadFrame:
    """Return what `read_frame` gives for the same frame, from the objects that made it."""
    number = header.first
    turns: list[ReadTurn] = []
    lanes: list[ReadTurn] = []
    for stream, seq, facts in told:
        kind, _, rest = stream.partition("/")
        found = turns if kind in _READ_KINDS else lanes if kind == "lane" else None
        if found is not None:
            run_id, _, task_id = rest.partition("/")
            found.append(ReadTurn(number, kind, run_id, task_id, seq, facts))
        number += len(facts)
    return ReadFrame(
        header.partition, header.era, header.first, number - 1, header.time_ns, turns, lanes
    )


def _decode(turn: list[Any]) -> list[Any]:
    """Do what `Codec.decode` does; for facts of the current version in a third of the time."""
    found = []
    for _, _, name, version, told in turn[1:]:
        known = _KNOWN.get(name)
        if known is not None and known[1] == version and known[2] == len(told):
            found.append(tuple.__new__(known[0], told))
        else:
            found.append(FACTS.decode(name, version, told))
    return found
