"""What `meta` and `ended` say of an archive: which segments there are, where reading begins.

| row of `meta` | value |
|---|---|
| `floor/<p>` | u64 first number above the newest segment, then the hash of the frame before it |
| `segment/<p>/<first>` | msgpack of a `SegmentInfo`; stays when the segment expires |
| `history/<p>` | msgpack of a `History`: what is below it was given up |
| `shelved/<p>` | u64: below it rows are read from segments, not from tables |
| `dropped/<p>` | u64: below it no row of a table is left |

The first three follow from the facts `SegmentSealed` and `SegmentsExpired`, but are kept only
where the files are: a log imported from an export has the facts and no segments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events.errors import LogDamaged
from goclaw_events.value import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SEALED: Final = "partition.segment_sealed"
EXPIRED: Final = "partition.segments_expired"
ARCHIVE_ROWS: Final = (b"floor/", b"segment/", b"history/")
"""How the keys of `meta` begin that follow from the facts of an archive."""
OWN_ROWS: Final = (b"shelved/", b"dropped/")
"""How the keys of `meta` begin that say how far tables were emptied."""


class SegmentInfo(NamedTuple):
    """A sealed segment: `name` of its file, the facts [`first`, `last`] of its partition.

    `file_bytes` is the file's size, `digest` (BLAKE2b-256) covers all of it, `last_hash` is that of
    its last frame, `ended` counts the runs that have nothing above it. The fields are those of
    the fact `SegmentSealed`.
    """

    name: str
    first: int
    last: int
    frames: int
    facts: int
    file_bytes: int
    digest: bytes
    last_hash: bytes
    ended: int


class History(NamedTuple):
    """Where what can be read begins: facts below `below` were given up.

    `baseline` names the file that holds what they came to, `digest` covers it, `runs` counts the
    runs that lost history. The fields are those of the fact `SegmentsExpired`.
    """

    below: int
    baseline: str
    digest: bytes
    runs: int


class Ended(NamedTuple):
    """What is kept of a run whose every fact is archived.

    `state` is the type of the fact that ended it (`run.completed`...), `seq` its last fact's;
    `digest` folds its workflow stream (see `segments.fold`), `body_digest` is that of the
    request, `segment` is the first number of the segment that holds its end, `time_ns` the time
    of that segment's last frame (0 in rows that older versions wrote).
    """

    state: str
    seq: int
    digest: bytes
    body_digest: bytes
    segment: int
    time_ns: int = 0


_ENDED_COUNTS: Final = (len(Ended._fields) - 1, len(Ended._fields))


def floor_key(partition: int) -> bytes:
    """Key in `meta` of where a partition's tables begin once everything sealed is dropped."""
    return f"floor/{partition}".encode()


def segment_key(partition: int, first: int) -> bytes:
    """Key in `meta` of the segment that begins with the fact `first`."""
    return f"segment/{partition}/{first:020d}".encode()


def segment_prefix(partition: int) -> bytes:
    """Return how the keys in `meta` of a partition's segments begin."""
    return f"segment/{partition}/".encode()


def history_key(partition: int) -> bytes:
    """Key in `meta` of where what can be read begins."""
    return f"history/{partition}".encode()


def shelved_key(partition: int) -> bytes:
    """Key in `meta` of the number below which rows are read from segments."""
    return f"shelved/{partition}".encode()


def dropped_key(partition: int) -> bytes:
    """Key in `meta` of the number below which tables hold nothing."""
    return f"dropped/{partition}".encode()


def ended_key(partition: int, run_id: str) -> bytes:
    """Key in `ended` of a run."""
    return partition.to_bytes(2, "big") + run_id.encode()


def archive_rows(partition: int, kind: str, data: Sequence[Any]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the (key, value) rows of `meta` that a fact of type `kind` stands for."""
    if kind == SEALED:
        info = SegmentInfo(*data)
        floor = (info.last + 1).to_bytes(8, "big") + info.last_hash
        yield segment_key(partition, info.first), pack(info)
        yield floor_key(partition), floor
    elif kind == EXPIRED:
        yield history_key(partition), pack(History(*data))


def read_info(value: bytes) -> SegmentInfo:
    """Read a `segment` row; raises `LogDamaged`."""
    return SegmentInfo(*_fields(value, len(SegmentInfo._fields), "segment"))


def read_history(value: bytes | None) -> History | None:
    """Read a `history` row (None: nothing was given up); raises `LogDamaged`."""
    if value is None:
        return None
    return History(*_fields(value, len(History._fields), "history"))


def read_ended(value: bytes) -> Ended:
    """Read an `ended` row; raises `LogDamaged`."""
    fields = unpack(value)
    if not isinstance(fields, list) or len(fields) not in _ENDED_COUNTS:
        raise _misshapen("ended")
    return Ended(*fields)


def _fields(value: bytes, count: int, what: str) -> list[Any]:
    found = unpack(value)
    if not isinstance(found, list) or len(found) != count:
        raise _misshapen(what)
    return found


def _misshapen(what: str) -> LogDamaged:
    table = "ended" if what == "ended" else "meta"
    return LogDamaged(f"a row of the archive ({what}) has another shape", table=table)
