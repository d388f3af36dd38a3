"""From what somebody wants changed in a run to the command that changes it.

Pure, given the run as it is: what it was made against stands in the command, which the run refuses
if it is another by then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw_actors.errors import PathRefused
from goclaw_actors.pathing import NOT_CHOSEN, PASSED, REPLACED, ChangePath
from goclaw_actors.statuses import ACTIVE, BLOCKED, PENDING, SKIPPED
from goclaw_events.faults import Fault
from goclaw_events.plan import Plan, pack_version
from goclaw_events.plan.fragment import NO_FRAGMENT, Fragment, Selection, compile_change
from goclaw_events.value import blob_of, pack, store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw_actors.workflow.state import Run
    from goclaw_events.faults import Finding
    from goclaw_events.value import BlobRef

_NOT_ENDED = frozenset({PENDING, ACTIVE})


class Choice(NamedTuple):
    """Of the tasks that need `after`, only `take` are to run."""

    after: str
    take: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to change.

    `skip`: tasks to pass over, each with the result that those see that need it. `rerun`: tasks to
    run again, with all that depends on them. `fragment`: tasks and needs to add, or (`replace`) to
    put in the place of all that has not begun. `said`: the same in plain data. `locate` says where
    in a text the fragment's faults are.
    """

    skip: Mapping[str, Any] = field(default_factory=dict)
    choose: Choice | None = None
    rerun: tuple[str, ...] = ()
    fragment: Fragment | None = None
    replace: bool = False
    said: Any = None
    locate: Callable[[list[Finding]], list[Fault]] | None = None


class Order(NamedTuple):
    """The command, what it refers to, and the plan that it makes (None: the one that there is)."""

    command: ChangePath
    blobs: dict[bytes, bytes]
    plan: Plan | None


def order_change(
    run: Run,
    wanted: Wanted,
    change: str,
    load: Callable[[BlobRef], bytes],
    has_begun: Callable[[str], bool],
    *,
    sender: str = "",
    reason: str = "",
    if_version: int | None = None,
) -> Order:
    """Return the command that makes a change of a run that was submitted.

    `load` reads a blob, `has_begun` tells of a task that is active whether it left its lane. Raises
    `InvalidDefinition` for a fragment, `PathRefused` for a choice, with every fault.
    """
    plan, base = run.plan, run.definition
    assert plan is not None, "it was submitted"
    assert base is not None, "it was submitted"
    chosen = _Chosen(run, plan, wanted, has_begun)
    blobs: dict[bytes, bytes] = {}
    skips = [[task, PASSED, store(result, blobs)] for task, result in wanted.skip.items()]
    skips += [[task, NOT_CHOSEN, None] for task in chosen.left_out]
    made = None
    if wanted.fragment is not None or chosen.freed:
        selection = Selection(frozenset(chosen.removed), frozenset(chosen.freed))
        more = {} if wanted.locate is None else {"locate": wanted.locate}
        made = compile_change(plan, wanted.fragment or NO_FRAGMENT, selection, **more)
        skips += [[task, REPLACED, None] for task in made.removed]
    ref = None
    if made is not None:
        data = pack_version(made.plan, made.change, base, load(base))
        ref = blob_of(data)
        blobs[ref.sha256] = data
    said = store(wanted.said, blobs)
    command = ChangePath(
        change,
        digest_of(wanted, sender, reason),
        None if made is None else base,
        ref,
        skips,
        list(wanted.rerun),
        [] if made is None else made.altered,
        [] if made is None else made.redefined,
        [] if made is None else made.added,
        [] if made is None else made.read,
        sender,
        reason,
        said,
        if_version,
    )
    return Order(command, blobs, None if made is None else made.plan)


def digest_of(wanted: Wanted, sender: str, reason: str) -> bytes:
    """Return what tells two changes of one id apart: what was asked for, by whom and why."""
    return blake2b(pack([wanted.said, sender, reason])).digest()


class _Chosen:
    """What a choice, or a replacement, means by the tasks that there are."""

    def __init__(
        self, run: Run, plan: Plan, wanted: Wanted, has_begun: Callable[[str], bool]
    ) -> None:
        self._run = run
        self._plan = plan
        self.left_out: list[str] = []
        self.freed: list[int] = []
        self.removed: list[int] = []
        if wanted.choose is not None:
            self._choose(wanted.choose)
        if wanted.replace:
            self._replace(has_begun)

    def _choose(self, choice: Choice) -> None:
        plan, statuses = self._plan, self._run.statuses
        after = plan.index.get(choice.after)
        if after is None:
            text = f"the run has no task {choice.after}"
            raise PathRefused([Fault("task_not_found", text, "choose.after")])
        branches = plan.tasks[after].dependents
        names = [plan.tasks[index].id for index in branches]
        faults = [
            Fault("task_not_found", f"{task} does not need {choice.after}", f"choose.{task}",
                  hint="known: " + ", ".join(names[:10]))
            for task in choice.take if task not in names
        ]  # fmt: skip
        for index in branches:
            task, status = plan.tasks[index], statuses[index]
            if task.id not in choice.take:
                if status not in (SKIPPED, BLOCKED):
                    self.left_out.append(task.id)
            elif status in (SKIPPED, BLOCKED):
                text = f"{task.id} was skipped already"
                faults.append(Fault("task_finished", text, f"choose.{task.id}", hint="rerun it"))
            elif status == PENDING and task.when is not None:
                self.freed.append(index)
        if faults:
            raise PathRefused(faults)

    def _replace(self, has_begun: Callable[[str], bool]) -> None:
        plan = self._plan
        for index, status in enumerate(self._run.statuses):
            unbegun = status == PENDING or (
                status == ACTIVE and not has_begun(plan.tasks[index].id)
            )
            if unbegun and index not in plan.removed:
                self.removed.append(index)
