"""Talk to the engine of a data directory from another process, blocking."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from goclaw.dead import SyncDead
from goclaw.forms import (
    cancelling,
    document_of,
    recorded_from,
    result_from,
    submission,
    submitted_from,
)
from goclaw.lanes import SyncLanes
from goclaw.outputting import OutputChunk
from goclaw.sagas import SyncSagas
from goclaw.schedules import SyncSchedules
from goclaw.sync_collecting import SyncCollecting
from goclaw.sync_signalling import SyncSignalling
from goclaw.wire.sync_link import SyncLink
from goclaw_actors.env import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from goclaw.builder import Workflow
    from goclaw.forms import Sendable
    from goclaw.results import RunResult, Submitted
    from goclaw_events.definition import WorkflowDefinition
    from goclaw_events.envelope import Cursor
    from goclaw_projections.subscription import Recorded


class SyncClient(SyncSignalling, SyncCollecting):
    """Ask the engine that runs on a data directory, for programs without a loop.

    with goclaw.SyncClient("./data") as client:
        outcome = client.run("digest", input={"root": "."})

    Methods mean what they mean on `Client`, but nothing is asked twice: when the engine goes
    away they raise `ConnectionLost`. One thing is asked at a time. Opening raises
    `EngineNotRunning`.
    """

    def __init__(self, data_dir: str | Path = ".goclaw") -> None:
        self._link = SyncLink(Path(data_dir))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the engine goes on. Idempotent."""
        self._link.close()

    def ask(self, operation: str, /, **params: Any) -> Any:
        """Ask for any operation of docs/reference/socket.md."""
        return self._link.ask(operation, params)

    def submit(
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
            run_id = new_id("run", time.time_ns())
        params = submission(workflow, input, run_id, idempotency_key, labels)
        return submitted_from(self._link.ask("submit", params))

    def run(
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
        submitted = self.submit(
            workflow, input=input, run_id=run_id, idempotency_key=idempotency_key, labels=labels
        )
        return self.result(submitted.run_id, timeout_s=timeout_s)

    def result(self, run_id: str, *, timeout_s: float | None = None) -> RunResult:
        """Wait for a run's end; raises `RunNotFound`, and `TimedOut` after `timeout_s`."""
        return result_from(self.ask("result", run_id=run_id, timeout_s=timeout_s))

    def cancel(
        self,
        run_id: str,
        *,
        reason: str = "",
        command_id: str | None = None,
        if_version: int | None = None,
    ) -> None:
        """Cancel a run; returns once that is durable."""
        self._link.ask("cancel", cancelling(run_id, reason, command_id, if_version))

    def _ask_blocking(self, operation: str, params: Mapping[str, Any]) -> Any:
        return self._link.ask(operation, params)

    def register(
        self, workflow: Workflow | WorkflowDefinition | Path, *, version: str | None = None
    ) -> dict[str, Any]:
        """Let a workflow be run by its name; returns `name`, `version`, `digest`..."""
        params = {"definition": document_of(workflow), "version": version}
        return dict(self._link.ask("workflows.register", params))

    def backup(self, path: str | Path) -> dict[str, Any]:
        """Copy the log into a directory of this machine, which must be empty or absent."""
        return dict(self.ask("engine.backup", directory=str(Path(path).absolute())))

    @property
    def dead(self) -> SyncDead:
        """Return what shows dead letters and decides about them: as `Client.dead`."""
        return SyncDead(self._link.ask)

    @property
    def sagas(self) -> SyncSagas:
        """Return what begins sagas and shows them: as `Client.sagas`."""
        return SyncSagas(self._link.ask)

    @property
    def schedules(self) -> SyncSchedules:
        """Return what makes schedules, shows them, and changes them: as `Client.schedules`."""
        return SyncSchedules(self._link.ask)

    @property
    def lanes(self) -> SyncLanes:
        """Return what shows the lanes, and changes them while they work."""
        return SyncLanes(self._link.ask)

    def runs(self, **wanted: Any) -> dict[str, Any]:
        """Return `{"runs": [...], "cursor": ...}`: as `Client.runs`."""
        return dict(self.ask("runs.list", **{"min_position": "now", **wanted}))

    def show(self, run: str, *, timeline: bool = False, steps: bool = False) -> dict[str, Any]:
        """Return the record of a run: an id, the beginning of one, or `@last`."""
        return dict(
            self.ask("runs.show", run=run, timeline=timeline, steps=steps, min_position="now")
        )

    def why(self, run: str, task: str | None = None) -> dict[str, Any]:
        """Return what a run or a saga, or a task of one, waits for: as `Engine.why`."""
        return dict(self.ask("why", run=run, task=task, min_position="now"))

    def output(
        self, run_id: str, task: str | None = None, *, after: str | None = None
    ) -> Iterator[OutputChunk]:
        """Yield the chunks of a task's output behind a cursor, then as they come, to its end."""
        for part in self._link.follow("output", {"run_id": run_id, "task": task, "after": after}):
            for chunk in part["chunks"]:
                yield OutputChunk(**chunk)

    def status(self) -> dict[str, Any]:
        """Return how the engine is."""
        return dict(self.ask("engine.status"))

    def subscribe(
        self, after: Cursor | None = None, *, run_id: str | None = None, follow: bool = True
    ) -> Iterator[Recorded]:
        """Yield durable facts behind a cursor, then as they come, until the engine stops.

        Leaving it before its end ends the connection.
        """
        params = {
            "after": None if after is None else str(after), "run_id": run_id, "follow": follow,
        }  # fmt: skip
        for part in self._link.follow("subscribe", params):
            for fact in part["facts"]:
                yield recorded_from(fact)
