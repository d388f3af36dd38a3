"""Give up old history: what is kept of it first, then a fact, and only then the files go.

Kept are, where history begins from then on, every actor that goes on, the rows of every view, and
of each run how it ended. Replay and views begin there.
"""

from __future__ import annotations

import shutil
import tempfile
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.baseline import SECTION
from goclaw_actors.expiring import actor_rows, safe_place
from goclaw_events.facts import SegmentsExpired
from goclaw_events.rocks.archiving import drop_expired
from goclaw_events.rocks.forgetting import forget_output_of
from goclaw_events.segments.expiry import runs_below, seal_baseline, segments_of
from goclaw_projections.baseline import LogBaselines, fold_views, section_of
from goclaw_projections.every import all_projections
from goclaw_projections.rocks_store import RocksViewStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from goclaw_actors.archiving import Archiver
    from goclaw_actors.decider import Decider
    from goclaw_events.rocks import RocksJournal
    from goclaw_events.segments.records import SegmentInfo

log = getLogger(__name__)
SCRATCH: Final = ".baseline-"
STEPS: Final = ("seal", "record", "drop")
"""Between these something may be killed; a test does."""


class ExpiryPlan(NamedTuple):
    """What would be given up of a partition: the facts below `below`, in `segments`.

    `runs` are those of which facts would go, by name.
    """

    partition: int
    below: int
    segments: Sequence[SegmentInfo]
    runs: Sequence[str]

    @property
    def facts(self) -> int:
        """Return how many facts would go."""
        return sum(info.facts for info in self.segments)

    @property
    def file_bytes(self) -> int:
        """Return how many bytes of files would go."""
        return sum(info.file_bytes for info in self.segments)


def _no_step(_: str) -> None:
    return


class Expirer:
    """Give up whole segments of a log. Every call blocks; not for the dispatchers' thread."""

    def __init__(
        self,
        journal: RocksJournal,
        archiver: Archiver,
        kinds: Mapping[str, Decider[Any]],
        step: Callable[[str], None] = _no_step,
    ) -> None:
        self._journal = journal
        self._archiver = archiver
        self._kinds = kinds
        self.step = step

    def plan(self, partition: int, before: int) -> ExpiryPlan | None:
        """Return what can be given up of the facts below `before`; None: nothing can.

        Whole segments only, up to the first with facts of a run that has not ended, or of which
        something is still at work, or that is not archived to its end.
        """
        journal = self._journal
        below = safe_place(journal, self._kinds, partition, before)
        if below <= journal.history(partition):
            return None
        segments = [info for info in segments_of(journal, partition) if info.last < below]
        return ExpiryPlan(partition, below, segments, sorted(runs_below(journal, partition, below)))

    def expire(self, plan: ExpiryPlan) -> None:
        """Give up what a plan says; it is gone for good when this returns.

        Raises `LogUnfinished` if a run of the plan began again meanwhile, and what reading and
        writing the log raises.
        """
        with self._archiver.busy:
            drop_expired(self._journal, plan.partition)
            self._expire(plan)

    def _expire(self, plan: ExpiryPlan) -> None:
        partition, below = plan.partition, plan.below
        self.step("seal")
        _clear(self._journal.path)
        scratch = Path(tempfile.mkdtemp(dir=self._journal.path, prefix=SCRATCH))
        try:
            store = RocksViewStore(scratch / "views")
            try:
                views = fold_views(
                    self._journal, partition, below, LogBaselines(self._journal), store,
                    all_projections,
                )  # fmt: skip
                actors = actor_rows(self._journal, self._kinds, partition, below)
                sections = {SECTION: actors, **{section_of(rows): rows.rows for rows in views}}
                sealed = seal_baseline(self._journal, partition, below, sections)
            finally:
                store.close()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self.step("record")
        fact = SegmentsExpired(below, sealed.name, sealed.digest, sealed.runs)
        self._archiver.record(partition, fact)
        self.step("drop")
        drop_expired(self._journal, partition)
        # nobody can ask for it any more
        forget_output_of(self._journal, partition, plan.runs, self._archiver.check)
        extra = {"action": "segments_expired", "facts": plan.facts, "runs": sealed.runs}
        log.info("gave up %d:1 to %d", partition, below - 1, extra=extra)


def _clear(path: Path) -> None:
    """Remove what a process that was killed left behind."""
    for left in path.glob(f"{SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)
