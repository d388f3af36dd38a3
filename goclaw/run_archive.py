"""What is known of runs, asked of the views and the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.errors import GoclawError, NotFound, RunNotFound, UsageInvalid
from goclaw.results import RunUnsuccessful
from goclaw.run_records import (
    critical_path_record,
    path_record,
    run_outcome,
    run_summary,
    time_text,
)
from goclaw.step_records import step_records
from goclaw.task_places import place_of
from goclaw_actors.executors.resolve import resolved
from goclaw_events.codec import FACTS
from goclaw_events.errors import HistoryExpired
from goclaw_events.facts import TaskAwaiting, TaskCompleted, TaskScheduled, TaskWaiting
from goclaw_events.faults import Suggester
from goclaw_events.ids import plain_id, task_stream, workflow_stream
from goclaw_events.plan import in_order, pack_plan, plan_at, read_plan
from goclaw_events.replay import stream_turns
from goclaw_events.value import unpack
from goclaw_projections.critical import TaskHistory, critical_path, histories

if TYPE_CHECKING:
    from goclaw_events.journal import Journal
    from goclaw_events.plan import Plan
    from goclaw_events.value import BlobRef, Value
    from goclaw_projections.critical import Segment
    from goclaw_projections.runs import RunView
    from goclaw_projections.tasks import TaskView
    from goclaw_projections.views import Views

LAST: Final = "@last"
CANDIDATES_MAX: Final = 10
SUGGESTED_FROM_MAX: Final = 1000
_HINT_LIST: Final = "see `goclaw runs list`"


class RunUnfinished(GoclawError):
    """The run has no result yet."""

    code = "run_unfinished"


class RunArchive:
    """Answer questions about runs from the views of a log, as far as they have folded it."""

    def __init__(self, journal: Journal, views: Views) -> None:
        self._journal = journal
        self.views = views

    def find(self, text: str) -> RunView:
        """Return the run with this id, or the only one whose id begins so; `@last`: the newest.

        Raises `RunNotFound` with what was probably meant, `UsageInvalid` for several.
        """
        runs = self.views.runs
        found = runs.newest() if text == LAST else runs.get(text)
        if found is not None:
            return found
        if text == LAST:
            raise RunNotFound("there is no run yet", hint="goclaw run FILE")
        candidates = runs.starting_with(text, CANDIDATES_MAX) if text else []
        if len(candidates) == 1:
            only = runs.get(candidates[0])
            if only is not None:
                return only
        if candidates:
            msg = f"several runs begin with {text!r}"
            raise UsageInvalid(msg, hint="such as " + ", ".join(candidates), runs=candidates)
        recent = [run.run_id for run in runs.list(limit=SUGGESTED_FROM_MAX).runs]
        near = Suggester().nearest(text, recent)
        hint = f"did you mean {near!r}?" if near else _HINT_LIST
        if self.views.sagas.get(plain_id(text)) is not None:
            hint = f"it is a saga: goclaw sagas show {plain_id(text)}"
        raise RunNotFound(f"there is no run {text!r}", hint=hint, run_id=text)

    def plan(self, definition: BlobRef) -> Plan:
        """Return a plan, or a version of one, with every task that it ever had."""
        data = self._journal.blob(definition)
        return plan_at(read_plan(data, self._journal.blob, lambda _: None), definition)

    def packed_plan(self, definition: BlobRef) -> bytes:
        """Return a plan for people, as it is written: without what was replaced."""
        return pack_plan(in_order(self.plan(definition)))

    def first_definition(self, run_id: str) -> BlobRef:
        """Return the plan that a run was submitted with; raises `HistoryExpired`."""
        first = next(stream_turns(self._journal, workflow_stream(run_id)))
        ref: BlobRef = first.facts[0].data[0]
        return ref

    def tasks_of(self, run: RunView) -> dict[str, TaskView]:
        """Return every task of a run's plan, in its order."""
        task_ids = [task.id for task in self.plan(run.definition).tasks]
        return self.views.tasks.tasks_of(run.run_id, task_ids, run_ended=run.has_ended)

    def place_of(self, run: RunView, task_id: str) -> tuple[RunView, str]:
        """Return the run of a task that is named beside a run: an item is of the run below."""

        def child_of(run_id: str, task: str) -> str | None:
            known = self.views.tasks.get(run_id, task)
            return None if known is None else known.child

        place = place_of(run.run_id, task_id, lambda _: self.plan(run.definition), child_of)
        below = self.views.runs.get(place.run_id)
        return run if below is None else below, place.task

    def task_of(self, run: RunView, task_id: str) -> TaskView:
        """Return one task of a run; raises `NotFound` with what was probably meant."""
        tasks = self.tasks_of(run)
        task = tasks.get(task_id)
        if task is None:
            near = Suggester().nearest(task_id, list(tasks))
            hint = f"did you mean {near!r}?" if near else f"see `goclaw runs show {run.run_id}`"
            raise NotFound(f"run {run.run_id} has no task {task_id!r}", hint=hint, task=task_id)
        return task

    def result_of(self, run: RunView) -> Value:
        """Return a run's result in full; raises `RunUnfinished`, `RunUnsuccessful`."""
        if not run.has_ended:
            msg = f"run {run.run_id} is {run.status}"
            hint = f"goclaw resume, then goclaw runs result {run.run_id}"
            raise RunUnfinished(msg, hint=hint, run_id=run.run_id, status=run.status)
        if run.status != "completed":
            error = run.error
            why = f": {error.message} [{error.code}]" if error else ""
            hint = f"goclaw runs show {run.run_id}"
            raise RunUnsuccessful(f"run {run.run_id} {run.status}{why}", hint=hint)
        return resolved(run.result, self._load)

    def task_result_of(self, run: RunView, task_id: str, generation: int | None = None) -> Value:
        """Return the result of one task in full, whether or not its run has ended.

        `generation` None: the last. Raises `NotFound` for a task that the run has not,
        `RunUnfinished`, `RunUnsuccessful`, `HistoryExpired`.
        """
        task = self.task_of(run, task_id)
        what = f"task {task_id} of run {run.run_id}"
        if generation is not None and generation != task.generation:
            results = self._recorded_results(run.run_id, task_id)
            if generation not in results:
                msg = f"{what} has no result of generation {generation}"
                raise NotFound(msg, hint=f"see `goclaw runs show {run.run_id} --timeline`")
            return resolved(results[generation], self._load)
        if not task.has_ended:
            msg, hint = f"{what} is {task.status}", f"goclaw runs tail {run.run_id}"
            raise RunUnfinished(msg, hint=hint, run_id=run.run_id, status=task.status)
        if task.status != "completed":
            why = f": {task.error.message} [{task.error.code}]" if task.error else ""
            msg, hint = f"{what} {task.status}{why}", f"goclaw runs show {run.run_id} --timeline"
            raise RunUnsuccessful(msg, hint=hint, run_id=run.run_id, status=task.status)
        results = self._recorded_results(run.run_id, task_id)
        return resolved(results.get(task.generation), self._load)

    def _recorded_results(self, run_id: str, task_id: str) -> dict[int, Value]:
        """Return the results of a task by generation."""
        generation, results = 0, {}
        for turn in stream_turns(self._journal, task_stream(run_id, task_id)):
            for fact in turn.facts:
                said = FACTS.decode(fact.type, fact.version, fact.data)
                if isinstance(said, TaskScheduled | TaskWaiting | TaskAwaiting):
                    generation = said.generation
                elif isinstance(said, TaskCompleted):
                    results[generation] = said.result
        return results

    def critical_path_of(self, run: RunView) -> list[Segment]:
        """Return the path that decided when a run ended; raises `RunUnfinished`."""
        if run.ended_at_ns is None:
            msg = f"run {run.run_id} is {run.status}: what decides its end is still to come"
            hint = f"goclaw resume, then goclaw runs show {run.run_id} --critical"
            raise RunUnfinished(msg, hint=hint, run_id=run.run_id, status=run.status)
        plan = self.plan(run.definition)
        needs = {task.id: [plan.tasks[i].id for i in task.needs] for task in plan.tasks}
        tasks = histories(self.views.timeline.entries(run.run_id))
        for task_id, task in self.views.tasks.recorded(run.run_id):
            if task.status == "skipped" and task.completed_at_ns is not None:
                tasks[task_id] = TaskHistory("skipped", task.completed_at_ns, ())
        failed_task = run.error.task if run.error else ""
        return critical_path(run.submitted_at_ns, run.ended_at_ns, tasks, needs, failed_task)

    def record_of(
        self, run: RunView, *, timeline: bool = False, critical: bool = False, steps: bool = False
    ) -> dict[str, Any]:
        """Return everything that is known of a run, as JSON data; values are whole.

        `expired`: its facts were given up, and its input with them.
        """
        result = resolved(run.result, self._load)
        try:
            given, expired = resolved(self._input_of(run.run_id), self._load), False
        except HistoryExpired:
            given, expired = None, True
        record = {
            **run_summary(run),
            "input": given,
            "expired": expired,
            **run_outcome(run, self.tasks_of(run), result),
        }
        changes = self.views.runs.path_of(run.run_id)
        if changes:
            record["path"] = [path_record(one) for one in changes]
        if critical:
            record["critical_path"] = critical_path_record(self.critical_path_of(run))
        if steps:
            told = self.views.timeline.entries(run.run_id)
            record["steps"] = step_records(self._journal, run.run_id, told, self._load)
        if timeline:
            record["timeline"] = [
                {
                    "position": f"{run.position.partition}:{entry.number}",
                    "time": time_text(entry.time_ns),
                    "task": entry.task or None,
                    "type": entry.type,
                    "brief": entry.brief,
                }
                for entry in self.views.timeline.entries(run.run_id)
            ]
        return record

    def _input_of(self, run_id: str) -> Value:
        """Return the input that a run was submitted with: the first fact of its stream has it.

        Raises `HistoryExpired` where that was given up.
        """
        first = next(stream_turns(self._journal, workflow_stream(run_id)))
        return first.facts[0].data[2]

    def _load(self, ref: BlobRef) -> Value:
        return unpack(self._journal.blob(ref))
