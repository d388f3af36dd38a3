"""Compare what a log holds with what its watermark says was acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_events.chain import HINT_DAMAGED
from goclaw_events.errors import CodedError, LogBehindWatermark, LogDamaged
from goclaw_events.reading import check_frame_at
from goclaw_events.watermark import read_watermark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from goclaw_events.journal import Head
    from goclaw_events.reading import RowSource
    from goclaw_events.watermark import Mark


def watermark_faults(
    source: RowSource, path: Path, log_id: bytes, heads: Sequence[Head]
) -> Iterator[CodedError]:
    """Yield what the watermark at `path` says was acknowledged and a log does not hold."""
    try:
        marks = read_watermark(path, log_id, len(heads))
    except CodedError as error:
        yield error
        return
    if marks is None:
        if any(head.number for head in heads):
            hint = "without it lost facts cannot be noticed; restore it, or see `goclaw fsck`"
            yield LogDamaged(f"{path} is missing", hint=hint)
        return
    for partition, mark in enumerate(marks):
        fault = _compare(source, partition, mark, heads[partition])
        if fault is not None:
            yield fault


def _compare(source: RowSource, partition: int, mark: Mark, head: Head) -> CodedError | None:
    if head.number < mark.number:
        lost = mark.number - head.number
        msg = (
            f"partition {partition} ends at {head.number}, but {mark.number} was acknowledged:"
            f" {lost} facts are missing"
        )
        hint = "restore a copy, or see with `goclaw fsck` what going on without them means"
        return LogBehindWatermark(msg, hint=hint, partition=partition, number=head.number + 1)
    if mark.number == 0:
        return None
    try:
        found = check_frame_at(source, partition, mark.number)
    except LogDamaged as error:
        return error
    if found != mark.hash:
        msg = f"what stands at {partition}:{mark.number} is not what was acknowledged"
        return LogDamaged(msg, hint=HINT_DAMAGED, partition=partition, number=mark.number)
    return None
