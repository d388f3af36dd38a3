"""Compare views with what the log makes of them: rebuilt must equal incremental."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from goclaw_projections.errors import ProjectionFailed
from goclaw_projections.runner import ProjectionRunner
from goclaw_projections.served import ServedRows
from goclaw_projections.store import MemoryViewStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from goclaw_events.journal import Journal
    from goclaw_projections.baseline import Baselines
    from goclaw_projections.projection import Projection
    from goclaw_projections.store import ViewStore


class Difference(NamedTuple):
    """A row that is not what the log makes of it; None: it is missing on that side."""

    view: str
    key: str
    stored: bytes | None
    rebuilt: bytes | None


def differences(
    journal: Journal,
    store: ViewStore,
    projections: Sequence[Projection],
    baselines: Baselines | None = None,
) -> Iterator[Difference]:
    """Yield the rows in which views differ from their rebuild; they must be caught up.

    The rebuild is made in memory. Raises `ProjectionFailed` if one cannot be made.
    """
    rebuilt = MemoryViewStore()
    runner = ProjectionRunner(journal, rebuilt, projections, baselines=baselines)
    runner.catch_up()
    for status in runner.status():
        if status.state == "failed":
            msg = f"view {status.name} cannot be rebuilt [{status.code}]: {status.message}"
            raise ProjectionFailed(msg, view=status.name)
    for projection in projections:
        expected = dict(ServedRows(rebuilt, projection.name).scan(""))
        for key, value in ServedRows(store, projection.name).scan(""):
            wanted = expected.pop(key, None)
            if value != wanted:
                yield Difference(projection.name, key, value, wanted)
        for key, missing in expected.items():
            yield Difference(projection.name, key, None, missing)
