"""What each place where work runs can do: the table of docs/reference/executors.md."""

from __future__ import annotations

from typing import Final, NamedTuple


class Support(NamedTuple):
    """What one executor offers; '' is what it does not.

    `runs`: what runs there. `cancel`: how work is asked to end. `kill`: what happens to work that
    does not end within its grace. `timeout`: what happens when its time is over. `progress`,
    `logs`: how they reach the engine. `heartbeat`: its signs of life. `limits`: what bounds it.
    `live`, `signals`, `boundary` and `save` are parameters that change while it runs, messages to
    it, points at which it may be steered or interrupted, and saved state: what has none of these
    declines a signal at once. `output`: how it emits chunks while it runs. `steps`: what it does
    once and for all, and what it sleeps without a slot.
    """

    runs: str
    cancel: str
    kill: str
    timeout: str
    progress: str
    logs: str
    limits: str
    heartbeat: str = ""
    live: str = ""
    signals: str = ""
    boundary: str = ""
    save: str = ""
    output: str = ""
    steps: str = ""


SUPPORTS: Final[dict[str, Support]] = {
    "loop": Support(
        runs="async agents",
        cancel="`CancelledError` at the next await",
        kill="",
        timeout="cancelled; abandoned after `executors.stop_grace_s`",
        progress="`ctx.progress`",
        heartbeat="`ctx.heartbeat`",
        logs="`ctx.log`, `logging`",
        limits="16 abandoned; the watch names who blocks the loop",
        live="`ctx.params`, `ctx.steered()`",
        signals="`ctx.signals()`, `ctx.on_signal()`, `ctx.next_turn()`",
        boundary="`await ctx.boundary()`, `ctx.stream()`; waits while the task is paused",
        save="`ctx.save()`, `ctx.resumed_state`",
        output="`await ctx.emit()`",
        steps="`await ctx.step()`, `ctx.sleep()`, `ctx.now()`, `ctx.random()`, `ctx.uuid()`, "
        "`ctx.spawn()`",
    ),
    "thread": Support(
        runs="other agents",
        cancel="`ctx.cancelled`, `ctx.check_cancelled()`, `ctx.sleep()`",
        kill="",
        timeout="told, and abandoned at once",
        progress="`ctx.progress`",
        heartbeat="`ctx.heartbeat`",
        logs="`ctx.log`, `logging`",
        limits="`executors.threads_max`; 16 abandoned whose grace is over",
        live="`ctx.params`",
        signals="`ctx.next_signal()`, `ctx.on_signal()`, `ctx.next_turn()`",
        boundary="`ctx.boundary()`; waits while the task is paused",
        save="`ctx.save()`, `ctx.resumed_state`",
        output="`ctx.emit()`, which may wait",
        steps="`ctx.step()`, which waits; so do the others",
    ),
    "process": Support(
        runs='agents that say `executor="process"`, async or not',
        cancel="as on the loop and in a thread",
        kill="SIGKILL to the worker's process group",
        timeout="told; killed after its grace",
        progress="`ctx.progress`",
        heartbeat="`ctx.heartbeat`",
        logs="`ctx.log`, `logging`; what is printed, bounded",
        limits="memory, CPU time, attempts a worker, idle time",
        live="as on the loop and in a thread",
        signals="as on the loop and in a thread",
        boundary="as on the loop and in a thread",
        save="`ctx.save()`, `ctx.resumed_state`",
        output="as on the loop and in a thread",
        steps="as on the loop and in a thread",
    ),
    "exec": Support(
        runs="tasks of kind `exec`",
        cancel="SIGTERM to the program's process group",
        kill="SIGKILL to the program's process group",
        timeout="SIGTERM; SIGKILL after its grace",
        progress="",
        logs="stdout and stderr, bounded, in the result",
        limits="CPU time, memory, size of files, processes, output",
    ),
    "http": Support(
        runs="tasks of kind `http`",
        cancel="closing the connection",
        kill="closing the connection",
        timeout="the connection is closed",
        progress="",
        logs="the answer, bounded, in the result",
        limits="time, size of the answer, addresses",
    ),
}
"""By executor. Kinds of work that are plugged in have a row of the kind's name."""

COLUMNS: Final = {
    "runs": "runs",
    "cancel": "asked to end by",
    "kill": "killed by",
    "timeout": "past its timeout",
    "progress": "progress",
    "heartbeat": "signs of life",
    "logs": "says",
    "limits": "bounded by",
    "live": "parameters live",
    "signals": "signals",
    "boundary": "boundary",
    "save": "save",
    "output": "output",
    "steps": "durable steps",
}
"""What the columns are called in the table."""
