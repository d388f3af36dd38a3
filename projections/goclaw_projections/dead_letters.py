"""The view `dead`: one row for each dead letter, and one for each group of them.

Dead letters are tasks without an attempt left, sagas whose compensations failed, and messages
whose handling raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events import facts
from goclaw_events.envelope import Position
from goclaw_events.ids import PARTITION_STREAM
from goclaw_events.value import unpack
from goclaw_projections.fingerprint import fingerprint, normalised
from goclaw_projections.page import PAGE_LIMIT, Page, page_of
from goclaw_projections.served import ServedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from goclaw_projections.projection import ReadFrame, ReadTurn
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import ViewStore

KINDS: Final = ("task", "saga", "message")
STATES: Final = ("open", "redriven", "discarded", "withdrawn")
OPEN, REDRIVEN, DISCARDED, WITHDRAWN = STATES
COMPENSATION_FAILED: Final = "compensation_failed"
MESSAGE_FAILED: Final = "message_failed"
MESSAGE_CHARS_MAX: Final = 500


class LetterView(NamedTuple):
    """What is known of a dead letter.

    `letter`: `RUN/TASK`, `~SAGA`, or `PARTITION:NUMBER` of a parked message. `kind`: task, saga or
    message. `state`: open, redriven, discarded (`by` whom and `why`), or withdrawn: its run was
    stopped, or goes on without it. `target`: the stream of what is dead. `reason`: exhausted,
    kills_its_worker, lost_too_often, compensation_failed or message_failed. `group`: that of its
    `code` and `message`. `times`: how often it died; `generation`: that of the task.
    `planned_at_ns`: since when an open one waits for the lane `/redrive`, to run again.
    """

    letter: str
    kind: str
    state: str
    target: str
    generation: int
    reason: str
    code: str
    message: str
    group: str
    times: int
    first_at_ns: int
    died_at_ns: int
    closed_at_ns: int | None
    by: str
    why: str
    position: Position
    planned_at_ns: int | None = None


class LetterGroup(NamedTuple):
    """Letters that died of the same: `message` has `#` for what differs. `open` of `total` wait."""

    group: str
    code: str
    message: str
    open: int
    total: int
    first_at_ns: int
    last_at_ns: int


# A row, in place changed: the fields of LetterView but the first.
(
    _KIND, _STATE, _TARGET, _GENERATION, _REASON, _CODE, _MESSAGE, _GROUP, _TIMES, _FIRST, _DIED,
    _CLOSED, _BY, _WHY, _POSITION, _PLANNED,
) = range(16)  # fmt: skip
_G_OPEN, _G_TOTAL, _G_LAST = 2, 3, 5


class DeadProjection:
    """Fold dead letters into rows `letter/<letter>` and `group/<group>`.

    Indexes: `open/<time>/<letter>` and `of/<group>/<time>/<letter>` while one waits, then
    `closed/<time>/<letter>`. What is no letter costs a look at the last fact of a turn.
    """

    name = "dead"
    version = 2

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Change the rows by one frame."""
        for turn in frame.turns:
            if turn.kind == "saga":
                _apply_saga(_Turn(frame, turn, rows))
            elif (told := _TOLD.get(type(turn.facts[-1]))) is not None:
                told(_Turn(frame, turn, rows), turn.facts[-1])
            elif turn.kind == PARTITION_STREAM:
                _apply_partition(_Turn(frame, turn, rows))


