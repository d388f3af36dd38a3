"""Sagas that nobody works on, and those that wait for a person: what the doctor says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.problems import problem
from goclaw.unfinished import unfinished_sagas
from goclaw_actors.saga.turn import PERSON
from goclaw_events.ids import plain_id
from goclaw_events.tables import u16
from goclaw_events.value import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from goclaw.problems import Finding
    from goclaw_events.journal import Journal

NEED_A_PERSON: Final = ("compensation_failed", "awaiting_compensation")
_SHOWN_MAX: Final = 5
_PREFIX: Final = "saga/"


def sagas_in_log(journal: Journal, data_dir: Path) -> Iterator[Finding]:
    """Yield what is to be said of a log that no engine works on."""
    waiting: list[str] = []
    going: list[str] = []
    for saga_id, kind in _open(journal):
        (waiting if kind == PERSON else going).append(saga_id)
    if going:
        says = f"{len(going)} sagas have not ended: {_shown(going)}"
        yield problem("sagas_unfinished", "sagas", says, path=data_dir)
        stuck = [saga.run_id for saga in unfinished_sagas(journal) if saga.stuck]
        yield from sagas_stuck(stuck)
    yield from sagas_for_people(waiting)


def sagas_stuck(stuck: Sequence[str]) -> Iterator[Finding]:
    """Yield that nothing will wake some sagas, if that is so."""
    if stuck:
        yield problem("saga_stuck", "sagas", _shown(stuck), saga=stuck[0])


def sagas_for_people(waiting: Sequence[str]) -> Iterator[Finding]:
    """Yield that sagas wait for a person, if any do."""
    if waiting:
        yield problem("sagas_wait", "sagas", _shown(waiting), saga=waiting[0])


def _open(journal: Journal) -> Iterator[tuple[str, str]]:
    for partition in range(journal.partitions):
        for key, value in journal.rows("open", u16(partition)):
            stream = key[4:].decode()
            if stream.startswith(_PREFIX):
                row: list[Any] = unpack(value)
                yield plain_id(stream[len(_PREFIX) :]), row[0]


def _shown(sagas: Sequence[str]) -> str:
    more = f" and {len(sagas) - _SHOWN_MAX} more" if len(sagas) > _SHOWN_MAX else ""
    return ", ".join(sagas[:_SHOWN_MAX]) + more
