"""The part of the task context that spawns tasks: recorded before they begin, once for a key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.errors import ChildTooDeep, FanOutTooLarge
from goclaw_actors.executors.errors import SpawnFailed, StepInvalid
from goclaw_actors.executors.resolve import resolved
from goclaw_actors.executors.sleeping import SLEEP_S_MAX, Sleeping
from goclaw_actors.executors.steps import StepApart, digest_of, kept_result
from goclaw_actors.executors.window import is_on_loop
from goclaw_events.definition import TaskDefinition
from goclaw_events.facts import SPAWN, SPAWNED
from goclaw_events.faults import path_text
from goclaw_events.ids import is_id
from goclaw_events.loading import fields_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw_events.value import Value

SPAWNED_MAX: Final = 1_000
"""A task spawns so many; who has more gives each a part, or returns a list for `foreach`."""
SPAWN_DEPTH_MAX: Final = 8
"""So many tasks may have been spawned one by the other."""
KEY_CHARS_MAX: Final = 100


class Spawned:
    """A task that was spawned: `id` is its own, within the run."""

    __slots__ = ("_context", "id", "key")

    def __init__(self, context: Spawning, key: str) -> None:
        self._context = context
        self.key = key
        self.id = f"{context._attempt.task_id}/{key}"  # noqa: SLF001 - the other half of it

    def result(self) -> Any:
        """Wait for the end of the task, and return its result. In an async agent it is awaited.

        Where it has not ended, and all else of the attempt waits or sleeps, the attempt ends and
        gives its slot back; when all that is waited for has ended another begins, which gets what
        was recorded. What is no step is done again. Raises `SpawnFailed`.
        """
        return self._context.joined(self.key)

    def __repr__(self) -> str:
        return f"Spawned({self.id!r})"


class Spawning(Sleeping):
    """Tasks of the same run that a handler begins, and may wait for."""

    __slots__ = ()

    def spawn(
        self,
        agent: str | Callable[..., Any],
        params: Mapping[str, Any] | None = None,
        /,
        *,
        key: str,
        may_fail: bool = False,
        **more: Any,
    ) -> Any:
        """Begin another task of the run, and return its `Spawned`. In an async agent it is awaited.

        It is the task `<this task>/<key>`, has a lane, attempts and a result of its own, and begins
        once it is recorded. An attempt after this one that asks for the same key gets the same
        task; with other arguments it is `StepChanged`. `agent` is a registered name, or a
        decorated function; `more` is what a definition says of a task: `lane`, `priority`,
        `timeout`, `total_timeout`, `retry`... This task ends when all have that it spawned, and
        fails with `spawn_failed` if one does, unless that `may_fail`.

        A durable step, and a boundary as one. Raises `StepInvalid`, `AgentUnknown` (not in a worker
        process, which cannot know), `FanOutTooLarge` for more than 1,000, and `ChildTooDeep` for
        what was spawned by a spawned task too often.
        """
        name = agent if isinstance(agent, str) else getattr(agent, "__goclaw_agent__", "")
        said = self._said(name, key, more)
        blobs: dict[bytes, bytes] = {}
        kept = kept_result(dict(params or {}), blobs)
        step = (SPAWN, key)
        if self._journal().recorded(step) is None:
            self._check_room()
            self._ports.require_agent(name)
        result = StepApart([said, kept, may_fail], blobs)
        digest = digest_of((said, dict(params or {}), may_fail), {})
        return self._do(step, digest, lambda: result, lambda _: Spawned(self, key))

    def joined(self, key: str) -> Any:
        """Return the result of a spawned task, waiting for it; see `Spawned.result`."""
        return self._join_on_loop(key) if is_on_loop() else self._join_in_thread(key)

    async def _join_on_loop(self, key: str) -> Any:
        while (found := self._journal().recorded((SPAWNED, key))) is None:
            await self._rest_on_loop(self._due_ns(SLEEP_S_MAX), key)
        return _told(f"{self._attempt.task_id}/{key}", resolved(found, self._ports.load))

    def _join_in_thread(self, key: str) -> Any:
        while (found := self._journal().recorded((SPAWNED, key))) is None:
            self._rest_in_thread(self._due_ns(SLEEP_S_MAX), key)
        return _told(f"{self._attempt.task_id}/{key}", resolved(found, self._ports.load))

    def _said(self, name: str, key: str, more: Mapping[str, Any]) -> str:
        """Return what is said of a task as JSON; raises `StepInvalid`, `ChildTooDeep`."""
        if not is_id(key) or len(key) > KEY_CHARS_MAX:
            msg = f"{key[:80]!r} is no key of a spawned task"
            hint = f"1 to {KEY_CHARS_MAX} of A-Z a-z 0-9 _ . : - as for the id of a task"
            raise StepInvalid(msg, hint=hint)
        task_id = self._attempt.task_id
        if task_id.count("/") >= SPAWN_DEPTH_MAX:
            msg = f"task {task_id} was spawned {SPAWN_DEPTH_MAX} tasks below the first one"
            raise ChildTooDeep(msg, hint="end the recursion", depth=SPAWN_DEPTH_MAX)
        said = {"agent": name, **more}
        faults = [f"{word!r} cannot be said of it" for word in sorted(set(more) - _SAID)]
        if not name:
            faults.append("its agent is neither a registered name nor a decorated function")
        known = {word: value for word, value in more.items() if word in _SAID}
        _, findings = fields_of(TaskDefinition, {"agent": name or key, **known})
        faults += [f"{path_text(found.where)}: {found.message}" for found in findings]
        if faults:
            msg = f"task {task_id}/{key} cannot be spawned so: {'; '.join(faults)}"
            raise StepInvalid(msg, hint="it may have " + ", ".join(sorted(_SAID)))
        try:
            return json.dumps(said, sort_keys=True)
        except TypeError as error:
            msg = f"task {task_id}/{key} cannot be spawned so: {error}"
            raise StepInvalid(msg, hint="say it as a definition does") from error

    def _check_room(self) -> None:
        if self._journal().count(SPAWN) >= SPAWNED_MAX:
            msg = f"task {self._attempt.task_id} has spawned {SPAWNED_MAX} tasks"
            hint = "let each spawn a part of them, or return a list for a task with `foreach`"
            raise FanOutTooLarge(msg, hint=hint)


_SAID: Final = frozenset(
    {
        "lane", "priority", "units", "cost", "timeout", "queue_timeout", "total_timeout",
        "heartbeat_timeout", "retry", "labels", "description",
    }
)  # fmt: skip


def _told(task_id: str, ended: Any) -> Value:
    status, result, error = ended
    if status == "completed":
        return result
    code, message = error or ["cancelled", "it was cancelled"]
    raise SpawnFailed(f"task {task_id} {status}: {message}", task=task_id, reason=code)
