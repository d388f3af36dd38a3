"""The engine as a library: submit workflows, wait for results, follow what happens."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw.children import children_of
from goclaw.collecting import Collecting
from goclaw.dead import Dead
from goclaw.engine_life import EngineLife
from goclaw.errors import (
    DefinitionNotFound,
    TimedOut,
    UsageInvalid,
)
from goclaw.following import follow_log
from goclaw.lanes import Lanes
from goclaw.operations.desk import EngineDesk, ask_engine, follow_engine
from goclaw.operations.ground import NOW
from goclaw.outputting import Outputting
from goclaw.programs import require_allowed
from goclaw.recorded_end import recorded_end
from goclaw.results import RunResult, Submitted, accepted_of
from goclaw.sagas import Sagas
from goclaw.schedules import Schedules
from goclaw.selecting import Selecting
from goclaw.signalling import Signalling
from goclaw.submission import id_for, request_of, require_kind, submitted_as
from goclaw.waiting import resolve
from goclaw.wire.listener import listen
from goclaw_actors.decider import SelectMembers
from goclaw_actors.errors import ChildUnknown
from goclaw_actors.executors.resolve import HasReferences, plain_copy, resolved
from goclaw_actors.message import Message
from goclaw_actors.messages import CancelRun, RegisterDefinition, SubmitRun
from goclaw_actors.versions import command_digest
from goclaw_events.ids import (
    catalogue_stream,
    check_id,
    is_saga,
    plain_id,
    routing_key,
    saga_key,
    saga_stream,
    workflow_stream,
)
from goclaw_events.rocks import RocksJournal
from goclaw_events.rocks.backup import back_up

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from goclaw.catalogue import Registered
    from goclaw.parts import Parts
    from goclaw.submission import Prepared, Submittable, Unregistered
    from goclaw_actors.decider import Accepted, RunBegun
    from goclaw_actors.message import Reply
    from goclaw_events.envelope import Cursor, Position
    from goclaw_events.loading import Format
    from goclaw_events.rocks.backup import Backup
    from goclaw_projections.subscription import Recorded
    from goclaw_projections.views import Views

_EVENTS_AT_ONCE: Final = 512


class Engine(EngineLife, Signalling, Collecting, Outputting):
    """Run workflows in this process, on a log in `data_dir` (or in memory: `":memory:"`).

    async with goclaw.Engine("./data") as engine:
        outcome = await engine.run(workflow, input={"root": "."})

    Opening it goes on with every run that is unfinished. `settings` default to those of the
    package (files and variables are read by the command line, not here); `agents` to what
    `@goclaw.agent` registered. All methods belong to the loop that opened the engine.
    Other programs of the same user can talk to it, through `engine.sock` in the directory
    (`goclaw.Client`); `on_stop` is called when one of them wants it to stop. An `idle` engine
    takes commands, begins nothing, and does not listen. Opening raises `EngineRunning` if another
    process holds the directory, `LogDamaged`, `LogMismatch`, `LogBehindWatermark`.
    """

    _selecting: Selecting | None = None

    async def start(self) -> None:
        """Open the log, and go on with whatever is unfinished."""
        self._selecting = Selecting(self)
        await super().start()
        if not self._idle:
            self._selecting.start()
        if self._data_dir is not None and not self._idle:
            self.listener = await listen(EngineDesk(self), self._data_dir)

    async def _rested(self) -> None:
        if self._selecting is not None:
            await self._selecting.stop()

    def _search(self, search: RunBegun | SelectMembers) -> None:
        selecting = self._selecting
        if selecting is None or self._idle or self._bridge is None:
            return
        if isinstance(search, SelectMembers) or selecting.is_live:
            self._bridge.post(selecting.hear, search)

    def _look_again(self) -> None:
        super()._look_again()
        if self._selecting is not None:
            self._selecting.look_again()

    @property
    def views(self) -> Views:
        """Return the readers of every view; `views.at(position)` reads one's own writes."""
        return self._open_parts().views

    @property
    def lanes(self) -> Lanes:
        """Return what shows the lanes, and changes them while they work."""
        return Lanes(partial(ask_engine, self))

    @property
    def dead(self) -> Dead:
        """Return what shows dead letters, has them run again, and gives them up."""
        return Dead(partial(ask_engine, self))

    @property
    def sagas(self) -> Sagas:
        """Return what begins sagas, shows them, and goes on with those that wait for a person."""
        return Sagas(partial(ask_engine, self))

    @property
    def schedules(self) -> Schedules:
        """Return what makes schedules, shows them, and changes them."""
        return Schedules(partial(ask_engine, self))

    # -- commands --------------------------------------------------------------------------

    def prepare(self, workflow: Submittable) -> Prepared:
        """Compile a workflow once, to submit it often.

        Raises `InvalidDefinition` with every fault, `Unsupported`, `AgentUnknown`,
        `SecretMissing`, `ExecNotAllowed`, and `DefinitionNotFound` for a name under which
        nothing is registered.
        """
        prepared = self.compiled(workflow)
        self.require(prepared)
        return prepared

    def compiled(self, workflow: Submittable) -> Prepared:
        """Compile a workflow, or find a registered one; whether it can run here is not asked."""
        if isinstance(workflow, str):
            parts = self._open_parts()
            ref = parts.catalogue.find(workflow).definition
            return self._preparer.stored(ref, parts.journal.blob)
        return self._preparer.prepare(workflow)

    def require(self, prepared: Prepared) -> None:
        """Check that this engine knows what a workflow's tasks use; raises as `prepare` does."""
        if prepared.programs:
            require_allowed(prepared.plan.name, prepared.programs, self.settings)
        if unknown := [name for name in prepared.agents if self._agents.get(name) is None]:
            raise self._agents.unknown(unknown)
        if prepared.secrets:
            self._open_parts().secrets.require(prepared.secrets)

    async def document(self, text: str, text_format: Format, source: str) -> Prepared:
        """Compile the text of a definition, once, off the loop; raises `InvalidDefinition`."""
        return await asyncio.to_thread(self._preparer.document, text, text_format, source)

    async def register(
        self, workflow: Unregistered, *, version: str | None = None, registered_by: str = ""
    ) -> Registered:
        """Let a workflow be run by its name, from now on; returns once that is durable.

        The version is `version`, or the definition's own, or the next number. Registering the
        same again changes nothing; the same version with another body is refused with
        `definition_conflict`. Raises `CommandRefused`, `InvalidDefinition`, `Unsupported`.
        """
        parts = self._open_parts()
        prepared = self._preparer.prepare(workflow)
        name = prepared.plan.name
        body = RegisterDefinition(version or prepared.plan.version, prepared.ref, registered_by)
        message = Message(catalogue_stream(name), body)
        message.blobs = {prepared.ref.sha256: prepared.data}
        accepted = accepted_of(await self._ask(parts, message))
        return await asyncio.to_thread(parts.catalogue.find, f"{name}@{accepted.id}")

    def child(self, name: str) -> Prepared:
        """Return what a `workflow:` task stands for; raises `ChildUnknown`."""
        try:
            return self.prepare(name)
        except DefinitionNotFound as error:
            raise ChildUnknown(error.message, hint=error.hint, name=name) from error

    async def submit(
        self,
        workflow: Submittable,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        run_id: str | None = None,
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
        submitted_by: str = "",
    ) -> Submitted:
        """Begin a run; returns once it is durable.

        The run's id is `run_id`, or follows from `idempotency_key` and the workflow's name, or is
        new. The same id with the same request answers as before (`repeated`); with another one it
        is refused with `command_conflict`. A name without a version means, in a repeat, the version
        that it meant at first. Raises `CommandRefused`, `InvalidInput`, `ChildUnknown`, and what
        `prepare` raises.
        """
        parts = self._open_parts()
        message = self._submission(
            parts, workflow, input, run_id, idempotency_key, labels, submitted_by
        )
        reply = await self._ask(parts, message)
        return Submitted(routing_key(message.target), reply.position, accepted_of(reply).repeated)

    async def submit_saga(
        self,
        saga: Submittable,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        saga_id: str | None = None,
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
        submitted_by: str = "",
    ) -> Submitted:
        """Begin a saga: as `submit`; its id is the `run_id` of the answer."""
        parts = self._open_parts()
        message = self._submission(
            parts, saga, input, saga_id, idempotency_key, labels, submitted_by, kind="saga"
        )
        reply = await self._ask(parts, message)
        name = plain_id(routing_key(message.target))
        return Submitted(name, reply.position, accepted_of(reply).repeated)

    def _submission(
        self,
        parts: Parts,
        workflow: Submittable,
        given: Mapping[str, Any] | None,
        run_id: str | None,
        idempotency_key: str | None,
        labels: Mapping[str, str] | None,
        submitted_by: str,
        *,
        kind: str = "run",
    ) -> Message:
        prepared = self.prepare(workflow)
        name, fresh = prepared.plan.name, run_id is None and idempotency_key is None
        run_id = id_for(kind, name, run_id, idempotency_key, parts.clock.now_ns())
        stream = saga_stream(run_id) if kind == "saga" else workflow_stream(run_id)
        if not fresh and isinstance(workflow, str) and "@" not in workflow:
            ref = submitted_as(parts.journal, stream, name)
            prepared = prepared if ref is None else self._preparer.stored(ref, parts.journal.blob)
        require_kind(prepared, kind)
        request = request_of(prepared, given, labels)
        children = children_of(prepared, self.child)
        if any(one.plan.steps for one in (prepared, *children.values())):
            parts.declare_sagas()
        for one in (prepared, *children.values()):
            parts.contents.hold(one.ref, one.plan)
            request.blobs[one.ref.sha256] = one.data
        body = SubmitRun(
            prepared.ref,
            name,
            request.input,
            request.labels,
            request.digest,
            idempotency_key,
            submitted_by,
            children={name: child.ref for name, child in children.items()} or None,
        )
        message = Message(stream, body, fresh=fresh)
        message.blobs = request.blobs
        return message

    async def run(
        self,
        workflow: Submittable,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        run_id: str | None = None,
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> RunResult:
        """Submit a run and wait for its end; see `submit` and `result`."""
        parts = self._open_parts()
        message = self._submission(
            parts, workflow, input, run_id, idempotency_key, labels, submitted_by=""
        )
        return await self._run(parts, message, timeout_s)

    async def run_saga(
        self,
        saga: Submittable,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        saga_id: str | None = None,
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> RunResult:
        """Begin a saga and wait for its end; see `submit_saga` and `saga_result`."""
        parts = self._open_parts()
        message = self._submission(
            parts, saga, input, saga_id, idempotency_key, labels, submitted_by="", kind="saga"
        )
        found = await self._run(parts, message, timeout_s)
        return replace(found, run_id=plain_id(found.run_id))

    async def _run(self, parts: Parts, message: Message, timeout_s: float | None) -> RunResult:
        name = routing_key(message.target)
        # Waited for before it is sent: a run that ends at once is not looked up in the log.
        with self._waiting.end_of(name) as ended:
            accepted = accepted_of(await self._ask(parts, message))
            if accepted.repeated:
                return await self._result(name, timeout_s)
            return await self._wait(parts, name, ended, timeout_s)

    async def cancel(
        self,
        run_id: str,
        *,
        reason: str = "",
        command_id: str | None = None,
        if_version: int | None = None,
    ) -> None:
        """Cancel a run: nothing new starts, what runs is stopped; returns once that is durable.

        Cancelling twice is one cancel. Raises `CommandRefused` with `run_not_found`,
        `run_finished`, or (unless the run has the version `if_version`) `run_changed`.
        """
        check_id(run_id, "run id")
        body = CancelRun(reason, "")
        await self.command(workflow_stream(run_id), body, command_id, if_version=if_version)

    async def command(
        self,
        target: str,
        body: Any,
        command_id: str | None = None,
        *,
        blobs: dict[bytes, bytes] | None = None,
        if_version: int | None = None,
    ) -> tuple[Accepted, Position | None]:
        """Say something to an actor; returns what it answered, and where, once that is durable.

        The same `command_id` with the same body gives the same answer. `blobs` are what the body
        refers to. With `if_version` the actor must still have this version. Raises
        `CommandRefused`.
        """
        message = Message(target, body)
        message.blobs = blobs
        message.command_id = command_id
        message.if_version = if_version
        message.digest = command_digest(body, if_version) if command_id else None
        reply = await self._ask(self._open_parts(), message)
        return accepted_of(reply), reply.position

    async def _ask_signal(self, operation: str, params: Mapping[str, Any]) -> Any:
        return await ask_engine(self, operation, params)

    async def _ask_collect(self, operation: str, params: Mapping[str, Any]) -> Any:
        return await ask_engine(self, operation, params)

    def _follow(self, operation: str, params: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        return follow_engine(self, operation, params)

    async def _ask(self, parts: Parts, message: Message) -> Reply:
        bridge, future = self.bridge, self._waiting.reply()
        message.reply_to = lambda reply: bridge.post(resolve, future, reply)
        parts.send(message)
        return await future

    async def backup(self, path: str | Path) -> Backup:
        """Copy the log, as it is now, into a directory that must be empty or absent.

        Runs go on; commits wait while RocksDB copies its tables. `goclaw restore` makes a data
        directory of it. Raises `DirectoryNotEmpty`, and `UsageInvalid` for a log in memory.
        """
        journal = self._open_parts().journal
        if not isinstance(journal, RocksJournal):
            msg = "a log in memory cannot be copied"
            raise UsageInvalid(msg, hint="open the engine on a directory")
        return await asyncio.to_thread(back_up, journal, Path(path))

    # -- answers ---------------------------------------------------------------------------

    async def result(self, run_id: str, *, timeout_s: float | None = None) -> RunResult:
        """Wait for a run's end and return how it ended.

        Raises `RunNotFound`, `TimedOut` after `timeout_s` (the run goes on), and `HistoryExpired`,
        saying how it ended, for a run whose facts were given up.
        """
        return await self._result(run_id, timeout_s)

    async def saga_result(self, saga_id: str, *, timeout_s: float | None = None) -> RunResult:
        """Wait until a saga has ended, or only a person can go on with it.

        Raises `SagaNotFound`, `TimedOut` after `timeout_s` (it goes on).
        """
        found = await self._result(saga_key(saga_id), timeout_s)
        return replace(found, run_id=saga_id)

    async def _result(self, run_id: str, timeout_s: float | None) -> RunResult:
        parts = self._open_parts()
        with self._waiting.end_of(run_id) as ended:
            known = await asyncio.to_thread(recorded_end, parts.journal, parts.deciders, run_id)
            if known is not None:
                resolve(ended, known)  # the run may have ended meanwhile
            return await self._wait(parts, run_id, ended, timeout_s)

    async def why(self, run: str, task: str | None = None) -> dict[str, Any]:
        """Return what a run or a saga, or a task of one, waits for at this moment, as plain data.

        `run` is an id, the beginning of one, or `@last`, of a saga if no run is so named;
        docs/reference/why.md describes the answer. Raises `RunNotFound`, `NotFound` for a task
        that there is not, `Stopping`.
        """
        asked = {"run": run, "task": task, "min_position": NOW}
        return dict(await ask_engine(self, "why", asked))

    async def _wait(
        self,
        parts: Parts,
        run_id: str,
        ended: asyncio.Future[RunResult],
        timeout_s: float | None,
    ) -> RunResult:
        try:
            async with asyncio.timeout(timeout_s):
                known = await ended
        except TimeoutError:
            what = "saga" if is_saga(run_id) else "run"
            msg = f"{what} {plain_id(run_id)} did not end within {timeout_s} s"
            raise TimedOut(msg, hint="it goes on; ask again") from None
        try:
            value = plain_copy(known.result)
        except HasReferences:
            value = await asyncio.to_thread(resolved, known.result, parts.load)
        return replace(known, result=value)

    async def subscribe(
        self,
        after: Cursor | Mapping[int, int] | None = None,
        *,
        run_id: str | None = None,
    ) -> AsyncIterator[Recorded]:
        """Yield durable facts behind a cursor (None: from the start), then as they come.

        `run_id` keeps only the facts of that run and its tasks. A slow reader lags behind, it
        loses nothing. Ends when the engine stops.
        """
        parts = self._open_parts()
        found = follow_log(parts.tail, self.bridge, after, run_id=run_id, at_once=_EVENTS_AT_ONCE)
        async with aclosing(found):
            async for items, _ in found:
                for recorded in items:
                    yield recorded
