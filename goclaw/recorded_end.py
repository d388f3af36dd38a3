"""How a run, or a saga, ended, as the log has it: from its facts, or from what is kept of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw.errors import RunNotFound, SagaNotFound
from goclaw.results import RunFailure, RunResult
from goclaw_actors.archived import status_of
from goclaw_actors.rebuild import actor_at
from goclaw_events.envelope import Position
from goclaw_events.errors import HistoryExpired
from goclaw_events.ids import check_id, is_saga, owner_stream, partition_of, plain_id
from goclaw_events.poisoned import poisoned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_actors.decider import Decider
    from goclaw_events.journal import Journal


def recorded_end(
    journal: Journal, kinds: Mapping[str, Decider[Any]], run_id: str
) -> RunResult | None:
    """Return the end of a run (or of a saga, by its key) as recorded, or None if it has none yet.

    Raises `RunNotFound`, `SagaNotFound`, and `HistoryExpired` with the final state of a run whose
    result is gone.
    """
    check_id(plain_id(run_id), "run id")
    stream = owner_stream(run_id)
    partition = partition_of(stream, journal.partitions)
    try:
        actor = actor_at(journal, kinds, partition, stream)
    except HistoryExpired as error:
        raise _expired(journal, partition, run_id, error) from error
    except Exception:
        found = _given_up(journal, partition, run_id)
        if found is None:
            raise
        return found  # a bug ended it: it may be one that its facts cannot be folded with
    if not actor.seq:
        if is_saga(run_id):
            msg = f"there is no saga {plain_id(run_id)}"
            raise SagaNotFound(msg, hint="goclaw sagas list", saga_id=plain_id(run_id))
        msg = f"there is no run {run_id}"
        raise RunNotFound(msg, hint="goclaw runs list", run_id=run_id)
    run = actor.state
    if not run.has_ended:
        return _given_up(journal, partition, run_id)
    position = Position(partition, actor.number)
    return RunResult(run_id, run.status, run.result, failure(run.error), position)


def _given_up(journal: Journal, partition: int, run_id: str) -> RunResult | None:
    """Return the end of a run that a bug ended (None: none did): its stream says nothing of it."""
    found = poisoned(journal, partition, owner_stream(run_id))
    if found is None:
        return None
    error = RunFailure("internal_bug", found.fact.message, "")
    return RunResult(run_id, "failed", None, error, Position(partition, found.number))


def failure(error: tuple[str, str, str] | None) -> RunFailure | None:
    """Return why a run failed, as callers get it."""
    return None if error is None else RunFailure(*error)


def _expired(
    journal: Journal, partition: int, run_id: str, error: HistoryExpired
) -> HistoryExpired:
    ended = journal.ended(partition, run_id)
    if ended is None:
        return error
    status = status_of(ended)
    msg = f"run {run_id} {status}; what it recorded was given up, its result with it"
    hint = f"goclaw runs show {run_id} tells what the views keep of it"
    return HistoryExpired(msg, hint=hint, run_id=run_id, status=status)
