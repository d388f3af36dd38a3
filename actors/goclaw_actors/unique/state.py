"""Who has which key, who joined, and who has it next. Every change costs O(log n) of the keys."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final, NamedTuple, assert_never

from goclaw_actors.chunked import Chunked
from goclaw_actors.decider import SnapshotForm
from goclaw_events.facts import KeyClaimed, KeyFreed, KeyJoined, KeyWanted, UniqueFact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_actors.decider import MapChunks
    from goclaw_events.value import Value

CHUNK_BITS: Final = 6
"""A result has up to 64 KiB."""
FORGET_MAX: Final = 4
"""A fact adds one key at most, so that what is over does not pile up."""
HOLDS: Final = "holds"
JOINED: Final = "joined"
NEXT: Final = "next"
COMPLETED: Final = "completed"


class Row(NamedTuple):
    """What one task is to a key; `done`: it completed, with `result`, and its window goes on."""

    key: str
    task: str
    role: str
    until_ns: int
    done: bool = False
    result: Value = None


class Claims:
    """The tasks of one key: orders of their rows."""

    __slots__ = ("holder", "joined", "next")

    def __init__(self) -> None:
        self.holder: int | None = None
        self.joined: dict[str, int] = {}
        self.next: int | None = None


class Unique:
    """`rows` by order hold all, `count` is how many there are.

    `claims` follow by key, `windows` is a heap of (end, order).
    """

    __slots__ = ("claims", "count", "following", "rows", "stream", "windows")

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.rows: Chunked[Row] = Chunked(CHUNK_BITS)
        self.claims: dict[str, Claims] = {}
        self.windows: list[tuple[int, int]] = []
        self.following = 0
        self.count = 0

    def holder(self, key: str) -> Row | None:
        """Return who has a key."""
        claims = self.claims.get(key)
        return None if claims is None else self.row(claims.holder)

    def row(self, order: int | None) -> Row | None:
        """Return a row; None where there is none."""
        return None if order is None else self.rows.get(order)

    def joined(self, key: str) -> list[str]:
        """Return who joined, in the order in which they came."""
        claims = self.claims.get(key)
        return [] if claims is None else list(claims.joined)

    def next(self, key: str) -> Row | None:
        """Return who has the key next."""
        claims = self.claims.get(key)
        return None if claims is None else self.row(claims.next)

    def waiting(self) -> Iterator[str]:
        """Yield every task that has a key and goes on, or waits for one."""
        for claims in self.claims.values():
            for order in (claims.holder, *claims.joined.values(), claims.next):
                row = self.row(order)
                if row is not None and not row.done:
                    yield row.task


def evolve(unique: Unique, fact: UniqueFact) -> Unique:
    """Apply a fact in place."""
    key = fact.key
    claims = unique.claims.get(key)
    if claims is None:
        claims = unique.claims[key] = Claims()
    match fact:
        case KeyClaimed(_, task, until_ns):
            _remove(unique, claims.holder)
            _leave(unique, claims, task)
            claims.holder = _add(unique, Row(key, task, HOLDS, until_ns))
        case KeyJoined(_, task):
            claims.joined[task] = _add(unique, Row(key, task, JOINED, 0))
        case KeyWanted(_, task, until_ns):
            _remove(unique, claims.next)
            claims.next = _add(unique, Row(key, task, NEXT, until_ns))
        case KeyFreed():
            _free(unique, claims, fact)
        case _:
            assert_never(fact)
    _drop_idle(unique, key)
    _forget(unique, fact.now_ns)
    return unique


def _free(unique: Unique, claims: Claims, fact: KeyFreed) -> None:
    holder = unique.row(claims.holder)
    if holder is None or holder.task != fact.task:
        _leave(unique, claims, fact.task)
        return
    if fact.status != "cancelled":
        for order in claims.joined.values():
            _remove(unique, order)
        claims.joined.clear()
    stays = fact.status == COMPLETED and holder.until_ns > fact.now_ns
    if stays and claims.holder is not None:
        unique.rows.put(claims.holder, holder._replace(done=True, result=fact.result))
        heappush(unique.windows, (holder.until_ns, claims.holder))
    else:
        _remove(unique, claims.holder)
        claims.holder = None


def _leave(unique: Unique, claims: Claims, task: str) -> None:
    """Let a task wait for the key no more."""
    _remove(unique, claims.joined.pop(task, None))
    waiting = unique.row(claims.next)
    if waiting is not None and waiting.task == task:
        _remove(unique, claims.next)
        claims.next = None


def _add(unique: Unique, row: Row) -> int:
    order = unique.following
    unique.following += 1
    unique.rows.put(order, row)
    unique.count += 1
    return order


def _remove(unique: Unique, order: int | None) -> None:
    if order is not None:
        unique.rows.remove(order)
        unique.count -= 1


def _drop_idle(unique: Unique, key: str) -> None:
    claims = unique.claims[key]
    if claims.holder is None and claims.next is None and not claims.joined:
        del unique.claims[key]


def _forget(unique: Unique, now_ns: int) -> None:
    """Forget keys whose window is over, a few at a time."""
    windows = unique.windows
    for _ in range(FORGET_MAX):
        if not windows or windows[0][0] > now_ns:
            return
        _, order = heappop(windows)
        row = unique.rows.get(order)
        if row is None:
            continue  # another task has the key meanwhile
        _remove(unique, order)
        unique.claims[row.key].holder = None
        _drop_idle(unique, row.key)


def encode(unique: Unique) -> dict[str, Any]:
    """Return the keys as plain data: equal ones give equal data."""
    rows = sorted(unique.rows.items())
    return {"rows": [[order, *row] for order, row in rows], "following": unique.following}


def _root(unique: Unique) -> Value:
    return unique.following


def _maps(unique: Unique) -> tuple[Chunked[Row]]:
    return (unique.rows,)


def _restore(stream: str, root: Any, maps: MapChunks) -> Unique:
    unique, chunks = Unique(stream), maps.get(0, {})
    unique.following = root
    for chunk in chunks.values():
        for order, data in chunk.items():
            chunk[order] = Row(*data)
    unique.rows = Chunked(CHUNK_BITS, chunks)
    for order, row in sorted(unique.rows.items()):
        unique.count += 1
        claims = unique.claims.setdefault(row.key, Claims())
        if row.role == HOLDS:
            claims.holder = order
            if row.done:
                unique.windows.append((row.until_ns, order))
        elif row.role == JOINED:
            claims.joined[row.task] = order
        else:
            claims.next = order
    heapify(unique.windows)
    return unique


FORM: Final = SnapshotForm(1, _root, _maps, _restore)
"""How keys are kept: a row a task."""