class _Turn:
    """The rows, as a turn changes them."""

    __slots__ = ("partition", "rows", "time_ns", "turn")

    def __init__(self, frame: ReadFrame, turn: ReadTurn, rows: Rows) -> None:
        self.partition = frame.partition
        self.time_ns = frame.time_ns
        self.turn = turn
        self.rows = rows

    def open(
        self, letter: str, kind: str, target: str, reason: str, code: str, message: str
    ) -> None:
        """Add a letter, or open it again."""
        message = message[:MESSAGE_CHARS_MAX]
        before = self.rows.get("letter/" + letter)
        self._drop_indexes(letter, before)
        times, first_ns, generation = 1, self.time_ns, 0
        if before is not None:
            times, first_ns, generation = before[_TIMES] + 1, before[_FIRST], before[_GENERATION]
        group = fingerprint(code, message)
        place = [self.partition, self.turn.number + len(self.turn.facts) - 1]
        row = [kind, OPEN, target, generation, reason, code, message, group, times, first_ns,
               self.time_ns, None, "", "", place, None]  # fmt: skip
        self.rows.put("letter/" + letter, row)
        self.rows.put(f"open/{self.time_ns:016x}/{letter}", True)
        self.rows.put(f"of/{group}/{self.time_ns:016x}/{letter}", True)
        self._count(group, code, message, 1, 1)

    def close(self, letter: str, state: str, by: str = "", why: str = "") -> None:
        """Close a letter that is open; others stay as they are."""
        row = self.rows.get("letter/" + letter)
        if row is None or row[_STATE] != OPEN:
            return
        self._drop_indexes(letter, row)
        row[_STATE], row[_CLOSED], row[_BY], row[_WHY] = state, self.time_ns, by, why
        row[_PLANNED] = None
        self.rows.put("letter/" + letter, row)
        self.rows.put(f"closed/{self.time_ns:016x}/{letter}", True)
        self._count(row[_GROUP], row[_CODE], row[_MESSAGE], -1, 0)

    def plan(self, letter: str) -> None:
        """Note that an open letter is to run again when its turn comes."""
        row = self.rows.get("letter/" + letter)
        if row is not None and row[_STATE] == OPEN:
            row[_PLANNED] = self.time_ns
            self.rows.put("letter/" + letter, row)

    def redrive(self, letter: str, generation: int, by: str, why: str) -> None:
        """Close a letter whose task runs again."""
        self.close(letter, REDRIVEN, by, why)
        row = self.rows.get("letter/" + letter)
        if row is not None:
            row[_GENERATION] = generation
            self.rows.put("letter/" + letter, row)

    def _drop_indexes(self, letter: str, row: list[Any] | None) -> None:
        if row is None:
            return
        if row[_STATE] == OPEN:
            self.rows.delete(f"open/{row[_DIED]:016x}/{letter}")
            self.rows.delete(f"of/{row[_GROUP]}/{row[_DIED]:016x}/{letter}")
        else:
            self.rows.delete(f"closed/{row[_CLOSED]:016x}/{letter}")

    def _count(self, group: str, code: str, message: str, opened: int, died: int) -> None:
        key = "group/" + group
        row = self.rows.get(key)
        if row is None:
            row = [code, normalised(message), 0, 0, self.time_ns, self.time_ns]
        row[_G_OPEN] += opened
        row[_G_TOTAL] += died
        if died:
            row[_G_LAST] = self.time_ns
        self.rows.put(key, row)


def _died(turn: _Turn, fact: facts.TaskDied) -> None:
    target = "task/" + turn.turn.name
    turn.open(turn.turn.name, "task", target, fact.reason, fact.code, fact.message)


def _planned(turn: _Turn, fact: facts.RedrivePlanned) -> None:
    turn.plan(f"{turn.turn.run_id}/{fact.task}")


def _redriven(turn: _Turn, fact: facts.LetterRedriven) -> None:
    turn.redrive(f"{turn.turn.run_id}/{fact.task}", fact.generation, fact.by, fact.reason)


def _discarded(turn: _Turn, fact: facts.LetterDiscarded) -> None:
    turn.close(f"{turn.turn.run_id}/{fact.task}", DISCARDED, fact.by, fact.reason)


def _withdrawn(turn: _Turn, fact: facts.TaskCancelled | facts.TaskDropped) -> None:
    turn.close(turn.turn.name, WITHDRAWN, "", fact.reason)


def _alarmed(turn: _Turn, fact: facts.SagaAlarmed) -> None:
    step, code, message = fact.steps[0]
    said = f"{step}: {message}"
    if len(fact.steps) > 1:
        said += f" (and {len(fact.steps) - 1} more)"
    key = turn.turn.run_id
    turn.open(key, "saga", "saga/" + key, COMPENSATION_FAILED, code, said)


