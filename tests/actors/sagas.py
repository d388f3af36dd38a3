"""A saga on a stage: its actions and compensations are attempts that the test ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.compensating import CompensateSaga, ResolveSaga, RetrySaga
from goclaw_actors.message import Message
from goclaw_actors.messages import CancelRun, SubmitRun
from goclaw_actors.rebuild import fold
from goclaw_events.ids import saga_key, saga_stream, task_stream
from goclaw_events.plan import pack_plan
from goclaw_events.replay import stream_turns
from goclaw_events.saga import compile_saga, saga_from
from goclaw_events.value import blob_of, store
from tests.actors.stage import Stage

if TYPE_CHECKING:
    from goclaw_actors.message import Reply
    from goclaw_actors.saga import Saga
    from goclaw_actors.work import StartAttempt
    from goclaw_events.plan import Plan

S = saga_stream("s")
UNDO = ".compensation"


def step(*needs: str, undo: bool = True, **more: Any) -> dict[str, Any]:
    """Return a step whose action and compensation are agents."""
    action = {"agent": "do", **more.pop("action", {})}
    found: dict[str, Any] = {"action": action, "needs": list(needs), **more}
    if undo:
        found["compensation"] = {"agent": "undo", "retry": {"attempts": 1}}
    return found


CHAIN: dict[str, Any] = {"a": step(), "b": step("a"), "c": step("b")}


def saga_plan(steps: dict[str, Any], **head: Any) -> Plan:
    """Compile a saga."""
    return compile_saga(saga_from({"name": "trip", "steps": steps, **head}))


def submission(steps: dict[str, Any], saga_id: str = "s", **head: Any) -> Message:
    """Return what submits a saga; `given` is its input, `digest` that of the request."""
    given, digest = head.pop("given", {}), head.pop("digest", b"d")
    plan = saga_plan(steps, **head)
    data = pack_plan(plan)
    ref = blob_of(data)
    blobs = {ref.sha256: data}
    body = SubmitRun(ref, plan.name, store(given, blobs), {}, digest, None, "")
    message = Message(saga_stream(saga_id), body)
    message.blobs = blobs
    return message


class SagaStage(Stage):
    """A stage that knows sagas."""

    def begin(self, steps: dict[str, Any], saga_id: str = "s", **head: Any) -> None:
        """Submit a saga, and go on until nothing waits."""
        message = submission(steps, saga_id, **head)
        message.reply_to = self.replies.append
        self.node.accept(message)
        self.rest()

    def say(self, body: Any, saga_id: str = "s") -> Any:
        """Give a saga a command; return its answer."""
        heard: list[Reply] = []
        message = Message(saga_stream(saga_id), body)
        message.reply_to = heard.append
        self.node.accept(message)
        self.rest()
        return heard[0].answer if heard else None

    def compensate(self, reason: str = "") -> Any:
        """Have the saga undo what it did."""
        return self.say(CompensateSaga(reason, "me"))

    def retry(self) -> Any:
        """Have compensations that failed tried again."""
        return self.say(RetrySaga("me"))

    def resolve(self, reason: str = "seen to") -> Any:
        """End the saga by hand."""
        return self.say(ResolveSaga(reason, "me"))

    def stop_saga(self, reason: str = "") -> Any:
        """Cancel the saga as whoever began it does."""
        return self.say(CancelRun(reason, ""))

    @property
    def running(self) -> list[str]:
        """Return the tasks whose attempts run, in order of id."""
        return sorted(attempt.task_id for attempt in self.executor.held.values())

    def attempt(self, task: str) -> StartAttempt:
        """Return the running attempt of a task."""
        return next(each for each in self.executor.held.values() if each.task_id == task)

    def done(self, *tasks: str, status: str = "completed", **said: Any) -> None:
        """Let the attempts of tasks end, one after the other, and go on until nothing waits."""
        for task in tasks:
            self.end(self.attempt(task), status, **said)
            self.rest()

    def fail(self, *tasks: str, **said: Any) -> None:
        """Let the attempts of tasks fail."""
        self.done(*tasks, status="failed", **said)

    def saga(self, saga_id: str = "s") -> Saga:
        """Return the saga as its durable facts leave it."""
        stream = saga_stream(saga_id)
        state: Saga = fold(self.kinds["saga"], stream, stream_turns(self.journal, stream))
        return state

    def task_facts(self, task: str, saga_id: str = "s") -> list[str]:
        """Return the types of the facts of a task of a saga."""
        return self.names(task_stream(saga_key(saga_id), task))
