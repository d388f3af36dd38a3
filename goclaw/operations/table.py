"""The one table of operations: whoever adds one adds its module here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw.errors import OperationUnknown
from goclaw.operations import (
    adjusting,
    collect,
    dead,
    deciding,
    definitions,
    house,
    lanes,
    named,
    output,
    paths,
    runs,
    sagas,
    schedules,
    signals,
    upkeep,
    views,
    why,
    work,
)
from goclaw_events.faults import Suggester

if TYPE_CHECKING:
    from goclaw.operations.operation import Operation

OPERATIONS: Final[dict[str, Operation]] = {
    operation.name: operation
    for module in (
        work,
        output,
        signals,
        named,
        deciding,
        adjusting,
        collect,
        paths,
        runs,
        sagas,
        dead,
        schedules,
        why,
        lanes,
        definitions,
        views,
        upkeep,
        house,
    )
    for operation in module.OPERATIONS
}


def operation_of(name: str) -> Operation:
    """Return an operation; raises `OperationUnknown`."""
    found = OPERATIONS.get(name)
    if found is None:
        hint = Suggester().hint(name, OPERATIONS) or "the engine may be older than this program"
        raise OperationUnknown(f"there is no operation {name[:60]!r}", hint=hint)
    return found
