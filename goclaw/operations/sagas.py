"""Sagas: begun, waited for, listed, shown, and what a person decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from goclaw.asker import asker
from goclaw.errors import SagaNotFound
from goclaw.operations.operation import IfVersion, NoParams, Params, act, read
from goclaw.operations.runs import LIST_MAX, Cursor, MinPosition
from goclaw.operations.work import Submit, ended_data, submitted_data
from goclaw.results import CommandRefused
from goclaw.saga_records import find_saga, saga_record, saga_summary
from goclaw.unfinished import unfinished_sagas
from goclaw_actors.compensating import CompensateSaga, ResolveSaga, RetrySaga
from goclaw_events.ids import check_id, saga_stream

if TYPE_CHECKING:
    from goclaw.engine import Engine
    from goclaw.operations.ground import Ground

REASON_MAX: Final = 1_000


class SubmitSaga(Submit):
    """A saga to begin: of a definition, or of a registered name."""

    run_id: None = None
    """Not for sagas."""
    saga_id: str | None = None
    """The saga's id; the same request again gives the same saga."""


class AwaitSaga(Params):
    """A saga to wait for."""

    saga_id: str
    """Its id."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Wait at most so long (None: for ever)."""


class ListSagas(Params):
    """Which sagas, newest first."""

    status: (
        Literal[
            "created",
            "running",
            "completed",
            "compensating",
            "awaiting_compensation",
            "compensated",
            "compensation_failed",
            "resolved",
        ]
        | None
    ) = None
    """Only sagas in this state."""
    name: str | None = None
    """Only sagas of this definition."""
    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = 50
    """At most so many."""
    cursor: Cursor = None
    """Go on where a page ended."""
    min_position: MinPosition = None


class ShowSaga(Params):
    """Which saga, and how much of it."""

    saga: str
    """An id, the beginning of one, or `@last`."""
    timeline: bool = False
    """With what happened, fact by fact."""
    durable_steps: bool = False
    """With what its agents did in durable steps, and what each came to."""
    min_position: MinPosition = None


class SagaIds(Params):
    """Which ids."""

    prefix: str = ""
    """Only ids that begin so."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    """At most so many."""


class NameSaga(Params):
    """Which saga."""

    saga_id: str
    """Its id."""
    command_id: str | None = None
    """The same command again gives the same answer."""
    if_version: IfVersion = None
    """Only if the saga still has this version."""


class Compensate(NameSaga):
    """Which saga, and why."""

    reason: Annotated[str, Field(max_length=REASON_MAX)] = ""
    """Why; it is recorded."""


class Retry(NameSaga):
    """Which saga, and why it may succeed now."""

    reason: Annotated[str, Field(max_length=REASON_MAX)] = ""
    """Why; it is recorded."""


class Resolve(NameSaga):
    """Which saga, and what was done about it."""

    reason: Annotated[str, Field(min_length=1, max_length=REASON_MAX)]
    """What was done about it; it is recorded."""


async def _submit(engine: Engine, asked: SubmitSaga) -> dict[str, Any]:
    saga: Any = asked.name
    if asked.definition is not None:
        said = asked.definition
        saga = await engine.document(said.text, said.format, said.source)
    submitted = await engine.submit_saga(
        saga,
        input=asked.input,
        saga_id=asked.saga_id,
        idempotency_key=asked.idempotency_key,
        labels=asked.labels,
        submitted_by=asker(),
    )
    return submitted_data(submitted, "saga_id")


async def _result(engine: Engine, asked: AwaitSaga) -> dict[str, Any]:
    return ended_data(await engine.saga_result(asked.saga_id, timeout_s=asked.timeout_s), "saga_id")


def _list(ground: Ground, asked: ListSagas) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    page = ground.views.sagas.list(
        status=asked.status, name=asked.name, limit=asked.limit, cursor=asked.cursor
    )
    return {"sagas": [saga_summary(saga) for saga in page.sagas], "cursor": page.cursor}


def _show(ground: Ground, asked: ShowSaga) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    saga = find_saga(ground, asked.saga)
    return saga_record(ground, saga, timeline=asked.timeline, durable=asked.durable_steps)


def _find(ground: Ground, asked: ShowSaga) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    return saga_summary(find_saga(ground, asked.saga))


def _ids(ground: Ground, asked: SagaIds) -> list[str]:
    if asked.prefix:
        return ground.views.sagas.starting_with(asked.prefix, asked.limit)
    return [saga.saga_id for saga in ground.views.sagas.list(limit=asked.limit).sagas]


def _unfinished(ground: Ground, _: NoParams) -> list[dict[str, Any]]:
    return [saga.as_plain() for saga in unfinished_sagas(ground.journal)]


async def _compensate(engine: Engine, asked: Compensate) -> dict[str, Any]:
    return await _say(engine, asked, CompensateSaga(asked.reason, asker()))


async def _retry(engine: Engine, asked: Retry) -> dict[str, Any]:
    return await _say(engine, asked, RetrySaga(asker(), asked.reason))


async def _resolve(engine: Engine, asked: Resolve) -> dict[str, Any]:
    return await _say(engine, asked, ResolveSaga(asked.reason, asker()))


async def _say(engine: Engine, asked: NameSaga, body: Any) -> dict[str, Any]:
    check_id(asked.saga_id, "saga id")
    try:
        accepted, position = await engine.command(
            saga_stream(asked.saga_id), body, asked.command_id, if_version=asked.if_version
        )
    except CommandRefused as error:
        if error.code == SagaNotFound.code:
            raise SagaNotFound(error.message, hint=error.hint) from error
        raise
    return {
        "saga_id": asked.saga_id,
        "repeated": accepted.repeated,
        "position": None if position is None else str(position),
    }


_ANSWER: Final = "`{saga_id, repeated, position}`"
OPERATIONS: Final = (
    act("sagas.submit", SubmitSaga, _submit, "Begin a saga; answers once that is durable.",
        "`{saga_id, position, repeated}`", safe=False),
    act("sagas.result", AwaitSaga, _result, "Wait for the end of a saga.",
        "`{saga_id, status, result, error: [code, message, step], position}`"),
    read("sagas.list", ListSagas, _list, "List sagas, newest first.",
         "`{sagas: [summary], cursor}`; a cursor goes on"),
    read("sagas.show", ShowSaga, _show, "Show a saga and its steps; values are whole.",
         "the record"),
    read("sagas.find", ShowSaga, _find, "Find the saga that a name means.", "its summary"),
    read("sagas.ids", SagaIds, _ids, "Give ids of sagas: by their beginning, or the newest.",
         "a list of ids"),
    read("sagas.unfinished", NoParams, _unfinished,
         "List the sagas that have not ended, the oldest first.",
         "`[{run_id, name, agents, programs: {task: program}, secrets, stuck}]`", log_only=True),
    act("sagas.compensate", Compensate, _compensate,
        "Stop a saga and undo what it did, or let manual steps be undone.", _ANSWER, idle=True),
    act("sagas.retry", Retry, _retry, "Try compensations that failed again.", _ANSWER, idle=True),
    act("sagas.resolve", Resolve, _resolve, "End a saga that waits for a person.", _ANSWER,
        idle=True),
)  # fmt: skip
