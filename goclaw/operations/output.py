"""The output of tasks: what was written, and what comes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from goclaw.errors import NotFound, RunNotFound, UsageInvalid
from goclaw.following import follow_log
from goclaw.operations.operation import Params, follow
from goclaw.task_places import Place, place_of, state_in
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_events.codec import FACTS
from goclaw_events.facts import (
    RunCancelled,
    RunCompleted,
    RunFailed,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
)
from goclaw_events.ids import check_id, partition_of, task_stream, workflow_stream
from goclaw_events.output import Place as OutputPlace
from goclaw_events.output import read_output
from goclaw_events.replay import stream_turns

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from goclaw.operations.ground import Ground
    from goclaw_events.output import Chunk

CHUNKS_AT_ONCE: Final = 64
FACTS_AT_ONCE: Final = 64
_ENDS: Final = {
    TaskCompleted: "completed", TaskFailed: "failed", TaskCancelled: "cancelled",
    RunCompleted: "skipped", RunFailed: "cancelled", RunCancelled: "cancelled",
}  # fmt: skip
"""How a task has ended by a fact of its own, or by one of its run that it had not ended before."""


class Output(Params):
    """Whose output, and from where on."""

    run_id: str
    """The id of the run."""
    task: str | None = None
    """The task; may be left out where the run has only one."""
    after: str | None = None
    """A cursor; nil: from the beginning."""


async def _output(ground: Ground, asked: Output) -> AsyncGenerator[dict[str, Any], None]:
    reader = await asyncio.to_thread(_Reader, ground, asked)
    with contextlib.ExitStack() as listening:
        reader.listen(listening)
        watching = asyncio.ensure_future(reader.watch())
        try:
            async for part in _parts(reader, watching, live=ground.bridge is not None):
                yield part
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


async def _parts(
    reader: _Reader, watching: asyncio.Future[None], *, live: bool
) -> AsyncGenerator[dict[str, Any], None]:
    while True:
        reader.ready.clear()
        ended = reader.ended  # first: what was emitted before the end is written by then
        is_over = watching.done()
        chunks = await asyncio.to_thread(reader.read)
        if chunks:
            yield {"chunks": [_plain(chunk) for chunk in chunks], "cursor": reader.cursor,
                   "ended": None}  # fmt: skip
        elif ended:
            yield {"chunks": [], "cursor": reader.cursor, "ended": ended}
            return
        elif is_over:
            await watching
            return
        elif live or not watching.done():
            await reader.ready.wait()


class _Reader:
    """The output of one task, read as it comes."""

    def __init__(self, ground: Ground, asked: Output) -> None:
        check_id(asked.run_id, "run id")
        self._ground = ground
        self._run_id, self._task = _place_of(ground, asked)
        self._stream = task_stream(self._run_id, self._task)
        self._of_run = workflow_stream(self._run_id)
        self._where = partition_of(self._stream, ground.journal.partitions)
        self._place = None if asked.after is None else OutputPlace.parse(asked.after)
        self._end = ground.tail.end()
        self.ready = asyncio.Event()
        self.ended = ""
        # the end of the log first: what comes between is told twice, and not missed
        for stream in (workflow_stream(self._run_id), self._stream):
            for turn in stream_turns(ground.journal, stream):
                for fact in turn.facts:
                    self._take(stream, FACTS.decode(fact.type, fact.version, fact.data))

    @property
    def cursor(self) -> str | None:
        return None if self._place is None else str(self._place)

    def listen(self, stack: contextlib.ExitStack) -> None:
        """Hear of chunks that are written."""
        outputs, bridge = self._ground.outputs, self._ground.bridge
        if outputs is not None and bridge is not None:
            stack.enter_context(outputs.listen(self._stream, lambda: bridge.post(self.ready.set)))

    async def watch(self) -> None:
        """Hear of the end of the task."""
        ground = self._ground
        try:
            async for items, _ in follow_log(
                ground.tail, ground.bridge, self._end, run_id=self._run_id, at_once=FACTS_AT_ONCE
            ):
                for item in items:
                    self._take(item.stream, item.fact)
                if self.ended:
                    return
        finally:
            self.ready.set()

    def _take(self, stream: str, fact: Any) -> None:
        if stream not in (self._stream, self._of_run):
            return  # another task of the run
        ended = _ENDS.get(type(fact), "")
        if ended and (stream == self._stream or not self.ended):
            self.ended = ended
            self.ready.set()

    def read(self) -> list[Chunk]:
        """Return the next chunks that are written."""
        found: list[Chunk] = []
        after = self._place
        for chunk in read_output(
            self._ground.journal, self._where, self._run_id, self._task, after
        ):
            found.append(chunk)
            if len(found) == CHUNKS_AT_ONCE:
                break
        if found:
            self._place = found[-1].place
        return found


def _place_of(ground: Ground, asked: Output) -> Place:
    first = next(stream_turns(ground.journal, workflow_stream(asked.run_id)), None)
    if first is None:
        msg = f"there is no run {asked.run_id}"
        raise RunNotFound(msg, hint="goclaw runs list", run_id=asked.run_id)
    known = ground.views.runs.get(asked.run_id)  # its path may have been changed
    definition = first.facts[0].data[0] if known is None else known.definition
    plan = StoredContents(ground.journal).plan(definition)
    if asked.task is not None:
        place = place_of(asked.run_id, asked.task, lambda _: plan, _child_of(ground))
        if place.run_id != asked.run_id:
            return _place_of(ground, asked.model_copy(update=place._asdict()))
        stream = task_stream(*place)
        partition = partition_of(stream, ground.journal.partitions)
        # what a task spawned is of no plan: it has facts, or is not
        is_spawned = ground.journal.last_seq(partition, stream) > 0
        if asked.task in plan.index or is_spawned:
            return place
        msg = f"run {asked.run_id} has no task {asked.task!r}"
        raise NotFound(msg, hint=f"goclaw runs show {asked.run_id}", task=asked.task)
    if len(plan.tasks) != 1:
        names = ", ".join(task.id for task in plan.tasks[:10])
        msg = f"run {asked.run_id} has {len(plan.tasks)} tasks; say which"
        raise UsageInvalid(msg, hint=f"its tasks: {names}")
    return Place(asked.run_id, plan.tasks[0].id)


def _child_of(ground: Ground) -> Callable[[str, str], str]:
    def child_of(run_id: str, task: str) -> str:
        kinds = deciders(StoredContents(ground.journal))
        return str(state_in(ground.journal, kinds, task_stream(run_id, task)).child_run)

    return child_of


def _plain(chunk: Chunk) -> dict[str, Any]:
    generation, attempt, number = chunk.place
    return {
        "generation": generation, "attempt": attempt, "number": number, "time_ns": chunk.time_ns,
        "value": chunk.value, "cursor": str(chunk.place),
    }  # fmt: skip


OPERATIONS: Final = (
    follow("output", Output, _output, "Give the output of a task, each chunk once, in order, until "
           "the task has ended.",
           "parts `{chunks: [{generation, attempt, number, time_ns, value, cursor}], cursor, "
           "ended: nil or a status}`"),
)  # fmt: skip
