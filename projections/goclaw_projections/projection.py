"""A projection: a fold of the log into rows that answer one kind of question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, runtime_checkable

from goclaw_events.codec import FACTS
from goclaw_events.envelope import NEW_TUPLE
from goclaw_events.frame import read_header, read_turns
from goclaw_events.ids import PARTITION_STREAM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from goclaw_events.envelope import Told
    from goclaw_events.frame import FrameHeader
    from goclaw_projections.rows import Rows

_OTHERS: Final = frozenset({"workflow", "saga", PARTITION_STREAM})
_KINDS: Final = _OTHERS | {"task", "lane", "collector", "schedule"}


class ReadTurn(NamedTuple):
    """The facts that one stream recorded in one turn; `number` and `seq` are those of the first.

    `run_id` and `task_id` are taken from the stream's name, '' where it has none; `name` is what
    stands behind the kind, of a task `<run id>/<task id>`.
    """

    number: int
    kind: str
    run_id: str
    task_id: str
    seq: int
    facts: Sequence[Any]
    name: str


class ReadFrame(NamedTuple):
    """A frame decoded once for every projection.

    `lanes` has the turns of lanes (of lane `io` of `digest`: `run_id` is `digest`, `task_id` is
    `io`), `turns` those of runs, sagas, tasks and the partition itself;
    `others` those of `turns` that are not of tasks, `collectors` those of collectors,
    `schedules` those of schedules.
    """

    partition: int
    era: int
    first: int
    last: int
    time_ns: int
    turns: list[ReadTurn]
    lanes: list[ReadTurn]
    others: list[ReadTurn]
    collectors: list[ReadTurn]
    schedules: list[ReadTurn]


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


@runtime_checkable
class Foreseeing(Projection, Protocol):
    """A projection that can tell which rows it will read."""

    def reads(self, frame: ReadFrame, rows: Rows) -> Iterator[str]:
        """Yield the keys that `apply` will look up for a frame, those of which there are many.

        Some may be left out, and some be too many: they are fetched together, that is all.
        """
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
    frame = _empty(header)
    number = header.first
    for turn in read_turns(data):
        count = len(turn) - 1
        if count:
            stream, seq = turn[1][:2]
            if stream.partition("/")[0] in _KINDS:
                _add(frame, number, stream, seq, _decode(turn))
        number += count
    return frame


def frame_told(header: FrameHeader, told: Sequence[Told]) -> ReadFrame:
    """Return what `read_frame` gives for the same frame, from the objects that made it."""
    frame = _empty(header)
    number = header.first
    for stream, seq, facts in told:
        _add(frame, number, stream, seq, facts)
        number += len(facts)
    return frame


def _empty(header: FrameHeader) -> ReadFrame:
    last = header.first + header.facts_count - 1
    partition, era, time_ns = header.partition, header.era, header.time_ns
    return ReadFrame(partition, era, header.first, last, time_ns, [], [], [], [], [])


def _add(frame: ReadFrame, number: int, stream: str, seq: int, facts: Sequence[Any]) -> None:
    """Put a turn where those of its kind are, if projections read its kind."""
    kind, _, name = stream.partition("/")
    run_id, _, task_id = name.partition("/")
    turn = NEW_TUPLE(ReadTurn, (number, kind, run_id, task_id, seq, facts, name))
    if kind == "task":
        frame.turns.append(turn)
    elif kind in _OTHERS:
        frame.turns.append(turn)
        frame.others.append(turn)
    elif kind == "lane":
        frame.lanes.append(turn)
    elif kind == "collector":
        frame.collectors.append(turn)
    elif kind == "schedule":
        frame.schedules.append(turn)


def _decode(turn: list[Any]) -> list[Any]:
    """Do what `Codec.decode` does; for facts of the current version in a third of the time."""
    found = []
    for _, _, name, version, told in turn[1:]:
        known = _KNOWN.get(name)
        if known is not None and known[1] == version and known[2] == len(told):
            found.append(NEW_TUPLE(known[0], told))
        else:
            found.append(FACTS.decode(name, version, told))
    return found
