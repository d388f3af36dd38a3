"""Talk to the engine of a data directory from another process, on an asyncio loop."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from goclaw.collecting import Collecting
from goclaw.dead import Dead
from goclaw.errors import ConnectionLost, EngineClosed, EngineNotRunning
from goclaw.forms import (
    cancelling,
    document_of,
    recorded_from,
    result_from,
    submission,
    submitted_from,
)
from goclaw.lanes import Lanes
from goclaw.outputting import Outputting
from goclaw.sagas import Sagas
from goclaw.schedules import Schedules
from goclaw.signalling import Signalling
from goclaw.wire.link import Link
from goclaw_actors.env import new_id
from goclaw_actors.errors import Stopping
from goclaw_events.envelope import Cursor, Position

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from types import TracebackType

    from goclaw.builder import Workflow
    from goclaw.forms import Sendable
    from goclaw.operations.desk import Desk
    from goclaw.results import RunResult, Submitted
    from goclaw_events.definition import WorkflowDefinition
    from goclaw_projections.subscription import Recorded

RECONNECT_S: Final = 30.0
PAUSE_S_MIN: Final = 0.05
PAUSE_S_MAX: Final = 1.0
_GONE: Final = (ConnectionLost, EngineClosed, EngineNotRunning, Stopping)
_READ_YOUR_WRITES: Final = "now"


class Client(Signalling, Collecting, Outputting):
    """Ask the engine that runs on a data directory; methods mean what they mean on `Engine`.

    async with goclaw.Client("./data") as client:
        outcome = await client.run("digest", input={"root": "."})

    When the engine goes away, what can be asked twice is asked again for up to `reconnect_s`
    seconds: answers, subscriptions (by their cursor), and submissions, whose run id is chosen
    here. Errors are those of `Engine`, or `RemoteError` with the engine's code. Opening raises
    `EngineNotRunning`. All methods belong to the loop on which the client was opened.
    """

    def __init__(
        self,
        data_dir: str | Path = ".goclaw",
        *,
        reconnect_s: float = RECONNECT_S,
        desk: Desk | None = None,
    ) -> None:
        self._link = Link(Path(data_dir)) if desk is None else None
        self._desk: Desk = desk or self._link  # type: ignore[assignment] # one of both is there
        self._reconnect_s = reconnect_s

    async def __aenter__(self) -> Self:
        if self._link is not None:
            await self._link.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; the engine goes on. Idempotent."""
        if self._link is not None:
            await self._link.close()

    # -- commands --------------------------------------------------------------------------

    async def submit(
        self,
        workflow: Sendable,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        run_id: str | None = None,
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Submitted:
        """Begin a run; returns once it is durable."""
        if run_id is None and idempotency_key is None:
            run_id = new_id("run", time.time_ns())  # so that it can be asked twice
        params = submission(workflow, input, run_id, idempotency_key, labels)
        return submitted_from(await self._ask_again("submit", params))

    async def run(
        self,
        workflow: Sendable,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        run_id: str | None = None,
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> RunResult:
        """Submit a run and wait for its end."""
        submitted = await self.submit(
            workflow, input=input, run_id=run_id, idempotency_key=idempotency_key, labels=labels
        )
        return await self.result(submitted.run_id, timeout_s=timeout_s)

    async def result(self, run_id: str, *, timeout_s: float | None = None) -> RunResult:
        """Wait for a run's end; raises `RunNotFound`, and `TimedOut` after `timeout_s`."""
        params = {"run_id": run_id, "timeout_s": timeout_s}
        return result_from(await self._ask_again("result", params))

    async def cancel(
        self,
        run_id: str,
        *,
        reason: str = "",
        command_id: str | None = None,
        if_version: int | None = None,
    ) -> None:
        """Cancel a run; returns once that is durable."""
        params = cancelling(run_id, reason, command_id, if_version)
        await self._ask_again("cancel", params)

    async def _ask_signal(self, operation: str, params: Mapping[str, Any]) -> Any:
        return await self._ask_again(operation, params)

    async def _ask_collect(self, operation: str, params: Mapping[str, Any]) -> Any:
        return await self._ask_again(operation, params)

    async def _follow(self, operation: str, params: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Follow something to its end; it goes on where it was when the engine comes back."""
        place = params["after"]
        while True:
            asked = {**params, "after": place}
            try:
                async with aclosing(self._desk.follow(operation, asked)) as parts:
                    async for part in parts:
                        place = part["cursor"]
                        yield part
                        if part["ended"] is not None:
                            return
            except _GONE:
                if self._link is None or not self._reconnect_s:
                    raise
            await self._ask_again("log.end", {})

    async def register(
        self, workflow: Workflow | WorkflowDefinition | Path, *, version: str | None = None
    ) -> dict[str, Any]:
        """Let a workflow be run by its name; returns `name`, `version`, `digest`..."""
        params = {"definition": document_of(workflow), "version": version}
        return dict(await self._ask_again("workflows.register", params))

    async def backup(self, path: str | Path) -> dict[str, Any]:
        """Copy the log into a directory of this machine, which must be empty or absent."""
        directory = os.path.abspath(path)  # noqa: ASYNC240, PTH100 - it looks at no file
        return dict(await self.ask("engine.backup", directory=directory))

    @property
    def dead(self) -> Dead:
        """Return what shows dead letters, has them run again, and gives them up."""
        return Dead(self._ask_again)

    @property
    def sagas(self) -> Sagas:
        """Return what begins sagas, shows them, and goes on with those that wait for a person."""
        return Sagas(self._ask_again)

    @property
    def schedules(self) -> Schedules:
        """Return what makes schedules, shows them, and changes them."""
        return Schedules(self._ask_again)

    @property
    def lanes(self) -> Lanes:
        """Return what shows the lanes, and changes them while they work."""
        return Lanes(self._ask_again)

    # -- answers ---------------------------------------------------------------------------

    async def runs(
        self,
        *,
        status: str | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int = 50,
        cursor: str | None = None,
        min_position: Position | str | None = _READ_YOUR_WRITES,
    ) -> dict[str, Any]:
        """Return `{"runs": [...], "cursor": ...}`, newest first.

        The views are waited for: up to `min_position`, by default all that is durable now.
        """
        params = {
            "status": status,
            "name": name,
            "labels": dict(labels or {}),
            "limit": limit,
            "cursor": cursor,
            "min_position": None if min_position is None else str(min_position),
        }
        return dict(await self._ask_again("runs.list", params))

    async def show(
        self, run: str, *, timeline: bool = False, steps: bool = False
    ) -> dict[str, Any]:
        """Return the record of a run: an id, the beginning of one, or `@last`."""
        params = {
            "run": run,
            "timeline": timeline,
            "steps": steps,
            "min_position": _READ_YOUR_WRITES,
        }
        return dict(await self._ask_again("runs.show", params))

    async def why(self, run: str, task: str | None = None) -> dict[str, Any]:
        """Return what a run or a saga, or a task of one, waits for: as `Engine.why`."""
        params = {"run": run, "task": task, "min_position": _READ_YOUR_WRITES}
        return dict(await self._ask_again("why", params))

    async def status(self) -> dict[str, Any]:
        """Return how the engine is."""
        return dict(await self.ask("engine.status"))

    async def ask(self, operation: str, /, **params: Any) -> Any:
        """Ask for any operation of docs/reference/socket.md, once."""
        return await self._desk.ask(operation, params)

    async def end(self) -> Cursor:
        """Return the cursor behind all that is durable now."""
        return Cursor.parse((await self._ask_again("log.end", {}))["cursor"])

    async def subscribe(
        self, after: Cursor | None = None, *, run_id: str | None = None, follow: bool = True
    ) -> AsyncGenerator[Recorded, None]:
        """Yield durable facts behind a cursor (None: from the start), then as they come.

        It goes on where it was when the engine comes back within `reconnect_s`. Without `follow`
        it ends where the log ends now. Raises `ConnectionLost` or `EngineNotRunning` otherwise.
        """
        place = None if after is None else str(after)
        while True:
            params = {"after": place, "run_id": run_id, "follow": follow}
            try:
                async with aclosing(self._desk.follow("subscribe", params)) as parts:
                    async for part in parts:
                        for fact in part["facts"]:
                            yield recorded_from(fact)
                        place = part["cursor"]
            except _GONE:
                if self._link is None or not self._reconnect_s:
                    raise
            else:
                if not follow or self._link is None or not self._reconnect_s:
                    return
            await self._ask_again("log.end", {})

    async def _ask_again(self, name: str, params: Mapping[str, Any]) -> Any:
        """Ask for what can be asked twice, until the engine that went away is back."""
        deadline: float | None = None
        pause_s = PAUSE_S_MIN
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await self._desk.ask(name, params)
            except _GONE:
                deadline = deadline or loop.time() + self._reconnect_s
                if self._link is None or loop.time() + pause_s > deadline:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
