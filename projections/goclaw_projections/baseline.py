"""What views are at the place where a log's history begins: their rows there, kept with the log.

Facts below that place are gone, so a view that is built again begins with these rows. They are
made before the facts go, by folding them once more, apart from the views that are in use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from goclaw_projections.errors import ProjectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from goclaw_events.journal import Head, Journal
    from goclaw_projections.projection import Projection
    from goclaw_projections.store import ViewStore

    Row = tuple[bytes, bytes]

SECTION: Final = "view/"
"""How the names of sections with rows of views begin; the view's name and version follow, and of
rows that lack older facts the number below which."""


class ViewRows(NamedTuple):
    """The rows that one view has of one partition, in the form of `version`; keys are whole.

    `lacks`: the number below which facts are not in them (0: all are).
    """

    name: str
    version: int
    rows: Iterator[Row]
    lacks: int = 0


class Baselines(Protocol):
    """Where the history of each partition begins, and what views are there."""

    def begin(self, partition: int) -> int:
        """Return the number of the first fact that can be read (1: all can)."""
        ...

    def view(self, partition: int, name: str) -> ViewRows | None:
        """Return the rows of a view below `begin`; None where the baseline has none of it."""
        ...


class LogBaselines:
    """The baselines that a log keeps; one that never gave anything up has none."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def begin(self, partition: int) -> int:
        """Return the number of the first fact that can be read."""
        return self._journal.history(partition)

    def view(self, partition: int, name: str) -> ViewRows | None:
        """Return the rows of a view below `begin`; raises `LogDamaged`."""
        baseline = self._journal.baseline(partition)
        if baseline is None:
            return None
        before = f"{SECTION}{name}/"
        for section in baseline.sections:
            if section.startswith(before):
                version, _, lacks = section.removeprefix(before).partition("/")
                return ViewRows(name, int(version), baseline.rows(section), int(lacks or 0))
        return None


def section_of(rows: ViewRows) -> str:
    """Return the section of a baseline in which a view's rows are kept."""
    lacks = f"/{rows.lacks}" if rows.lacks else ""
    return f"{SECTION}{rows.name}/{rows.version}{lacks}"


class _Prefix:
    """A journal of which only one partition is seen, up to a number."""

    def __init__(self, journal: Journal, partition: int, below: int) -> None:
        self._journal = journal
        self._partition = partition
        self._last = below - 1
        self.partitions = journal.partitions
        self.log_id = journal.log_id

    def durable(self, partition: int) -> int:
        """Return where the partition seems to end."""
        return self._last if partition == self._partition else 0

    def head(self, partition: int) -> Head:
        """Return the end of the whole partition."""
        return self._journal.head(partition)

    def frames(self, partition: int, start: int = 1, stop: int | None = None) -> Iterator[bytes]:
        """Yield frames up to where the partition seems to end."""
        last = self.durable(partition)
        return self._journal.frames(partition, start, last if stop is None else min(stop, last))


class _One:
    """The baselines of one partition; the others seem to begin with nothing."""

    def __init__(self, baselines: Baselines, partition: int) -> None:
        self._baselines = baselines
        self._partition = partition

    def begin(self, partition: int) -> int:
        """Return where the partition begins."""
        return self._baselines.begin(partition) if partition == self._partition else 1

    def view(self, partition: int, name: str) -> ViewRows | None:
        """Return a view's rows of the partition."""
        return self._baselines.view(partition, name)


def fold_views(
    journal: Journal,
    partition: int,
    below: int,
    baselines: Baselines,
    store: ViewStore,
    make: Callable[[], Sequence[Projection]],
) -> list[ViewRows]:
    """Fold everything of a partition below a number into `store`, which is empty; return its rows.

    Begins with the baseline that the partition has. `below` is where a frame begins. Raises
    `ProjectionFailed` where a view cannot be folded, and what reading the log raises.
    """
    from goclaw_projections.runner import ProjectionRunner

    prefix = cast("Journal", _Prefix(journal, partition, below))
    projections = make()
    runner = ProjectionRunner(prefix, store, projections, baselines=_One(baselines, partition))
    runner.catch_up()
    found = runner.status()
    for status in found:
        if status.state == "failed":
            msg = f"view {status.name} cannot be folded [{status.code}]: {status.message}"
            raise ProjectionFailed(msg, view=status.name)
    return [
        ViewRows(
            each.name, each.version, store.scan(each.name.encode() + b"/"), each.lacks[partition]
        )
        for each in found
    ]