def _retried(turn: _Turn, fact: facts.CompensationRetried) -> None:
    turn.close(turn.turn.run_id, REDRIVEN, fact.by, fact.reason)


def _resolved(turn: _Turn, fact: facts.SagaResolved) -> None:
    turn.close(turn.turn.run_id, DISCARDED, fact.by, fact.reason)


_TOLD: Final[dict[type, Callable[[_Turn, Any], None]]] = {
    facts.TaskDied: _died,
    facts.RedrivePlanned: _planned,
    facts.LetterRedriven: _redriven,
    facts.LetterDiscarded: _discarded,
    facts.TaskCancelled: _withdrawn,
    facts.TaskDropped: _withdrawn,
}
_OF_SAGAS: Final[dict[type, Callable[[_Turn, Any], None]]] = {
    facts.SagaAlarmed: _alarmed,
    facts.RetryPlanned: lambda turn, _: turn.plan(turn.turn.run_id),
    facts.CompensationRetried: _retried,
    facts.SagaResolved: _resolved,
}


def _apply_saga(turn: _Turn) -> None:
    for fact in turn.turn.facts:
        told = _OF_SAGAS.get(type(fact))
        if told is not None:
            told(turn, fact)


_SETTLED: Final = {"redelivered": REDRIVEN, "discarded": DISCARDED}


def _apply_partition(turn: _Turn) -> None:
    """Add messages whose handling raised, and close those that somebody saw to."""
    for offset, fact in enumerate(turn.turn.facts):
        if isinstance(fact, facts.MessageSettled):
            letter = f"{turn.partition}:{fact.number}"
            turn.close(letter, _SETTLED[fact.how], fact.by, fact.reason)
        elif isinstance(fact, facts.MessageFailed):
            lines = fact.trace.strip().splitlines()
            said = lines[-1] if lines else fact.message_type
            letter = f"{turn.partition}:{turn.turn.number + offset}"
            turn.open(letter, "message", fact.target, MESSAGE_FAILED, fact.code, said)


class DeadReader:
    """Answer questions about dead letters. Any thread; sees what the runner has written."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "dead")

    def get(self, letter: str) -> LetterView | None:
        """Return a letter, or None."""
        data = self._rows.get("letter/" + letter)
        return None if data is None else _view(letter, data)

    def list(
        self,
        *,
        state: str = OPEN,
        kind: str | None = None,
        group: str | None = None,
        limit: int = PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[LetterView]:
        """Return letters, those that died (or were closed) first at the front.

        `kind`, `group`: only those of it. The cursor is of no use for another `state` or `group`.
        """
        prefix = "open/" if state == OPEN else "closed/"
        if state == OPEN and group is not None:
            prefix = f"of/{group}/"

        def wanted(letter: LetterView) -> bool:
            of_group = group is None or letter.group == group
            return letter.state == state and of_group and (kind is None or letter.kind == kind)

        return page_of(self._all(prefix, cursor), limit, wanted)

    def _all(self, prefix: str, cursor: str | None) -> Iterator[tuple[str, LetterView]]:
        after = None if cursor is None else prefix + cursor
        for key, _ in self._rows.scan(prefix, after=after):
            place = key[len(prefix) :]
            found = self.get(place.partition("/")[2])
            if found is not None:
                yield place, found

    def groups(self, *, limit: int = PAGE_LIMIT, cursor: str | None = None) -> Page[LetterGroup]:
        """Return the groups of which letters are open, in order of their names."""
        return page_of(self._groups(cursor), limit, lambda found: found.open > 0)

    def _groups(self, cursor: str | None) -> Iterator[tuple[str, LetterGroup]]:
        after = None if cursor is None else "group/" + cursor
        for key, data in self._rows.scan("group/", after=after):
            group = key[len("group/") :]
            yield group, LetterGroup(group, *unpack(data))


def _view(letter: str, data: bytes) -> LetterView:
    row = unpack(data)
    row[_POSITION] = Position(*row[_POSITION])
    return LetterView(letter, *row)
