"""Tasks of kind `exec`: programs, each a process group of its own, started without a shell."""

from __future__ import annotations

import functools
import json
import logging
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.executors.allowance import Allowance
from goclaw_actors.executors.children.executor import ChildExecutor
from goclaw_actors.executors.children.launcher import OUT_OF_MEMORY, Exit, Order
from goclaw_actors.executors.children.wire import FrameTooLarge
from goclaw_actors.executors.errors import (
    EXIT_NONZERO,
    KILLED_BY_SIGNAL,
    BadParams,
    ExecutorExhausted,
    LauncherDied,
    ProgramNotFound,
)
from goclaw_actors.executors.outcomes import (
    MESSAGE_BYTES_MAX,
    TRACE_BYTES_MAX,
    bounded,
    completed,
    not_begun,
    refused,
)
from goclaw_actors.executors.program import Capture, Feed, Pipes
from goclaw_actors.executors.run import limited
from goclaw_actors.work import Outcome
from goclaw_events.errors import CodedError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from goclaw_actors.executors.children.children import Children
    from goclaw_actors.executors.children.launcher import Child
    from goclaw_actors.executors.run import Shared
    from goclaw_actors.work import AttemptToken, Limit, StartAttempt
    from goclaw_events.value import Value

_EOF_S: Final = 1.0
"""After a program ended, what it said is waited for no longer than this."""
_KILLED_S: Final = 5.0
"""What was killed should be gone after this; otherwise it is abandoned."""
_WHY: Final = {
    int(signal.SIGXCPU): "it used more CPU time than executors.exec.cpu_s_max",
    int(signal.SIGXFSZ): "it wrote a file larger than executors.exec.file_bytes_max",
}
_log = logging.getLogger("goclaw.executors")


@dataclass(frozen=True, slots=True)
class ExecLimits:
    """What programs may be and take; `folder` '' is the current directory of the engine.

    At most `programs_max` run at once, the others wait. `limits`: see `launching.LIMITS`.
    """

    allowance: Allowance = field(default_factory=Allowance)
    folder: str = ""
    output_bytes_max: int = 1024 * 1024
    programs_max: int = 64
    kill_grace_s: float = 5.0
    limits: dict[str, int] = field(default_factory=dict)


class _Running:
    """An attempt on its way; `ending` is set once it was told to stop."""

    __slots__ = (
        "attempt",
        "began_s",
        "child",
        "ending",
        "error",
        "exit",
        "feed",
        "output",
        "over",
        "timer",
        "timers",
    )

    def __init__(self, attempt: StartAttempt) -> None:
        self.attempt = attempt
        self.began_s = 0.0
        self.child: Child | None = None
        self.ending: Outcome | None = None
        self.exit: Exit | None = None
        self.over = False
        self.feed: Feed | None = None
        self.output: Capture | None = None
        self.error: Capture | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.timers: list[asyncio.TimerHandle] = []

    def finish(self, outcome: Outcome) -> Outcome:
        """Return what to report."""
        return outcome


