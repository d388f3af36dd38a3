"""What is kept of a run, or a saga, that ended: its last fact's type, a digest of its stream."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from goclaw_events.codec import FACTS
from goclaw_events.facts import (
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunSubmitted,
    SagaCompensated,
    SagaCompleted,
    SagaResolved,
    SagaSubmitted,
)
from goclaw_events.ids import OF_RUNS, OWNERS, PARTITION_STREAM, kind_of, owner_stream, routing_key
from goclaw_events.poisoned import POISONED, poisoned
from goclaw_events.replay import stream_turns
from goclaw_events.segments.records import Ended
from goclaw_events.value import packer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from goclaw_events.journal import Journal

_ENDS: Final = (
    RunCompleted, RunFailed, RunCancelled, SagaCompleted, SagaCompensated, SagaResolved,
)  # fmt: skip
FINAL: Final = frozenset(FACTS.names[kind].name for kind in _ENDS)
"""The facts that end a run, or a saga."""
_SUBMITTED: Final = frozenset(FACTS.names[kind].name for kind in (RunSubmitted, SagaSubmitted))
_DIGEST_PLACE: Final = RunSubmitted._fields.index("digest")
_DIGEST_BYTES: Final = 16


def run_of(stream: str) -> str | None:
    """Return the run, or the key of the saga, that a stream is of (None: it is of neither)."""
    return routing_key(stream) if kind_of(stream) in OF_RUNS else None


class RunFold:
    """Fold the workflow stream of one run, fact after fact."""

    __slots__ = ("body_digest", "digest", "first", "seq", "state")

    def __init__(self) -> None:
        self.first = 0
        self.seq = 0
        self.state = ""
        self.body_digest = b""
        self.digest = bytes(_DIGEST_BYTES)

    def add(self, fact: Sequence[Any], packed: bytes) -> None:
        """Take the next fact in: [stream, seq, type, version, data], and its bytes.

        The digest is BLAKE2b-128 of the digest before and the fact's msgpack.
        """
        _, seq, kind, _, data = fact
        self.first = self.first or seq
        self.seq = seq
        if kind in FINAL:
            self.state = kind
        elif kind in _SUBMITTED:
            self.body_digest = bytes(data[_DIGEST_PLACE])
        self.digest = blake2b(self.digest + packed, digest_size=_DIGEST_BYTES).digest()


class RunFolds:
    """Fold the workflow streams of some runs while a log goes by.

    Added to them are runs that a bug ended meanwhile, if `is_over` says that nothing of them
    goes on or is still to come.
    """

    def __init__(self, runs: Iterable[str], is_over: Callable[[str], bool]) -> None:
        self._pack = packer()
        self._folds = {run: RunFold() for run in runs}
        self._is_over = is_over

    def add(self, turns: Iterable[Sequence[Any]]) -> None:
        """Take in the turns of the next frame, as `read_turns` gives them."""
        for _, *facts in turns:
            stream = facts[0][0] if facts else ""
            if kind_of(stream) in OWNERS:
                fold = self._folds.get(routing_key(stream))
                if fold is not None:
                    for fact in facts:
                        fold.add(fact, self._pack(fact))
            elif stream == PARTITION_STREAM:
                for run in _poisoned_by(facts):
                    if run not in self._folds and self._is_over(run):
                        self._folds[run] = RunFold()

    def ended(
        self, journal: Journal, partition: int, segment: int, time_ns: int
    ) -> Iterator[tuple[str, Ended]]:
        """Yield (run id, what is kept) of the runs that ended, in order of id.

        `segment` and `time_ns` say where and until when; see `Ended`.

        A run that began before what went by is read from its beginning. Raises what reading does.
        """
        for run in sorted(self._folds, key=str.encode):
            fold = self._folds[run]
            if fold.first != 1:
                fold = self._read(journal, partition, run)
            if fold.seq and not fold.state and poisoned(journal, partition, owner_stream(run)):
                fold.state = POISONED  # it has no word of its own for it
            if fold.state:
                digests = fold.digest, fold.body_digest
                yield run, Ended(fold.state, fold.seq, *digests, segment, time_ns)

    def _read(self, journal: Journal, partition: int, run: str) -> RunFold:
        fold = RunFold()
        for turn in stream_turns(journal, owner_stream(run), partition=partition):
            for fact in turn.facts:
                fold.add(fact, self._pack(fact))
        return fold


def _poisoned_by(facts: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield the runs that facts of `$partition` give up."""
    for _, _, kind, _, data in facts:
        if kind == POISONED and kind_of(data[0]) in OWNERS:
            yield routing_key(data[0])
