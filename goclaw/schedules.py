"""Schedules as programs see them: made, listed, shown, paused, triggered, deleted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from goclaw.forms import document_of
from goclaw_actors.env import new_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from goclaw.forms import Sendable
    from goclaw.saga_builder import Saga
    from goclaw_events.saga import SagaDefinition

_READ_YOUR_WRITES = "now"


class Schedules:
    """Ask for schedules by name. Runs, or sagas, begin by them while an engine works on the log.

    What is run is what `Client.submit` or `Sagas.submit` takes, as it is when the schedule is made.
    What changes one takes `command_id` (the same again gives the same answer) and `if_version`: it
    must still have the version that `show` gave. Raises `ScheduleNotFound`, `ScheduleInvalid`, and
    `CommandRefused` with `schedule_exists`, `schedule_changed`, `schedule_busy` or
    `schedule_time_invalid`.
    """

    def __init__(self, ask: Callable[[str, Mapping[str, Any]], Awaitable[Any]]) -> None:
        self._ask = ask

    async def create(
        self,
        schedule: str,
        workflow: Sendable | Saga | SagaDefinition,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        labels: Mapping[str, str] | None = None,
        **rules: Any,
    ) -> dict[str, Any]:
        """Make a schedule; returns `{schedule, id, repeated, position}` once that is durable.

        `rules`: `cron` and `zone`, or `every` (a duration); `overlap` (skip, queue, cancel),
        `missed` (skip, one, all), `late`, `jitter`, `waiting_max`, `planned_input`, `paused`,
        `replace`. The same again changes nothing; another one of the name needs `replace`.
        """
        return dict(await self._ask("schedules.create", _asked(schedule, workflow, input, labels,
                                                               rules)))  # fmt: skip

    async def list(self, *, status: str | None = None) -> list[dict[str, Any]]:
        """Return every schedule, by name: those that are active, or paused, if wanted."""
        found: list[dict[str, Any]] = []
        params = _listing(status)
        while True:
            page = await self._ask("schedules.list", params)
            found += page["schedules"]
            if page["cursor"] is None:
                return found
            params["cursor"] = page["cursor"]

    async def show(self, schedule: str, *, next: int = 5) -> dict[str, Any]:  # noqa: A002 - its times
        """Return a schedule, with so many of its next times."""
        return dict(await self._ask("schedules.show", _shown(schedule, next)))

    async def pause(self, schedule: str, *, reason: str = "", **change: Any) -> dict[str, Any]:
        """Let nothing be due until it is resumed; the run that goes on does so."""
        said = changing(schedule, change, reason=reason)
        return dict(await self._ask("schedules.pause", said))

    async def resume(self, schedule: str, **change: Any) -> dict[str, Any]:
        """Go on, from now: what would have been due meanwhile is not made up for."""
        return dict(await self._ask("schedules.resume", changing(schedule, change)))

    async def trigger(
        self, schedule: str, *, at: str | None = None, **change: Any
    ) -> dict[str, Any]:
        """Fire now, or for a time of the timetable that is over; `run_id` is the run's.

        Of a saga it is None, and `saga_id` the saga's. Where that has to wait for the one before,
        there is none of this id yet.
        """
        return dict(await self._ask("schedules.trigger", changing(schedule, change, at=at)))

    async def delete(self, schedule: str, **change: Any) -> dict[str, Any]:
        """Let it be no more; the run that goes on does so."""
        return dict(await self._ask("schedules.delete", changing(schedule, change)))


class SyncSchedules:
    """The same as `Schedules`, for programs without a loop."""

    def __init__(self, ask: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self._ask = ask

    def create(
        self,
        schedule: str,
        workflow: Sendable | Saga | SagaDefinition,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        labels: Mapping[str, str] | None = None,
        **rules: Any,
    ) -> dict[str, Any]:
        """Make a schedule: as `Schedules.create`."""
        asked = _asked(schedule, workflow, input, labels, rules)
        return dict(self._ask("schedules.create", asked))

    def list(self, *, status: str | None = None) -> list[dict[str, Any]]:
        """Return every schedule: as `Schedules.list`."""
        found: list[dict[str, Any]] = []
        params = _listing(status)
        while True:
            page = self._ask("schedules.list", params)
            found += page["schedules"]
            if page["cursor"] is None:
                return found
            params["cursor"] = page["cursor"]

    def show(self, schedule: str, *, next: int = 5) -> dict[str, Any]:  # noqa: A002 - its times
        """Return a schedule: as `Schedules.show`."""
        return dict(self._ask("schedules.show", _shown(schedule, next)))

    def pause(self, schedule: str, *, reason: str = "", **change: Any) -> dict[str, Any]:
        """Pause a schedule: as `Schedules.pause`."""
        return dict(self._ask("schedules.pause", changing(schedule, change, reason=reason)))

    def resume(self, schedule: str, **change: Any) -> dict[str, Any]:
        """Resume a schedule: as `Schedules.resume`."""
        return dict(self._ask("schedules.resume", changing(schedule, change)))

    def trigger(self, schedule: str, *, at: str | None = None, **change: Any) -> dict[str, Any]:
        """Trigger a schedule: as `Schedules.trigger`."""
        return dict(self._ask("schedules.trigger", changing(schedule, change, at=at)))

    def delete(self, schedule: str, **change: Any) -> dict[str, Any]:
        """Delete a schedule: as `Schedules.delete`."""
        return dict(self._ask("schedules.delete", changing(schedule, change)))


def _asked(
    schedule: str,
    workflow: Sendable | Saga | SagaDefinition,
    given: Mapping[str, Any] | None,
    labels: Mapping[str, str] | None,
    rules: Mapping[str, Any],
) -> dict[str, Any]:
    what = (
        {"name": workflow} if isinstance(workflow, str) else {"definition": document_of(workflow)}
    )
    return {
        "schedule": schedule,
        **what,
        "input": dict(given or {}),
        "labels": dict(labels or {}),
        **rules,
    }


def _listing(status: str | None) -> dict[str, Any]:
    return {"status": status, "min_position": _READ_YOUR_WRITES}


def _shown(schedule: str, ahead: int) -> dict[str, Any]:
    return {"schedule": schedule, "next": ahead, "min_position": _READ_YOUR_WRITES}


def changing(schedule: str, change: Mapping[str, Any], **said: Any) -> dict[str, Any]:
    """Return the parameters of a change; it has an id, so that it can be asked for twice."""
    given = {name: value for name, value in change.items() if value is not None}
    return {"schedule": schedule, "command_id": new_id("cmd", time.time_ns()), **said, **given}