class ExecExecutor(ChildExecutor[_Running]):
    """Run programs; see `KindExecutor`. All but the counts belongs to the thread of the loop."""

    def __init__(self, shared: Shared, children: Children, limits: ExecLimits) -> None:
        super().__init__(shared, children, limits.kill_grace_s)
        self._limits = limits
        self._at_work = 0

    def waits(self, token: AttemptToken) -> bool:
        """Tell whether an attempt waits until another program has ended. Any thread."""
        run = self._runs.get(token)
        return run is not None and not run.began_s

    def start(self, attempts: Sequence[StartAttempt]) -> None:
        """Begin attempts, those beyond `programs_max` when another one has ended."""
        self._take_in(_Running(attempt) for attempt in attempts)

    def limit(self, limits: Sequence[tuple[AttemptToken, Limit]]) -> None:
        """Let programs have another time."""
        self._children.call(self._limit, limits)

    # What follows runs on the thread of the loop.

    def _next(self) -> None:
        while self._waiting and self._at_work < self._limits.programs_max:
            run = self._waiting.popleft()
            if run.attempt.token in self._runs and run.ending is None:
                self._at_work += 1
                then = functools.partial(self._begin, run)
                self._children.given(run.attempt.params, self._shared.ports, then)

    def _begin(self, run: _Running, params: Value, error: Exception | None) -> None:
        attempt = run.attempt
        if run.ending is not None or attempt.token not in self._runs:
            self._settle(run, run.ending)
            return
        if error is not None:
            self._settle(run, not_begun(attempt, error))
            return
        try:
            self._spawn(run, words_of(params), input_of(params))
        except OSError as fault:
            what = ExecutorExhausted(f"no program can be started: {fault}")
            self._settle(run, refused(attempt, what))
        except FrameTooLarge as fault:
            self._settle(run, not_begun(attempt, BadParams(f"`exec` is too long: {fault}")))
        except CodedError as fault:
            self._settle(run, not_begun(attempt, fault))

    def _spawn(self, run: _Running, argv: list[str], given: bytes | None) -> None:
        limits, attempt, loop = self._limits, run.attempt, self._children.loop
        folder = str(Path(limits.folder or ".").absolute())  # as it is now, not at the first order
        path = limits.allowance.locate(argv[0], folder)
        variables = limits.allowance.variables(attempt)
        pipes = Pipes(with_input=given is not None)
        ended = functools.partial(self._ended, run)
        run.output = Capture(loop, pipes.output, limits.output_bytes_max, ended)
        run.error = Capture(loop, pipes.error, limits.output_bytes_max, ended)
        if given is not None:
            run.feed = Feed(loop, pipes.input, given)
        order = Order(path, argv, variables, folder, limits.limits, pipes.theirs)
        exited, started = (functools.partial(do, run) for do in (self._exited, self._started))
        run.child = self._children.launcher.spawn(order, exited, started)

    def _started(self, run: _Running) -> None:
        """Count the time from now: the program runs."""
        run.began_s = time.monotonic()
        self._count(run, run.attempt.timeout_s)

    def _count(self, run: _Running, left_s: float | None) -> None:
        if run.timer is not None:
            run.timer.cancel()
        run.timer = None
        if left_s is not None and run.ending is None:
            run.timer = self._children.loop.call_later(left_s, self._time_out, run)

    def _limit(self, limits: Sequence[tuple[AttemptToken, Limit]]) -> None:
        for token, word in limits:
            run = self._runs.get(token)
            if run is None or run.ending is not None:
                continue
            ran_s = time.monotonic() - run.began_s if run.began_s else 0.0
            run.attempt = limited(run.attempt, word, ran_s)
            whole_s = run.attempt.timeout_s
            if run.began_s:
                self._count(run, None if whole_s is None else max(0.0, whole_s - ran_s))

    def _exited(self, run: _Running, end: Exit) -> None:
        run.exit = end
        if run.timer is not None:
            run.timer.cancel()
        if run.feed is not None:
            run.feed.close()
        # somebody who left the group may hold the pipes open for ever
        loop = self._children.loop
        run.timers.append(loop.call_later(_EOF_S, self._finish, run))
        self._ended(run)

    def _ended(self, run: _Running) -> None:
        """Finish once the program has ended and all that it said has been read."""
        said = (run.output, run.error)
        if run.exit is not None and not any(pipe is not None and pipe.open for pipe in said):
            self._finish(run)

    def _finish(self, run: _Running) -> None:
        assert run.exit is not None, "a program that is finished has ended"
        self._settle(run, run.ending or self._outcome(run, run.exit))

    def _outcome(self, run: _Running, end: Exit) -> Outcome:
        attempt = run.attempt
        assert run.output is not None, "a program that was started has pipes"
        assert run.error is not None, "a program that was started has pipes"
        if end.lost:
            fault = LauncherDied("the launcher died, and the program with it", hint="try again")
            return refused(attempt, fault)
        if end.refused:
            return _not_started(attempt, end, self._limits)
        error = self._said(run.error)
        if end.signal:
            return _failed(attempt, KILLED_BY_SIGNAL, _killed(end), error)
        if end.code:
            return _failed(attempt, EXIT_NONZERO, f"exit code {end.code}{_last_line(error)}", error)
        result = {
            "exit_code": end.code,
            "stdout": self._said(run.output),
            "stderr": error,
            "truncated": run.output.truncated or run.error.truncated,
            "duration_s": round(time.monotonic() - run.began_s, 6),
        }
        return completed(attempt, result)

    def _said(self, pipe: Capture) -> str:
        """Return what was kept, redacted before any of it is cut off for a message or a trace."""
        return self._shared.outbox.redactor.cut(pipe.text(), end=pipe.truncated)

    def _settle(self, run: _Running, outcome: Outcome | None) -> None:
        if run.over:
            return
        run.over = True
        self._at_work -= 1
        for timer in (run.timer, *run.timers):
            if timer is not None:
                timer.cancel()
        for pipe in (run.feed, run.output, run.error):
            if pipe is not None:
                pipe.close()
        if self._runs.pop(run.attempt.token, None) is not None and outcome is not None:
            self._shared.outbox.put([outcome])
        self._next()

    def _end(self, run: _Running, ending: Outcome, grace_s: float) -> None:
        if run.ending is not None or run.exit is not None:
            return
        run.ending = ending
        if run.timer is not None:
            run.timer.cancel()
        if run.child is None:  # it waits, or its parameters are being loaded
            if self._runs.pop(run.attempt.token, None) is not None:
                self._shared.outbox.put([ending])
            return
        self._children.launcher.signal(run.child, signal.SIGTERM)
        run.timers.append(self._children.loop.call_later(grace_s, self._kill, run))

    def _kill(self, run: _Running) -> None:
        if run.child is not None and run.exit is None:
            self._children.launcher.signal(run.child, signal.SIGKILL)
            later = self._children.loop.call_later(_KILLED_S, self._give_up, run)
            run.timers.append(later)

    def _give_up(self, run: _Running) -> None:
        """Report a program that not even the kernel can end: it waits for a device."""
        if run.exit is None and run.ending is not None:
            run.exit = Exit(lost=True)
            _log.error("a program of task %r cannot be killed", run.attempt.task_id)
            if self._runs.pop(run.attempt.token, None) is not None:
                self._shared.kept.abandon(run.ending)
            self._settle(run, None)


