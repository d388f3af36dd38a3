"""The view `runs`: one row a run, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events import facts
from goclaw_events.envelope import Position
from goclaw_events.facts.versions import RUN_VERSIONED
from goclaw_events.value import unpack
from goclaw_projections.served import ServedRows
from goclaw_projections.states import RUN_ENDED, run_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from goclaw_events.value import BlobRef, Value
    from goclaw_projections.projection import ReadFrame, ReadTurn
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import ViewStore

LIST_LIMIT: Final = 50
COUNTED: Final = ("completed", "failed", "cancelled", "skipped")


class RunError(NamedTuple):
    """Why a run ended badly; `task` is the first that failed ('': it was none)."""

    code: str
    message: str
    task: str


class RunView(NamedTuple):
    """What is known of a run.

    `status`: running, failing (a task failed, the rest is being ended), cancelling, completed,
    failed or cancelled. `definition` is the plan's blob; `result` keeps its `BlobRef`s;
    `counts` has the tasks that ended by `COUNTED`; `position` is that of the run's last fact;
    `parent` the stream of the task whose child the run is ('': it is nobody's). `stuck`: why
    nothing will wake it, as in `RunStuck` ((): something will). `version`: how often it was decided
    about (`RUN_VERSIONED`).
    """

    run_id: str
    name: str
    status: str
    labels: Mapping[str, str]
    submitted_at_ns: int
    ended_at_ns: int | None
    definition: BlobRef
    counts: Mapping[str, int]
    error: RunError | None
    result: Value
    position: Position
    parent: str = ""
    stuck: Sequence[tuple[str, str]] = ()
    version: int = 0

    @property
    def has_ended(self) -> bool:
        """Tell whether the run is over."""
        return self.status in RUN_ENDED


class PathVersion(NamedTuple):
    """A version of the path of a run: who made it, when and why, and what was asked for."""

    version: int
    at_ns: int
    change: str
    definition: BlobRef
    sender: str
    reason: str
    said: Value


class RunPage(NamedTuple):
    """A part of a listing; `cursor` continues it (None: this was the end)."""

    runs: list[RunView]
    cursor: str | None


# A row, in place changed: the fields of RunView but the id, with lists for what has parts.
(
    _NAME, _STATUS, _LABELS, _SUBMITTED, _ENDED, _DEFINITION, _COUNTS, _ERROR, _RESULT,
    _POSITION, _PARENT, _STUCK, _VERSION,
) = range(13)  # fmt: skip


class RunsProjection:
    """Fold the facts of workflow streams into `run/<run id>` and the index `at/<time>/<run id>`.

    A change of a run's path is a row `path/<run id>/<version>`.
    """

    name = "runs"
    version = 4

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Change the rows by one frame."""
        for turn in frame.others:
            if turn.kind == "workflow":
                self._apply_turn(frame, turn, rows)
            else:
                self._apply_poisoned(frame, turn, rows)

    def reads(self, frame: ReadFrame, rows: Rows) -> Iterator[str]:  # noqa: ARG002 - all are named
        """Yield the runs that began before."""
        for turn in frame.others:
            if turn.kind == "workflow" and turn.seq > 1:
                yield "run/" + turn.run_id

    def _apply_turn(self, frame: ReadFrame, turn: ReadTurn, rows: Rows) -> None:
        key = "run/" + turn.run_id
        row = rows.get(key) if turn.seq > 1 else None
        for fact in turn.facts:
            if row is not None:
                _evolve(row, fact, frame.time_ns)
                if isinstance(fact, facts.PathChanged):
                    told = [frame.time_ns, fact.change, fact.definition, fact.sender,
                            fact.reason, fact.said]  # fmt: skip
                    rows.add(f"path/{turn.run_id}/{fact.version:04x}", told)
            elif isinstance(fact, facts.RunSubmitted):
                row = _submitted(fact, frame.time_ns)
                rows.add(f"at/{frame.time_ns:016x}/{turn.run_id}", None)
        if row is not None:
            row[_POSITION] = [frame.partition, turn.number + len(turn.facts) - 1]
            rows.put(key, row, final=row[_STATUS] in RUN_ENDED)

    def _apply_poisoned(self, frame: ReadFrame, turn: ReadTurn, rows: Rows) -> None:
        for offset, fact in enumerate(turn.facts):
            if isinstance(fact, facts.StreamPoisoned) and fact.stream.startswith("workflow/"):
                key = "run/" + fact.stream.partition("/")[2]
                row = rows.get(key)
                if row is not None and row[_STATUS] not in RUN_ENDED:
                    _end(row, "failed", frame.time_ns)
                    row[_ERROR] = [fact.code, fact.message, ""]
                    row[_POSITION] = [frame.partition, turn.number + offset]
                    rows.put(key, row)


def _submitted(fact: facts.RunSubmitted, time_ns: int) -> list[Any]:
    counts = [0] * len(COUNTED)
    labels = fact.labels
    return [
        fact.name, "running", labels, time_ns, None, fact.definition, counts, None, None, None,
        fact.parent, [], 1,
    ]  # fmt: skip


def _evolve(row: list[Any], fact: facts.WorkflowFact, time_ns: int) -> None:
    match fact:
        case facts.TaskEnded():
            row[_COUNTS][COUNTED.index(fact.status)] += 1
        case facts.TasksSkipped():
            row[_COUNTS][COUNTED.index("skipped")] += len(fact.tasks)
        case facts.PathChanged():
            row[_DEFINITION] = fact.definition
            row[_COUNTS][COUNTED.index("skipped")] += len(fact.skipped)
            for ended, count in fact.undone.items():
                row[_COUNTS][COUNTED.index(ended)] -= count
        case facts.RunStuck():
            row[_STUCK] = fact.evidence
        case facts.RunUnstuck():
            row[_STUCK] = []
        case facts.RunCompleted():
            row[_RESULT] = fact.result
        case facts.RunFailed():
            row[_ERROR] = list(fact)
    if type(fact) in RUN_VERSIONED:
        row[_VERSION] += 1
    status = run_after(row[_STATUS], fact)
    if status in RUN_ENDED:
        _end(row, status, time_ns)
    elif status is not None:
        row[_STATUS] = status


def _end(row: list[Any], status: str, time_ns: int) -> None:
    row[_STATUS] = status
    row[_ENDED] = time_ns
    row[_STUCK] = []


class RunsReader:
    """Answer questions about runs. Any thread; sees what the runner has written."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "runs")

    def get(self, run_id: str) -> RunView | None:
        """Return a run, or None."""
        data = self._rows.get("run/" + run_id)
        return None if data is None else _view(run_id, data)

    def path_of(self, run_id: str) -> list[PathVersion]:
        """Return how the path of a run was changed, from version 2 on."""
        prefix = f"path/{run_id}/"
        return [
            PathVersion(int(key[len(prefix) :], 16), *unpack(data))
            for key, data in self._rows.scan(prefix)
        ]

    def starting_with(self, prefix: str, limit: int = 10) -> list[str]:
        """Return the ids, in order, that begin with `prefix`; at most `limit`."""
        found: list[str] = []
        for key, _ in self._rows.scan("run/" + prefix):
            if len(found) == limit:
                break
            found.append(key[len("run/") :])
        return found

    def newest(self) -> RunView | None:
        """Return the run that was submitted last, or None; one that a run began is not it."""
        page = self._page(lambda run: not run.parent, 1, None)
        return page.runs[0] if page.runs else None

    def list(
        self,
        *,
        status: str | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int = LIST_LIMIT,
        cursor: str | None = None,
    ) -> RunPage:
        """Return runs, newest first: those with the status, name and all the labels given."""

        def wanted(run: RunView) -> bool:
            return (
                (status is None or run.status == status)
                and (name is None or run.name == name)
                and all(run.labels.get(key) == value for key, value in (labels or {}).items())
            )

        return self._page(wanted, limit, cursor)

    def _page(self, wanted: Callable[[RunView], bool], limit: int, cursor: str | None) -> RunPage:
        found: list[RunView] = []
        last = cursor
        for place in self._newest_first(cursor):
            if len(found) == limit:
                return RunPage(found, last)
            begun, _, run_id = place.partition("/")
            run = self.get(run_id)
            # an id that was forgotten may begin again: then its older place is nobody's
            if run is not None and run.submitted_at_ns == int(begun, 16) and wanted(run):
                found.append(run)
            last = place
        return RunPage(found, None)

    def _newest_first(self, cursor: str | None) -> Iterator[str]:
        after = None if cursor is None else "at/" + cursor
        for key, _ in self._rows.scan("at/", after=after, backwards=True):
            yield key[len("at/") :]


def _view(run_id: str, data: bytes) -> RunView:
    (
        name, status, labels, submitted, ended, definition, counts, error, result, place, parent,
        stuck, version,
    ) = unpack(data)  # fmt: skip
    return RunView(
        run_id,
        name,
        status,
        labels,
        submitted,
        ended,
        definition,
        dict(zip(COUNTED, counts, strict=True)),
        None if error is None else RunError(*error),
        result,
        Position(*place),
        parent,
        tuple((stream, evidence) for stream, evidence in stuck),
        version,
    )
