"""What agents do in a test: fail, wait, hang or answer as a script says, and who called them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Self

from goclaw.errors import UsageInvalid
from goclaw_actors.executors.errors import Cancelled, Fail
from goclaw_events.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw.testing.time import VirtualTime
    from goclaw_actors.executors.context import TaskContext


class Call(NamedTuple):
    """An attempt that began: of which task, with which parameters, and the how manieth.

    `script`: the agent, or the task, that the script is of which it asked.
    """

    script: str
    run_id: str
    task: str
    attempt: int
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """What one attempt does before the agent, or instead of it.

    `wait_s` comes first (None: for ever); then `error` is raised, or `result` given if `answers`;
    otherwise the agent itself is called. `kills`: the engine's process ends as the attempt begins.
    """

    wait_s: float | None = 0.0
    error: BaseException | None = None
    answers: bool = False
    result: Any = None
    kills: bool = False

    @property
    def is_instead(self) -> bool:
        """Tell whether the agent itself is not called."""
        return self.answers or self.error is not None or self.wait_s is None


ITSELF: Final = Step()
LOOK_EVERY_S: Final = 0.005


class Script:
    """What the next attempts of an agent, or of a task, do, in order; then they are themselves.

    One that is not registered needs a script that says something for every attempt. Each method
    returns the script, so that they can be written one after the other; each takes how many
    attempts it is about (`times`), and how long (`30s`, or seconds) it takes first, in virtual
    time. `calls` are the attempts that began, in order.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[Call] = []
        self._steps: deque[Step] = deque()
        self._always: Step | None = None
        self._lock = threading.Lock()

    def fails(
        self,
        code: str = "agent_error",
        message: str = "as the script says",
        *,
        times: int = 1,
        retryable: bool = True,
        takes: float | str = 0.0,
    ) -> Self:
        """Fail, with a code that a workflow can tell apart."""
        return self.raises(Fail(message, code=code, retryable=retryable), times=times, takes=takes)

    def raises(self, error: BaseException, *, times: int = 1, takes: float | str = 0.0) -> Self:
        """Raise an exception, as the agent would."""
        return self._add(times, Step(parse_duration(takes), error))

    def returns(self, result: Any, *, times: int | None = None, takes: float | str = 0.0) -> Self:
        """Return a value instead of calling the agent; `times` None: from then on always."""
        step = Step(parse_duration(takes), answers=True, result=result)
        if times is not None:
            return self._add(times, step)
        with self._lock:
            self._always = step
        return self

    def passes(self, *, times: int = 1, takes: float | str = 0.0) -> Self:
        """Call the agent itself."""
        return self._add(times, Step(parse_duration(takes)))

    def hangs(self, *, times: int = 1) -> Self:
        """Never end, until the attempt is stopped."""
        return self._add(times, Step(wait_s=None))

    def crashes(self, *, times: int = 1) -> Self:
        """Kill the engine's process as the attempt begins; it starts again on its log."""
        return self._add(times, Step(wait_s=None, kills=True))

    def _add(self, times: int, step: Step) -> Self:
        if times < 1:
            msg = f"{self.name!r} is to do something {times} times"
            raise UsageInvalid(msg, hint="at least once")
        with self._lock:
            self._steps.extend([step] * times)
        return self

    def next_step(self, call: Call) -> Step:
        """Take note of an attempt that begins, and return what it does. Any thread."""
        with self._lock:
            self.calls.append(call)
            if self._steps:
                return self._steps.popleft()
            return self._always or ITSELF


class Acting:
    """Call agents as their scripts say.

    `tasks` are the scripts of tasks by id, which go before those of agents. `time` is that of the
    process they run in, which `kill` ends, from any thread.
    """

    def __init__(self, kill: Callable[[VirtualTime], None]) -> None:
        self.time: VirtualTime | None = None
        self.tasks: dict[str, Script] = {}
        self._kill = kill

    def on_loop(self, script: Script, function: Callable[..., Any] | None) -> Callable[..., Any]:
        """Return what is called for an async agent; `function` None: it is not registered."""

        async def act(ctx: TaskContext, /, **params: Any) -> Any:
            step = self._step(script, ctx)
            if step.is_instead:
                return await self.act(step)
            if step.wait_s:
                await asyncio.sleep(step.wait_s)
            return await _known(script, function)(ctx, **params)

        return act

    async def act(self, step: Step) -> Any:
        """Do what a step says instead of an agent."""
        self._end_process(step)
        if step.wait_s is None:
            await asyncio.Event().wait()
        elif step.wait_s:
            await asyncio.sleep(step.wait_s)
        if step.error is not None:
            raise step.error
        return step.result

    def in_thread(self, script: Script, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what is called for any other agent."""

        def act(ctx: TaskContext, /, **params: Any) -> Any:
            step = self._step(script, ctx)
            self._end_process(step)
            if step.wait_s != 0.0 and self.time is not None and not self.time.nap(step.wait_s):
                _leave(ctx)
            if step.error is not None:
                raise step.error
            return step.result if step.answers else function(ctx, **params)

        return act

    def _step(self, script: Script, ctx: TaskContext) -> Step:
        asked = self.tasks.get(ctx.task_id, script)
        place = (ctx.run_id, ctx.task_id, ctx.attempt)
        return asked.next_step(Call(asked.name, *place, dict(ctx.params)))

    def _end_process(self, step: Step) -> None:
        if step.kills and self.time is not None:
            self._kill(self.time)


def _leave(ctx: TaskContext) -> NoReturn:
    """End an attempt with its engine, and not before: what it says must not be recorded."""
    while not ctx.cancelled:
        time.sleep(LOOK_EVERY_S)
    raise Cancelled


def _known(script: Script, function: Callable[..., Any] | None) -> Callable[..., Any]:
    if function is None:
        msg = f"agent {script.name!r} is not registered, and its script is over"
        raise Fail(msg, code="script_over", retryable=False)
    return function