def words_of(params: Value) -> list[str]:
    """Return the words of a command line as texts; raises `BadParams`."""
    given = params.get("argv") if isinstance(params, dict) else None
    if not isinstance(given, list) or not given:
        raise BadParams("`exec` is a list: the program and its arguments")
    words = [_text(word) for word in given]
    if not words[0]:
        raise BadParams("`exec` names no program")
    if any("\0" in word for word in words):
        raise BadParams("a word of `exec` holds a zero byte, which no program can be given")
    return words


def input_of(params: Value) -> bytes | None:
    """Return what a program is fed: bytes and texts as they are, anything else as JSON."""
    given = params.get("stdin")
    if given is None or isinstance(given, bytes):
        return given
    return _text(given).encode("utf-8", "surrogateescape")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return json.dumps(value, ensure_ascii=False, default=repr)


def _failed(attempt: StartAttempt, code: str, message: str, error: str) -> Outcome:
    """Make the outcome of a program that failed; the end of what it complained is the trace."""
    told = bounded(f"program of task {attempt.task_id!r}: {message}", MESSAGE_BYTES_MAX)
    tail = error.encode("utf-8", "backslashreplace")[-TRACE_BYTES_MAX:].decode("utf-8", "ignore")
    return Outcome(attempt.stream, attempt.token, "failed", code=code, message=told, trace=tail)


def _not_started(attempt: StartAttempt, end: Exit, limits: ExecLimits) -> Outcome:
    reason = f"[errno {end.errno}]"
    if end.refused == "folder":
        fault: CodedError = ProgramNotFound(
            f"the directory of programs, {limits.folder!r}, cannot be entered {reason}",
            hint="set executors.exec.cwd to a directory",
        )
        return refused(attempt, fault, retryable=False)
    if end.refused == "program":
        fault = ProgramNotFound(
            f"the program cannot be executed {reason}",
            hint="is it a program of this machine, and its interpreter there?",
        )
        return refused(attempt, fault, retryable=False)
    fault = ExecutorExhausted(f"no process can be started: {end.refused} {reason}")
    return refused(attempt, fault)


def _killed(end: Exit) -> str:
    why = _WHY.get(end.signal, "")
    if end.oom:
        why = OUT_OF_MEMORY
    elif end.signal == signal.SIGKILL:
        why = "somebody outside killed it"
    return f"killed by {end.signal_name}{': ' if why else ''}{why}"


def _last_line(error: str) -> str:
    lines = error.rstrip().splitlines()
    return f": {lines[-1]}" if lines else ""


def exec_executor(children: Children, limits: ExecLimits) -> Callable[[Shared], ExecExecutor]:
    """Return what makes the executor of kind `exec` from what all executors share."""
    return lambda shared: ExecExecutor(shared, children, limits)
