"""Sagas as programs see them: begun, waited for, looked at, and what a person decides."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from goclaw.errors import GoclawError
from goclaw.forms import document_of
from goclaw.results import RunFailure
from goclaw_actors.env import new_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from goclaw.saga_builder import Saga
    from goclaw_events.saga import SagaDefinition

    Runnable = Saga | SagaDefinition | Path | str

_READ_YOUR_WRITES = "now"


class SagaUnsuccessful(GoclawError):
    """A saga that was waited for did not complete."""

    code = "saga_failed"


@dataclass(frozen=True, slots=True)
class SagaResult:
    """How a saga ended: completed, compensated or resolved; or why it waits for a person.

    That is `compensation_failed`, or `awaiting_compensation` of manual steps. `error.task` is the
    step that failed ('': none).
    """

    saga_id: str
    status: str
    result: Any
    error: RunFailure | None

    @property
    def ok(self) -> bool:
        """Tell whether the saga completed."""
        return self.status == "completed"

    def unwrap(self) -> Any:
        """Return the result of a saga that completed; raises `SagaUnsuccessful` for any other."""
        if self.ok:
            return self.result
        why = f": {self.error.message} [{self.error.code}]" if self.error else ""
        msg = f"saga {self.saga_id} is {self.status}{why}"
        hint = f"goclaw sagas show {self.saga_id}"
        raise SagaUnsuccessful(msg, hint=hint, saga_id=self.saga_id)


class Sagas:
    """Ask for sagas by id. What can be asked twice is, where an engine went away meanwhile.

    A saga is what `goclaw.Saga` builds, a definition, the path of a file, or the `NAME` or
    `NAME@VERSION` under which one is registered. What a person decides takes `command_id` (the same
    again gives the same answer) and `if_version`: the saga must still have the version that `show`
    gave. Raises `SagaNotFound`, and `CommandRefused` with `saga_changed`, or with `saga_finished`
    or `saga_not_ready` where a saga is in no state for what is wanted.
    """

    def __init__(self, ask: Callable[[str, Mapping[str, Any]], Awaitable[Any]]) -> None:
        self._ask = ask

    async def submit(
        self,
        saga: Runnable,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        saga_id: str | None = None,
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Begin a saga; returns `{saga_id, position, repeated}` once that is durable.

        The same id with the same request answers as before; with another one it is refused with
        `command_conflict`.
        """
        said = _submission(saga, input, saga_id, idempotency_key, labels)
        return dict(await self._ask("sagas.submit", said))

    async def run(
        self,
        saga: Runnable,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        saga_id: str | None = None,
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> SagaResult:
        """Begin a saga and wait for its end; see `submit` and `result`."""
        said = _submission(saga, input, saga_id, idempotency_key, labels)
        submitted = await self._ask("sagas.submit", said)
        return await self.result(submitted["saga_id"], timeout_s=timeout_s)

    async def result(self, saga_id: str, *, timeout_s: float | None = None) -> SagaResult:
        """Wait until a saga has ended, or only a person can go on with it.

        Raises `TimedOut` after `timeout_s` (the saga goes on).
        """
        params = {"saga_id": saga_id, "timeout_s": timeout_s}
        return _result(await self._ask("sagas.result", params))

    async def list(self, *, status: str | None = None, name: str | None = None) -> list[Any]:
        """Return every saga, newest first: those with the status and name given."""
        found: list[Any] = []
        params = _listing(status, name)
        while True:
            page = await self._ask("sagas.list", params)
            found += page["sagas"]
            if page["cursor"] is None:
                return found
            params["cursor"] = page["cursor"]

    async def show(self, saga_id: str) -> dict[str, Any]:
        """Return a saga and its steps: an id, the beginning of one, or `@last`."""
        return dict(await self._ask("sagas.show", _named(saga_id)))

    async def compensate(self, saga_id: str, *, reason: str = "", **change: Any) -> dict[str, Any]:
        """Stop a saga and undo what it did, or let its manual steps be undone."""
        said = decision(saga_id, change, reason=reason)
        return dict(await self._ask("sagas.compensate", said))

    async def retry(self, saga_id: str, *, reason: str = "", **change: Any) -> dict[str, Any]:
        """Try compensations that failed again, with the idempotency keys that they had."""
        said = decision(saga_id, change, reason=reason)
        return dict(await self._ask("sagas.retry", said))

    async def resolve(self, saga_id: str, *, reason: str, **change: Any) -> dict[str, Any]:
        """End a saga that waits for a person: what is left to undo was seen to."""
        said = decision(saga_id, change, reason=reason)
        return dict(await self._ask("sagas.resolve", said))


class SyncSagas:
    """The same as `Sagas`, for programs without a loop."""

    def __init__(self, ask: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self._ask = ask

    def submit(
        self,
        saga: Runnable,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        saga_id: str | None = None,
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Begin a saga: as `Sagas.submit`."""
        said = _submission(saga, input, saga_id, idempotency_key, labels)
        return dict(self._ask("sagas.submit", said))

    def run(
        self,
        saga: Runnable,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        saga_id: str | None = None,
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> SagaResult:
        """Begin a saga and wait for its end: as `Sagas.run`."""
        said = _submission(saga, input, saga_id, idempotency_key, labels)
        submitted = self._ask("sagas.submit", said)
        return self.result(submitted["saga_id"], timeout_s=timeout_s)

    def result(self, saga_id: str, *, timeout_s: float | None = None) -> SagaResult:
        """Wait for a saga's end: as `Sagas.result`."""
        return _result(self._ask("sagas.result", {"saga_id": saga_id, "timeout_s": timeout_s}))

    def list(self, *, status: str | None = None, name: str | None = None) -> list[Any]:
        """Return every saga: as `Sagas.list`."""
        found: list[Any] = []
        params = _listing(status, name)
        while True:
            page = self._ask("sagas.list", params)
            found += page["sagas"]
            if page["cursor"] is None:
                return found
            params["cursor"] = page["cursor"]

    def show(self, saga_id: str) -> dict[str, Any]:
        """Return a saga and its steps: as `Sagas.show`."""
        return dict(self._ask("sagas.show", _named(saga_id)))

    def compensate(self, saga_id: str, *, reason: str = "", **change: Any) -> dict[str, Any]:
        """Undo what a saga did: as `Sagas.compensate`."""
        return dict(self._ask("sagas.compensate", decision(saga_id, change, reason=reason)))

    def retry(self, saga_id: str, *, reason: str = "", **change: Any) -> dict[str, Any]:
        """Try compensations again: as `Sagas.retry`."""
        return dict(self._ask("sagas.retry", decision(saga_id, change, reason=reason)))

    def resolve(self, saga_id: str, *, reason: str, **change: Any) -> dict[str, Any]:
        """End a saga by hand: as `Sagas.resolve`."""
        return dict(self._ask("sagas.resolve", decision(saga_id, change, reason=reason)))


def _submission(
    saga: Runnable,
    given: Mapping[str, Any] | None,
    saga_id: str | None,
    idempotency_key: str | None,
    labels: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Return the parameters of `sagas.submit`; it has an id, so that it can be asked for twice."""
    if saga_id is None and idempotency_key is None:
        saga_id = new_id("saga", time.time_ns())
    what = {"name": saga} if isinstance(saga, str) else {"definition": document_of(saga)}
    return {
        **what,
        "input": dict(given or {}),
        "saga_id": saga_id,
        "idempotency_key": idempotency_key,
        "labels": dict(labels or {}),
    }


def decision(saga_id: str, change: Mapping[str, Any], **said: str) -> dict[str, Any]:
    """Return the parameters of a decision; it has an id, so that it can be asked for twice."""
    given = {name: value for name, value in change.items() if value is not None}
    return {"saga_id": saga_id, "command_id": new_id("cmd", time.time_ns()), **said, **given}


def _listing(status: str | None, name: str | None) -> dict[str, Any]:
    return {"status": status, "name": name, "min_position": _READ_YOUR_WRITES}


def _named(saga: str) -> dict[str, Any]:
    return {"saga": saga, "min_position": _READ_YOUR_WRITES}


def _result(answer: Mapping[str, Any]) -> SagaResult:
    error = None if answer["error"] is None else RunFailure(*answer["error"])
    return SagaResult(answer["saga_id"], answer["status"], answer["result"], error)
