"""Eras: a partition that gave up history begins a new one, so that nothing old can go on in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_events.reading import era_key
from goclaw_events.tables import Row, u64

if TYPE_CHECKING:
    from goclaw_events.reading import RowSource


def era_start_key(partition: int, era: int) -> bytes:
    """Key in `meta` of the number of the first fact that an era may write."""
    return f"era/{partition}/{era}".encode()


def era_rows(partition: int, era: int, first: int) -> list[Row]:
    """Return the rows that begin `era`: what has a number of `first` or more is written in it.

    A cursor or checkpoint of an older era that lies at `first` or beyond reads of lost history.
    """
    return [
        Row("meta", era_key(partition), u64(era)),
        Row("meta", era_start_key(partition, era), u64(first)),
    ]


def era_start(source: RowSource, partition: int, era: int) -> int:
    """Return the number of the first fact that an era may write (1: it is the first era)."""
    stored = source.get("meta", era_start_key(partition, era))
    return 1 if stored is None else int.from_bytes(stored, "big")
