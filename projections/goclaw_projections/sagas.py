"""The view `sagas`: one row a saga, newest first; its dead letters are those in `alarmed`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events import facts
from goclaw_events.envelope import Position
from goclaw_events.facts.versions import SAGA_VERSIONED
from goclaw_events.ids import plain_id, saga_key
from goclaw_events.value import unpack
from goclaw_projections.served import ServedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from goclaw_events.value import BlobRef, Value
    from goclaw_projections.projection import ReadFrame, ReadTurn
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import ViewStore

LIST_LIMIT: Final = 50
SAGA_STATES: Final = (
    "created", "running", "completed", "compensating", "awaiting_compensation", "compensated",
    "compensation_failed", "resolved",
)  # fmt: skip
FINAL: Final = frozenset({"completed", "compensated", "resolved"})
UNDO: Final = ".compensation"
"""Behind the id of a step it makes that of the task which compensates it."""


class SagaView(NamedTuple):
    """What is known of a saga.

    `cause` (failed, timeout, cancelled) and `error` (code, message, step) say why it goes back,
    '' and None: it does not. `in_doubt`: steps that did not complete and may have taken effect;
    `unwound`: those that are undone, had nothing to undo, or are not to be undone. `awaited`:
    steps that a person has to let be undone. `alarm`: [step, code, message] of compensations that
    failed: a dead letter while it is not empty; `left`: steps that are not undone because of them.
    `resolved`: [reason, by]. `version`: how often it was decided about (`SAGA_VERSIONED`).
    `stuck`: as in `RunStuck`. `retried`: [times, reason, by, time]: how often somebody had failed
    compensations tried again, and of the last time who, when and why.
    """

    saga_id: str
    name: str
    status: str
    labels: Mapping[str, str]
    submitted_at_ns: int
    started_at_ns: int | None
    ended_at_ns: int | None
    definition: BlobRef
    parent: str
    cause: str
    error: tuple[str, str, str] | None
    result: Value
    position: Position
    in_doubt: Sequence[str]
    unwound: Sequence[str]
    awaited: Sequence[str]
    alarm: Sequence[Sequence[str]]
    left: Sequence[str]
    resolved: Sequence[str] | None
    version: int
    stuck: Sequence[Sequence[str]] = ()
    retried: tuple[int, str, str, int] | None = None


class SagaPage(NamedTuple):
    """A part of a listing; `cursor` continues it (None: this was the end)."""

    sagas: list[SagaView]
    cursor: str | None


# A row, in place changed: the fields of SagaView but the id.
(
    _NAME, _STATUS, _LABELS, _SUBMITTED, _STARTED, _ENDED, _DEFINITION, _PARENT, _CAUSE, _ERROR,
    _RESULT, _POSITION, _IN_DOUBT, _UNWOUND, _AWAITED, _ALARM, _LEFT, _RESOLVED,
    _VERSION, _STUCK, _RETRIED,
) = range(21)  # fmt: skip


class SagasProjection:
    """Fold the facts of saga streams into `saga/<key>` and the index `at/<time>/<key>`."""

    name = "sagas"
    version = 4

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Change the rows by one frame."""
        for turn in frame.others:
            if turn.kind == "saga":
                _apply_turn(frame, turn, rows)
            elif turn.kind != "workflow":
                _apply_poisoned(frame, turn, rows)


def _apply_turn(frame: ReadFrame, turn: ReadTurn, rows: Rows) -> None:
    key = "saga/" + turn.run_id
    row = rows.get(key) if turn.seq > 1 else None
    for fact in turn.facts:
        if row is not None:
            _evolve(row, fact, frame.time_ns)
        elif isinstance(fact, facts.SagaSubmitted):
            row = _submitted(fact, frame.time_ns)
            rows.add(f"at/{frame.time_ns:016x}/{turn.run_id}", None)
    if row is not None:
        row[_POSITION] = [frame.partition, turn.number + len(turn.facts) - 1]
        rows.put(key, row, final=row[_STATUS] in FINAL)


def _apply_poisoned(frame: ReadFrame, turn: ReadTurn, rows: Rows) -> None:
    for offset, fact in enumerate(turn.facts):
        if isinstance(fact, facts.StreamPoisoned) and fact.stream.startswith("saga/"):
            key = "saga/" + fact.stream.partition("/")[2]
            row = rows.get(key)
            if row is not None and row[_STATUS] not in FINAL:
                _end(row, "compensation_failed", frame.time_ns)
                row[_ALARM] = [["", fact.code, fact.message]]
                row[_POSITION] = [frame.partition, turn.number + offset]
                rows.put(key, row)


def _submitted(fact: facts.SagaSubmitted, time_ns: int) -> list[Any]:
    return [
        fact.name, "created", fact.labels, time_ns, None, None, fact.definition, fact.parent, "",
        None, None, None, [], [], [], [], [], None, 1, [], None,
    ]  # fmt: skip


