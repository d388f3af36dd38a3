"""The run that a task stands for: what is submitted, and what its end means to the task.

Its id follows from the task and the attempt, and `ChildStarted` records it in the frame that holds
the submission: however often anything is delivered or started again, one attempt is one run. Where
the retry policy allows another attempt, that is another run.
"""

from __future__ import annotations

from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.decider import Send
from goclaw_actors.messages import CancelRun, ChildEnded, SubmitRun
from goclaw_actors.task.limits import after_ns
from goclaw_actors.task.state import COMPLETED
from goclaw_actors.work import AttemptToken, Outcome
from goclaw_events.facts import ChildStarted
from goclaw_events.ids import is_saga, owner_stream, plain_id, saga_key
from goclaw_events.inputs import checked_input
from goclaw_events.value import BlobRef, pack

if TYPE_CHECKING:
    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_actors.task.state import Task
    from goclaw_events.plan import Plan
    from goclaw_events.value import Value

CANCELLED: Final = "child_cancelled"
TENANT: Final = "tenant"
"""The label that says for whom a run is: its children are for the same."""


class Order(NamedTuple):
    """What a child run is begun with. Times are 0 where there is none."""

    plan: BlobRef
    depth: int
    children: dict[str, BlobRef] | None
    params: Value
    ends_ns: int
    timeout_s: float | None


def child_id(run_id: str, task_id: str, generation: int, attempt: int) -> str:
    """Return the id of the run that an attempt of a task stands for."""
    return "run_c" + _digest(run_id, task_id, generation, attempt)


def _digest(*said: str | int) -> str:
    return blake2b("\0".join(map(str, said)).encode(), digest_size=16).hexdigest()


def start(
    task: Task, generation: int, order: Order, contents: Contents, moment: Moment
) -> tuple[ChildStarted, Send]:
    """Return the fact and the submission of a task's next attempt; raises `InvalidInput`."""
    plan = contents.plan(order.plan)
    attempt = task.attempt + 1
    given = order.params if plan.mapped is not None else _input(plan, order.params, contents)
    if plan.steps:
        run_id = saga_key("saga_c" + _digest(task.run_id, task.task_id, generation, attempt))
    else:
        run_id = child_id(task.run_id, task.task_id, generation, attempt)
    own_ns = after_ns(moment.now_ns, order.timeout_s)
    deadline_ns = min((due_ns for due_ns in (order.ends_ns, own_ns) if due_ns), default=0)
    labels = {**plan.labels, TENANT: task.tenant} if task.tenant else plan.labels
    digest = sha256(pack([order.plan.sha256, given, sorted(labels.items())])).digest()
    submit = SubmitRun(
        order.plan,
        plan.name,
        given,
        labels,
        digest,
        None,
        "",
        task.stream,
        order.depth,
        deadline_ns,
        order.children,
    )
    return ChildStarted(attempt, run_id, order.plan), Send(owner_stream(run_id), submit)


def _input(plan: Plan, params: Value, contents: Contents) -> dict[str, Any]:
    """Return what the task hands over as the input of a run, large values as references."""
    given = contents.value(params) if isinstance(params, BlobRef) else params or {}
    whole = {
        name: contents.value(value) if isinstance(value, BlobRef) else value
        for name, value in given.items()
    }
    checked = checked_input(plan.name, plan.inputs, whole)
    return {name: given.get(name, value) for name, value in checked.items()}


def cancel(task: Task, reason: str) -> Send:
    """Return what cancels the run that the task waits for."""
    return Send(owner_stream(task.child_run), CancelRun(reason, task.stream))


def outcome_of(task: Task, message: ChildEnded, moment: Moment) -> Outcome:
    """Return what the end of a child would be as the outcome of an attempt."""
    token = AttemptToken(moment.partition, moment.era, 0)
    if message.status == COMPLETED:
        return Outcome(task.stream, token, COMPLETED, message.result)
    if message.error is None:
        text = f"{_named(message.run_id)} was cancelled"
        return Outcome(task.stream, token, "failed", code=CANCELLED, message=text, retryable=False)
    code, said = message.error
    text = f"{_named(message.run_id)} failed: {said}"
    return Outcome(task.stream, token, "failed", code=code, message=text)


def _named(key: str) -> str:
    return f"{'saga' if is_saga(key) else 'run'} {plain_id(key)}"
