"""Dead letters: listed, shown, run again, given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field

from goclaw.asker import asker
from goclaw.errors import InvalidRequest, LetterNotFound
from goclaw.letter_names import MESSAGE, SAGA, TASK, kind_of
from goclaw.letter_records import find_letter, group_record, letter_record, letter_summary
from goclaw.operations.operation import Params, act, read
from goclaw.operations.runs import LIST_MAX, Cursor, MinPosition
from goclaw.parked import DISCARDED, REDELIVERED, settle
from goclaw.results import CommandRefused
from goclaw.task_places import recorded_place
from goclaw_actors.compensating import ResolveSaga, RetrySaga
from goclaw_actors.letters import DiscardTask, RedriveTask
from goclaw_events.ids import plain_id, saga_stream, workflow_stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from goclaw.engine import Engine
    from goclaw.operations.ground import Ground
    from goclaw.task_places import Place
    from goclaw_events.envelope import Position

REASON_MAX: Final = 1_000
AT_ONCE_MAX: Final = 100
"""So many letters are redriven or discarded by one request."""
RATE_PER_S_MAX: Final = 1_000_000


class ListLetters(Params):
    """Which dead letters, those first that died first."""

    state: Literal["open", "redriven", "discarded", "withdrawn"] = "open"
    """Only letters in this state."""
    kind: Literal["task", "saga", "message"] | None = None
    """Only letters of this kind."""
    group: str | None = None
    """Only letters that died of the same."""
    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = 50
    """At most so many."""
    cursor: Cursor = None
    """Go on where a page ended; for the same state and group."""
    min_position: MinPosition = None


class ListGroups(Params):
    """Of which failures letters are open."""

    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = 50
    """At most so many."""
    cursor: str | None = None
    """Go on where a page ended."""
    min_position: MinPosition = None


class ShowLetter(Params):
    """Which dead letter."""

    letter: str
    """`RUN/TASK`, `~SAGA`, or `PARTITION:NUMBER` of a parked message."""
    min_position: MinPosition = None


class Decide(Params):
    """Which dead letters, and why."""

    letters: Annotated[list[str], Field(min_length=1, max_length=AT_ONCE_MAX)]
    """Their names; nothing is done unless all can be names of letters."""
    together: bool = False
    """Go on past those that are refused, and tell of them; else the first refusal is raised."""
    generations: Annotated[dict[str, int], Field(default_factory=dict)]
    """Of tasks: the generation that died, so that asking twice is like asking once."""
    reason: Annotated[str, Field(max_length=REASON_MAX)] = ""
    """Why; it is recorded. A saga that is discarded has to have one."""


class Redrive(Decide):
    """Which dead letters are to run again, and with what."""

    edits: dict[str, Any] | None = None
    """Laid over the parameters of each task; not for others."""
    rate_per_s: Annotated[float, Field(gt=0, le=RATE_PER_S_MAX)] | None = None
    """Through the lane `/redrive`, which lets so many a second begin from now on (None: at once).

    Not for messages."""


def _list(ground: Ground, asked: ListLetters) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    page = ground.views.dead.list(
        state=asked.state,
        kind=asked.kind,
        group=asked.group,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    return {
        "letters": [letter_summary(ground, letter) for letter in page.items],
        "cursor": page.cursor,
    }


def _groups(ground: Ground, asked: ListGroups) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    page = ground.views.dead.groups(limit=asked.limit, cursor=asked.cursor)
    return {"groups": [group_record(group) for group in page.items], "cursor": page.cursor}


def _show(ground: Ground, asked: ShowLetter) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    return letter_record(ground, find_letter(ground, asked.letter))


async def _redrive(engine: Engine, asked: Redrive) -> dict[str, Any]:
    kinds = {letter: kind_of(letter) for letter in asked.letters}
    for letter, kind in kinds.items():
        if asked.edits is not None and kind != TASK:
            msg = f"{letter} has no parameters to edit: it runs again as it is"
            raise InvalidRequest(msg, hint="leave the edits out")
        if asked.rate_per_s is not None and kind == MESSAGE:
            msg = f"{letter} is a message: it is said again at once, at no rate"
            raise InvalidRequest(msg, hint="leave the rate out")

    async def say(letter: str) -> _Said:
        if kinds[letter] == MESSAGE:
            return _Said(await settle(engine, letter, REDELIVERED, asked.reason))
        if kinds[letter] == SAGA:
            retried = RetrySaga(asker(), asked.reason, asked.rate_per_s)
            return await _command(engine, saga_stream(plain_id(letter)), retried)
        run_id, task = await _place_of(engine, letter)
        generation = asked.generations.get(letter)
        how = (asked.edits, asked.reason, asker(), asked.rate_per_s)
        body = RedriveTask(task, generation, *how)
        return await _command(engine, workflow_stream(run_id), body)

    return await _each(asked, say)


async def _discard(engine: Engine, asked: Decide) -> dict[str, Any]:
    kinds = {letter: kind_of(letter) for letter in asked.letters}
    for letter, kind in kinds.items():
        if kind == SAGA and not asked.reason:
            msg = f"{letter} is a saga: say what was done about what is left to undo"
            raise InvalidRequest(msg, hint="give a reason")

    async def say(letter: str) -> _Said:
        if kinds[letter] == MESSAGE:
            return _Said(await settle(engine, letter, DISCARDED, asked.reason))
        if kinds[letter] == SAGA:
            resolved = ResolveSaga(asked.reason, asker())
            return await _command(engine, saga_stream(plain_id(letter)), resolved)
        run_id, task = await _place_of(engine, letter)
        body = DiscardTask(task, asked.generations.get(letter), asked.reason, asker())
        return await _command(engine, workflow_stream(run_id), body)

    return await _each(asked, say)


async def _place_of(engine: Engine, letter: str) -> Place:
    """Return which task a letter is; raises `RunNotFound`."""
    run_id, _, task = letter.partition("/")
    return await recorded_place(engine.parts, run_id, task)


class _Said(NamedTuple):
    """What came of an order; `repeated`: the same was said before."""

    position: Position | None
    repeated: bool = False


async def _command(engine: Engine, target: str, body: Any) -> _Said:
    accepted, position = await engine.command(target, body)
    return _Said(position, accepted.repeated)


async def _each(asked: Decide, say: Callable[[str], Awaitable[_Said]]) -> dict[str, Any]:
    """Say each order; all names were checked."""
    done: list[str] = []
    repeated: list[str] = []
    refused: list[dict[str, str]] = []
    last = None
    for letter in dict.fromkeys(asked.letters):
        try:
            position, is_repeated = await say(letter)
        except (CommandRefused, LetterNotFound) as error:
            if not asked.together:
                raise
            refused.append({"letter": letter, "code": error.code, "message": error.message})
        else:
            done.append(letter)
            repeated += [letter] if is_repeated else []
            last = position or last
    where = None if last is None else str(last)
    return {"done": done, "repeated": repeated, "refused": refused, "position": where}


_ANSWER: Final = (
    "`{done: [letter], repeated: [letter], refused: [{letter, code, message}], position}`; "
    "`repeated` are those of `done` of which it was said before"
)
OPERATIONS: Final = (
    read("dead.list", ListLetters, _list, "List dead letters, those first that died first.",
         "`{letters: [summary], cursor}`; a cursor goes on"),
    read("dead.groups", ListGroups, _groups, "List of what the open dead letters died.",
         "`{groups: [{group, code, message, open, total, first_at, last_at}], cursor}`"),
    read("dead.show", ShowLetter, _show,
         "Show a dead letter: what it was given, and how its attempts failed.", "the record"),
    act("dead.redrive", Redrive, _redrive, "Have dead letters run again.", _ANSWER, idle=True),
    act("dead.discard", Decide, _discard, "Give dead letters up.", _ANSWER, idle=True),
)  # fmt: skip