def _evolve(row: list[Any], fact: facts.SagaFact, time_ns: int) -> None:  # noqa: C901, PLR0912 - a case a fact
    if type(fact) in SAGA_VERSIONED:
        row[_VERSION] += 1
    match fact:
        case facts.SagaStarted():
            row[_STATUS], row[_STARTED] = "running", time_ns
        case facts.StepEnded():
            _step_ended(row, fact)
        case facts.CompensationBegun():
            row[_STATUS], row[_CAUSE] = "compensating", fact.cause
            row[_ERROR] = [fact.code, fact.message, fact.step]
        case facts.StepsUnwound():
            row[_UNWOUND] = row[_UNWOUND] + fact.passed
        case facts.CompensationAwaited(steps):
            row[_STATUS], row[_AWAITED] = "awaiting_compensation", steps
        case facts.CompensationApproved() | facts.CompensationRetried():
            row[_STATUS], row[_AWAITED] = "compensating", []
            row[_ALARM], row[_LEFT], row[_ENDED] = [], [], None
            if isinstance(fact, facts.CompensationRetried):
                times = 1 if row[_RETRIED] is None else row[_RETRIED][0] + 1
                row[_RETRIED] = [times, fact.reason, fact.by, time_ns]
        case facts.SagaAlarmed(steps, left):
            _end(row, "compensation_failed", time_ns)
            row[_ALARM], row[_LEFT] = steps, left
        case facts.SagaCompleted(result):
            _end(row, "completed", time_ns)
            row[_RESULT] = result
        case facts.SagaCompensated():
            _end(row, "compensated", time_ns)
        case facts.SagaResolved():
            _end(row, "resolved", time_ns)
            row[_RESOLVED], row[_AWAITED], row[_ALARM] = list(fact), [], []
        case facts.RunStuck(evidence):
            row[_STUCK] = evidence
        case facts.RunUnstuck():
            row[_STUCK] = []


def _step_ended(row: list[Any], fact: facts.StepEnded) -> None:
    if fact.in_doubt:
        row[_IN_DOUBT] = [*row[_IN_DOUBT], fact.task]
    step = fact.task.removesuffix(UNDO)
    if step != fact.task and fact.status == "completed":
        row[_UNWOUND] = [*row[_UNWOUND], step]


def _end(row: list[Any], status: str, time_ns: int) -> None:
    row[_STATUS], row[_ENDED], row[_STUCK] = status, time_ns, []


class SagasReader:
    """Answer questions about sagas. Any thread; sees what the runner has written."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "sagas")

    def get(self, saga_id: str) -> SagaView | None:
        """Return a saga, or None."""
        return self._get(saga_key(saga_id))

    def _get(self, key: str) -> SagaView | None:
        data = self._rows.get("saga/" + key)
        return None if data is None else _view(key, data)

    def starting_with(self, prefix: str, limit: int = 10) -> list[str]:
        """Return the ids, in order, that begin with `prefix`; at most `limit`."""
        found: list[str] = []
        begin = "saga/" + saga_key("")
        for key, _ in self._rows.scan(begin + prefix):
            if len(found) == limit:
                break
            found.append(key[len(begin) :])
        return found

    def newest(self) -> SagaView | None:
        """Return the saga that was submitted last, or None; one that a task began is not it."""
        page = self._page(lambda saga: not saga.parent, 1, None)
        return page.sagas[0] if page.sagas else None

    def list(
        self,
        *,
        status: str | None = None,
        name: str | None = None,
        limit: int = LIST_LIMIT,
        cursor: str | None = None,
    ) -> SagaPage:
        """Return sagas, newest first: those with the status and name given."""
        return self._page(
            lambda saga: (
                (status is None or saga.status == status) and (name is None or saga.name == name)
            ),
            limit,
            cursor,
        )

    def _page(self, wanted: Callable[[SagaView], bool], limit: int, cursor: str | None) -> SagaPage:
        found: list[SagaView] = []
        last = cursor
        after = None if cursor is None else "at/" + cursor
        for place, _ in self._rows.scan("at/", after=after, backwards=True):
            if len(found) == limit:
                return SagaPage(found, last)
            begun, _, key = place[len("at/") :].partition("/")
            saga = self._get(key)
            # an id that was forgotten may begin again: then its older place is nobody's
            if saga is not None and saga.submitted_at_ns == int(begun, 16) and wanted(saga):
                found.append(saga)
            last = place[len("at/") :]
        return SagaPage(found, None)


def _view(key: str, data: bytes) -> SagaView:
    row = unpack(data)
    row[_ERROR] = None if row[_ERROR] is None else tuple(row[_ERROR])
    row[_RETRIED] = None if row[_RETRIED] is None else tuple(row[_RETRIED])
    row[_POSITION] = Position(*row[_POSITION])
    return SagaView(plain_id(key), *row)
