"""Read what members of a collector came to, from where it stands: their own streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.collected import gathered_from, unmet
from goclaw.collector_records import collector_at
from goclaw.recorded_end import recorded_end
from goclaw_actors.collector.state import Member
from goclaw_actors.executors.resolve import resolved
from goclaw_actors.recent import RecentFrames
from goclaw_events.codec import FACTS
from goclaw_events.errors import HistoryExpired
from goclaw_events.facts import (
    TaskCancelled,
    TaskCompleted,
    TaskEnded,
    TaskFailed,
    TaskScheduled,
    TaskWaiting,
)
from goclaw_events.ids import partition_of, task_stream, workflow_stream
from goclaw_events.replay import stream_turns
from goclaw_events.value import BlobRef, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw_actors.collector import Collector
    from goclaw_actors.decider import Decider
    from goclaw_events.journal import Journal
    from goclaw_events.value import CollectedRef, Value

AT_ONCE: Final = 16
UNKNOWN: Final = "unknown"
FRAMES_PLAIN: Final = 2


class Gathering:
    """Records of what ended, for one reader at a time; blocks."""

    def __init__(self, journal: Journal, kinds: Mapping[str, Decider[Any]]) -> None:
        self._journal = journal
        self._kinds = kinds
        self._recent = RecentFrames()

    def records(self, collector: Collector, after: int) -> list[dict[str, Any]]:
        """Return what ended behind a cursor, as plain data: some of it, values in full.

        At most `AT_ONCE`, and nothing behind a large value. Raises what reading the log raises.
        """
        found: list[dict[str, Any]] = []
        for number in range(after, min(collector.tally.ended, after + AT_ONCE)):
            record = self._record(collector, number)
            result = record["result"]
            found.append({**record, "result": resolved(result, self._load), "cursor": number + 1})
            if isinstance(result, BlobRef):
                break
        return found

    def collected(self, ref: CollectedRef) -> dict[str, Any]:
        """Return what a task is given of a collector, in the order of its members.

        Large results stay references. Raises `CollectUnmet` where the task is not to go on with
        what there is.
        """
        collector = collector_at(self._journal, ref.collector)
        gathered = [self._record(collector, n) for n in range(collector.tally.ended)]
        missing = [Member(*member).name for member in collector.missing()]
        status = collector.status
        allowed = {"met": True, "unmet": ref.unmet, "partial": ref.partial}
        if not allowed.get(status, False):
            ends = [gathered_from({**record, "cursor": 0}) for record in gathered]
            raise unmet(ref.collector, status, collector.reason, ends, missing)
        gathered.sort(key=lambda r: collector.places[r["run_id"], r["task"]])
        return {
            "collector_id": ref.collector, "status": status, "reason": collector.reason,
            "vote": collector.vote, "gathered": gathered, "missing": missing,
        }  # fmt: skip

    def _record(self, collector: Collector, number: int) -> dict[str, Any]:
        """Return how the member ended that did so as the `number`th."""
        outcome = collector.outcomes.get(number)
        assert outcome is not None, "outcomes are numbered without a gap"
        place, generation, status, vote = outcome
        run_id, task = collector.members[place]
        result, error = self._end_of(run_id, task, status, generation)
        return {
            "run_id": run_id, "task": task, "status": status, "result": result, "error": error,
            "generation": generation, "vote": vote,
        }  # fmt: skip

    def _end_of(
        self, run_id: str, task: str, status: str, generation: int
    ) -> tuple[Value, list[str] | None]:
        """Return the result of a member, and why it failed: [code, message]."""
        if status == UNKNOWN:
            return None, [UNKNOWN, f"there is no {_named(run_id, task)}, or nothing is kept of it"]
        try:
            found = self._task(run_id, task, generation) if task else self._run(run_id)
        except HistoryExpired as error:
            found = (None, [error.code, error.message])
        result, error_of = found
        if status in ("completed", "skipped"):
            return result, None if result is not None or status == "skipped" else error_of
        return None, error_of or [status, f"{_named(run_id, task)} was {status}"]

    def _run(self, run_id: str) -> tuple[Value, list[str] | None]:
        ended = recorded_end(self._journal, self._kinds, run_id)
        if ended is None:
            return None, None
        error = ended.error
        return ended.result, None if error is None else [error.code, error.message]

    def _task(self, run_id: str, task: str, generation: int) -> tuple[Value, list[str] | None]:
        stream = task_stream(run_id, task)
        match self._end(stream, generation):
            case TaskCompleted(result=result):
                return result, None
            case TaskFailed(code, message):
                return None, [code, message]
            case TaskCancelled(reason):
                return None, ["cancelled", reason]
            case _:
                return None, self._never_begun(run_id, task)

    def _end(self, stream: str, generation: int) -> Any:
        """Return the last fact that ends a generation of a task; None: there is none.

        A later generation may have ended since: what was collected stays what it was. A stream of
        `FRAMES_PLAIN` frames has one generation that was begun: its end is in the last one.
        """
        journal = self._journal
        where = partition_of(stream, journal.partitions)
        frames = [data for _, data in journal.stream_frames(where, stream)]
        if len(frames) <= FRAMES_PLAIN:
            found = self._ends(frames[-1:], stream)
            if found:
                return found[-1][1]
        of_it = [end for of, end in self._ends(frames, stream) if of == generation]
        return of_it[-1] if of_it else None

    def _ends(self, frames: Sequence[bytes], stream: str) -> list[tuple[int, Any]]:
        """Return the facts in some frames that end a task, each with its generation."""
        found: list[tuple[int, Any]] = []
        generation = 0
        for data in frames:
            for turn in self._recent.turns(data, stream, 0):
                for fact in turn.facts:
                    said = FACTS.decode(fact.type, fact.version, fact.data)
                    if isinstance(said, (TaskScheduled, TaskWaiting)):
                        generation = said.generation
                    elif isinstance(said, (TaskCompleted, TaskFailed, TaskCancelled)):
                        found.append((generation, said))
        return found

    def _never_begun(self, run_id: str, task: str) -> list[str] | None:
        """Return why a task failed that could not be begun: its run alone says so."""
        for turn in stream_turns(self._journal, workflow_stream(run_id)):
            for fact in turn.facts:
                said = FACTS.decode(fact.type, fact.version, fact.data)
                if isinstance(said, TaskEnded) and said.task == task and said.error:
                    return list(said.error)
        return None

    def _load(self, ref: BlobRef) -> Value:
        return unpack(self._journal.blob(ref))


def _named(run_id: str, task: str) -> str:
    return f"task {task} of run {run_id}" if task else f"run {run_id}"
